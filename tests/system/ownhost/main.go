// Command ownhost uses package testbed in a dom0 on the Xen that it finds there: it starts the images that it is given
// and tells, a JSON object a line, how each ended and what it wrote.
//
//	ownhost --stock DIR [--nologs] IMAGE WORD...
//
// Each word is a mode of IMAGE, which is stubdoms/runtimecheck, or "linux": a stock guest, whose files are in DIR.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"morgana/tests/testbed"
)

// End is how one domain ended.
type End struct {
	Name, Reason, Console string
}

func main() {
	stock := flag.String("stock", "", "directory with vmlinuz and guest.gz")
	nologs := flag.Bool("nologs", false, "do not look at xenconsoled's logs")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	if err := run(ctx, *stock, *nologs, flag.Arg(0), flag.Args()[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ownhost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stock string, nologs bool, image string, words []string) (err error) {
	h, err := testbed.Start(ctx, testbed.Options{Stock: stock, NoLogs: nologs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if !h.Own {
		return errors.New("the host is not this machine's own")
	}
	if err := share(ctx, h); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, word := range words {
		c := testbed.DomainConfig{Name: word, Kernel: image, Cmdline: word, MemoryMiB: 96}
		if word == "linux" {
			if c, err = h.StockGuest(ctx, word, "pvh", "cat /note; echo from-$(uname -s)", testbed.Files{"note": []byte("a file of its own\n")}); err != nil {
				return err
			}
		}
		d, err := h.StartDomain(ctx, c)
		if err != nil {
			return err
		}
		if d.Name == c.Name {
			return fmt.Errorf("the name %s is not made unique", d.Name)
		}
		reason, err := d.Wait(ctx)
		if err != nil {
			return err
		}
		if err := out.Encode(End{word, reason, d.Console.String()}); err != nil {
			return err
		}
	}
	// Close must remove a domain that is still there.
	_, err = h.StartDomain(ctx, testbed.DomainConfig{Name: "left", Kernel: image, MemoryMiB: 96, Paused: true})
	return err
}

// share passes a file to dom0 and back.
func share(ctx context.Context, h *testbed.Host) error {
	if err := os.WriteFile(filepath.Join(h.Share, "in"), []byte("both ways"), 0o644); err != nil {
		return err
	}
	if _, err := h.Script(ctx, "cat "+h.Path("in")+" >out"); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(h.Share, "out"))
	if err == nil && strings.TrimSpace(string(b)) != "both ways" {
		err = fmt.Errorf("the share gave %q back", b)
	}
	return err
}
