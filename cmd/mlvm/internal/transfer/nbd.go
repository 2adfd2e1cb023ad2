package transfer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"syscall"

	"morgana/block"
	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/verbs"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/nbd"
)

func nbdVerb() command.Verb {
	return command.Verb{
		Name: "nbd", Summary: "serve logical volumes to the network (NBD)",
		Usage: []string{"[--socket PATH|--listen HOST:PORT] [--readonly] [--tlscert FILE --tlskey FILE [--tlsca FILE]] VG|LV ..."},
		Min:   1, Max: -1,
		Own: []args.Option{
			{Name: "socket", Kind: args.String, Help: "listen on a unix socket"},
			{Name: "listen", Kind: args.String, Help: "listen on TCP; by default 127.0.0.1:10809"},
			{Name: "readonly", Help: "serve for reading only, and open the disks so"},
			{Name: "tlscert", Kind: args.String, Help: "certificate (PEM); all clients must use TLS then"},
			{Name: "tlskey", Kind: args.String, Help: "its key (PEM)"},
			{Name: "tlsca", Kind: args.String, Help: "clients need a certificate of this authority (PEM)"},
			{Name: "json", Help: "say what is served as JSON, a line when it is ready"},
		},
		Details: `Each volume is an export that is called VG/LV; with one, clients need no name. The place of each is printed when
clients may come. The server ends on Ctrl-C or SIGTERM, after flushing the disks.

Volumes of types that need the kernel (snapshot, thin, RAID, cache) are not served, and origins of snapshots for
reading only. While it serves, the group can be read by others, and changed by none: changes wait.

Without TLS whoever reaches the port can read and write. A unix socket is for its owner only.`,
		Examples: []string{"nbd --socket /tmp/vg0.sock vg0", "nbd --readonly --listen 127.0.0.1:10809 vg0/root vg0/home"},
		Run:      serveNBD,
	}
}

func serveNBD(ctx context.Context, r *command.Run) error {
	if r.Has("socket") && r.Has("listen") {
		return r.Verb.WrongUse("Only one of --socket and --listen may be given")
	}
	secure, err := tlsConfig(r)
	if err != nil {
		return err
	}
	picked, err := verbs.Pick(ctx, r, !r.Has("readonly"), r.Operands)
	if err != nil {
		return err
	}
	c := nbd.Config{TLS: secure, Log: slog.New(slog.NewTextHandler(r.Stderr, nil))}
	var served []*lvm.LV
	var groups []string
	for _, s := range picked {
		lvs, err := verbs.OpenVolumes(r, s, r.Has("readonly"))
		if err != nil {
			return err
		}
		if len(lvs) == 0 {
			return r.Failed("Volume group \"%s\" has no volume that can be served.", s.Group.VG().Name())
		}
		for _, lv := range lvs {
			c.Exports = append(c.Exports, nbd.Export{Name: lv.Name(), Description: exportWords(lv), Device: lv, ReadOnly: lv.ReadOnly()})
		}
		served, groups = append(served, lvs...), append(groups, s.Group.VG().Name())
	}
	server, err := nbd.NewServer(c)
	if err != nil {
		return err
	}
	// The volumes need their group no more. What closing it writes is written now, under the lock for changes.
	for _, s := range picked {
		if err := s.Group.Close(ctx); err != nil {
			return err
		}
	}
	if err := r.KeepGroups(groups...); err != nil {
		return err
	}
	l, err := listen(r)
	if err != nil {
		return err
	}
	if err := announce(r, l, served, secure != nil); err != nil {
		l.Close()
		return err
	}
	if err := server.Serve(ctx, l); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil // asked to end
}

func exportWords(lv *lvm.LV) string {
	return fmt.Sprintf("logical volume %s, %s", lv.Name(), metadata.FormatSize(uint64(lv.Size())/metadata.SectorSize))
}

// tlsConfig is nil where no TLS is wanted.
func tlsConfig(r *command.Run) (*tls.Config, error) {
	cert, key, ca := r.Str("tlscert", ""), r.Str("tlskey", ""), r.Str("tlsca", "")
	switch {
	case cert == "" && key == "" && ca == "":
		return nil, nil
	case cert == "" || key == "":
		return nil, r.Verb.WrongUse("--tlscert and --tlskey belong together, --tlsca needs both")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", cert, key, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if ca != "" {
		b, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s has no certificate", ca)
		}
	}
	return c, nil
}

// listen opens what clients connect to. A socket that a server left behind, and that nobody listens on, is taken over.
func listen(r *command.Run) (net.Listener, error) {
	path := r.Str("socket", "")
	if path == "" {
		return net.Listen("tcp", r.Str("listen", "127.0.0.1:10809"))
	}
	if most := len(syscall.RawSockaddrUnix{}.Path) - 1; len(path) > most {
		return nil, fmt.Errorf("%s: the path of a socket has at most %d bytes, this has %d; use a shorter one", path, most, len(path))
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("%s: another server listens there", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return listenPrivate(path)
}

// announce says where each volume is to be had.
func announce(r *command.Run, l net.Listener, lvs []*lvm.LV, secure bool) error {
	type export struct {
		Name     string `json:"name"`
		URI      string `json:"uri"`
		Size     int64  `json:"size"`
		ReadOnly bool   `json:"read_only"`
	}
	var list []export
	for _, lv := range lvs {
		list = append(list, export{lv.Name(), place(l.Addr(), lv.Name(), secure), lv.Size(), lv.ReadOnly()})
	}
	if r.Has("json") {
		return json.NewEncoder(r.Stdout).Encode(struct {
			Exports []export `json:"exports"`
		}{list})
	}
	for _, e := range list {
		how := ""
		if e.ReadOnly {
			how = " (read-only)"
		}
		r.Print("%s%s", e.URI, how)
	}
	return nil
}

// place is an export's URI as libnbd and qemu take it.
func place(a net.Addr, export string, secure bool) string {
	u := url.URL{Scheme: "nbd", Host: a.String(), Path: "/" + export}
	if secure {
		u.Scheme = "nbds"
	}
	if a.Network() == "unix" {
		u.Scheme += "+unix"
		u.Host, u.RawQuery = "", "socket="+(&url.URL{Path: a.String()}).EscapedPath()
		return u.Scheme + "://" + u.EscapedPath() + "?" + u.RawQuery
	}
	return u.String()
}

var _ block.Sparse = (*lvm.LV)(nil) // so that clients learn of holes
