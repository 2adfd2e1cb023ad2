package testbed

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Programs are programs of dom0's with their libraries, as files for a StockGuest.
func (h *Host) Programs(ctx context.Context, paths ...string) (Files, error) {
	const collect = `set -e
out=$1; shift
for p in "$@"; do echo "$p"; ldd "$p" | grep -o '/[^ ]*'; done | sort -u | xargs tar -chPf "$out"`
	const name = "programs.tar"
	args := append([]string{"sh", "-c", collect, "collect", h.Path(name)}, paths...)
	if _, err := h.Output(ctx, args...); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(h.Share, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files := Files{}
	for r := tar.NewReader(f); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[strings.TrimPrefix(head.Name, "/")] = b
	}
}
