// Command profiled takes a CPU and a heap profile of itself, in /tmp, and writes both to standard output in base64.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

var (
	kept [][]byte
	sink uint64
)

func main() {
	if err := run(); err != nil {
		fmt.Println("profiled:", err)
		os.Exit(1)
	}
}

func run() error {
	runtime.MemProfileRate = 64 << 10
	f, err := os.Create("/tmp/cpu.pprof")
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	keep(16 << 20)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		sink += hot(9_000) + cold(1_000)
	}
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		return err
	}
	g, err := os.Create("/tmp/heap.pprof")
	if err != nil {
		return err
	}
	runtime.GC()
	if err := pprof.WriteHeapProfile(g); err != nil {
		return err
	}
	if err := g.Close(); err != nil {
		return err
	}
	for _, name := range []string{"cpu", "heap"} {
		b, err := os.ReadFile("/tmp/" + name + ".pprof")
		if err != nil {
			return err
		}
		fmt.Printf("%s %s\n", name, base64.StdEncoding.EncodeToString(b))
	}
	runtime.KeepAlive(kept)
	return nil
}

// hot does nine times the work of cold.
//
//go:noinline
func hot(n int) uint64 { return churn(n) }

//go:noinline
func cold(n int) uint64 { return churn(n) }

func churn(n int) uint64 {
	x := uint64(n)
	for range n {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}

//go:noinline
func keep(n int) {
	for range n >> 14 {
		kept = append(kept, make([]byte, 1<<14))
	}
}
