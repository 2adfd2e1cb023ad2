package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// volume makes the disk a volume group with one volume, bench, by dom0's lvm2.
func (b *bench) volume(ctx context.Context, disk, group string, active bool) error {
	script := fmt.Sprintf("set -e; pvcreate -q %[1]s; vgcreate -q %[2]s %[1]s; lvcreate -q -n bench -l 100%%FREE %[2]s", disk, group)
	if !active {
		script += "; vgchange -q -an " + group
	}
	_, err := b.host.Script(ctx, script)
	return err
}

// linux is dom0's kernel: its device-mapper and its block backend.
func linux(_ context.Context, _ *bench, _, group, vdev string) (way, error) {
	return way{spec: "phy:/dev/" + group + "/bench," + vdev + ",w"}, nil
}

// process is cmd/blkback in dom0.
func process(ctx context.Context, b *bench, disk, group, vdev string) (way, error) {
	if _, err := image.BuildProgram(filepath.Join(b.host.Share, "blkback"), "morgana/cmd/blkback"); err != nil {
		return way{}, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	words := &output{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = b.host.Command(run, nil, words, words, b.host.Path("blkback"), "serve", "--disks", disk) // ended by us
	}()
	w := way{
		spec: fmt.Sprintf("format=raw,vdev=%s,access=rw,script=%s,target=%s/bench", vdev, b.host.Path("blkback"), group),
		end: func() error {
			cancel()
			<-ended
			return nil
		},
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(words.String(), "msg=serving domain="); time.Sleep(50 * time.Millisecond) {
		select {
		case <-ended:
			cancel()
			return way{}, fmt.Errorf("it ended: %s", words)
		default:
		}
		if time.Now().After(deadline) {
			_ = w.end()
			return way{}, fmt.Errorf("it does not serve: %s", words)
		}
	}
	return w, nil
}

// output is what a process says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// storage is the storage domain, whose disk is one of dom0's.
func storage(ctx context.Context, b *bench, disk, group, vdev string) (way, error) {
	program, err := image.BuildProgram(filepath.Join(b.dir, "storage"), "morgana/stubdoms/storage")
	if err != nil {
		return way{}, err
	}
	elf, _, err := image.Join(program, image.Options{Name: "storage"})
	if err != nil {
		return way{}, err
	}
	file := filepath.Join(b.host.Share, "storage.elf")
	if err := os.WriteFile(file, elf, 0o755); err != nil {
		return way{}, err
	}
	d, err := b.host.StartDomain(ctx, testbed.DomainConfig{Name: "storage", Kernel: file, MemoryMiB: 128, Disks: []string{disk + ",raw,xvda,rw"}})
	if err != nil {
		return way{}, err
	}
	if _, err := d.Console.WaitFor(ctx, `msg=serving groups=\[`+group+`\]`); err != nil {
		return way{}, fmt.Errorf("%w\n%s", err, d.Console)
	}
	return way{
		spec:    fmt.Sprintf("format=raw,vdev=%s,access=rw,backend=%s,target=%s/bench", vdev, d.Name, group),
		domains: []string{d.Name},
		end:     func() error { return d.Destroy(context.WithoutCancel(ctx)) },
	}, nil
}
