package nbd

import (
	"fmt"
	"os/exec"
	"testing"

	"morgana/block"
)

// Our client with our server and with others' over the same file: what differs is the server.
func BenchmarkServers(b *testing.B) {
	const size = 256 << 20
	d := sparse(b, size)
	if _, err := d.WriteAt(fill(size, 1), 0); err != nil {
		b.Fatal(err)
	}
	servers := []struct {
		name, program string
		start         func(b *testing.B) string
	}{
		{"morgana", "", func(b *testing.B) string { return serve(b, Config{Exports: []Export{{Device: d}}}) }},
		{"nbdkit-file", "nbdkit", func(b *testing.B) string { return nbdkit(b, "file", d.Name()) }},
		{"qemu-nbd", "qemu-nbd", func(b *testing.B) string {
			return start(b, "qemu-nbd", func(s string) []string {
				return []string{"-f", "raw", "-k", s, "-t", "-e", "16", "--cache=writeback", d.Name()}
			})
		}},
		{"morgana-memory", "", func(b *testing.B) string {
			return serve(b, Config{Exports: []Export{{Device: block.NewMem(size, 512)}}})
		}},
		{"nbdkit-memory", "nbdkit", func(b *testing.B) string { return nbdkit(b, "memory", fmt.Sprint(size)) }},
	}
	for _, work := range []struct {
		name  string
		write bool
		n     int
		depth int
	}{
		{"read4k-1", false, 4 << 10, 1},
		{"read4k-16", false, 4 << 10, 16},
		{"write4k-16", true, 4 << 10, 16},
		{"read256k-4", false, 256 << 10, 4},
		{"write256k-4", true, 256 << 10, 4},
	} {
		for _, s := range servers {
			b.Run(work.name+"/"+s.name, func(b *testing.B) {
				if _, err := exec.LookPath(s.program); err != nil && s.program != "" {
					b.Skip(err)
				}
				c := client(b, s.start(b), "")
				bufs := make(chan []byte, work.depth)
				for range work.depth {
					bufs <- make([]byte, work.n)
				}
				b.SetBytes(int64(work.n))
				b.ResetTimer()
				for i := range b.N {
					buf := <-bufs
					go func() {
						off := int64(i*7919) * int64(work.n) % (size - int64(work.n))
						off -= off % int64(work.n)
						var err error
						if work.write {
							_, err = c.WriteAt(buf, off)
						} else {
							_, err = c.ReadAt(buf, off)
						}
						if err != nil {
							b.Error(err)
						}
						bufs <- buf
					}()
				}
				for range work.depth {
					<-bufs
				}
			})
		}
	}
}
