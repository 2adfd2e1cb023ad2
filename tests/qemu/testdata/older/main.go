// Command older touches what each Go version's runtime does in its own way: threads, timers, preemption, the
// collector, signals as panics, files, random numbers. It is built with older versions of Go.
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	for _, c := range []struct {
		name string
		ok   func() bool
	}{
		{"goroutines", goroutines}, {"preemption", preemption}, {"collection", collection},
		{"nil is a panic", nilPanics}, {"files", files}, {"random numbers", random},
	} {
		if !c.ok() {
			fmt.Println("older:", c.name, "failed with", runtime.Version())
			os.Exit(1)
		}
	}
	fmt.Println("older: all well with", runtime.Version())
}

func goroutines() bool {
	var wg sync.WaitGroup
	var sum atomic.Int64
	for i := 0; i < 500; i++ {
		wg.Add(1)
		go func() { defer wg.Done(); time.Sleep(time.Millisecond); sum.Add(int64(i)) }()
	}
	wg.Wait()
	return sum.Load() == 124750
}

func preemption() bool {
	var stop atomic.Bool
	go func() {
		for i := 0; ; i++ {
			if i&0xfffff == 0 && stop.Load() {
				return
			}
		}
	}()
	time.Sleep(5 * time.Millisecond)
	runtime.GC()
	stop.Store(true)
	return true
}

func collection() bool {
	m := map[int][]byte{}
	for i := 0; i < 5000; i++ {
		m[i%100] = bytes.Repeat([]byte{byte(i)}, 4096)
	}
	debug.FreeOSMemory()
	return len(m) == 100 && m[99][4095] == byte(4999%256)
}

func nilPanics() (ok bool) {
	defer func() { ok = recover() != nil }()
	var p *struct{ a [4]int }
	fmt.Println(p.a[2])
	return false
}

func files() bool {
	data := bytes.Repeat([]byte("x"), 10000)
	if os.WriteFile("/tmp/f", data, 0o600) != nil {
		return false
	}
	b, err := os.ReadFile("/tmp/f")
	return err == nil && sha256.Sum256(b) == sha256.Sum256(data)
}

func random() bool {
	var a, b [16]byte
	rand.Read(a[:])
	rand.Read(b[:])
	return a != b
}
