package main

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

type node struct {
	l, r *node
	v    [4]int
}

//go:noinline
func deref(p *node) int { return p.v[2] }

func panics() {
	var m map[string]int
	//lint:ignore SA5000 it is to panic
	m["x"] = 1
}

//
//lint:ignore SA5007 the stack is to overflow
//go:noinline
func overflow(n int) int { return overflow(n+1) + overflow(n+2) }

func mapRace() {
	runtime.GOMAXPROCS(4) // threads, which are interrupted anywhere, in the middle of a store too
	m := map[int]int{}
	for range 4 {
		go func() {
			for i := 0; ; i++ {
				m[i%64] = i
			}
		}()
	}
	time.Sleep(30 * time.Second)
}

func outOfMemory() {
	var keep [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		keep = append(keep, b) //lint:ignore SA4010 memory is to run out
	}
}

// hostile asks the kernel to write a signal frame into its own memory. Linux refuses the stack; Morgana's kernel ends
// the program when the signal comes.
func hostile() {
	runtime.LockOSThread()
	stack := [3]uintptr{0xffffffff80120000, 0, 0x8000}
	_, _, e := syscall.RawSyscall(syscall.SYS_SIGALTSTACK, uintptr(unsafe.Pointer(&stack)), 0, 0)
	if e == 0 {
		println("FAIL a stack in the kernel's half was accepted")
	}
	// Frames that sigreturn must not believe.
	syscall.RawSyscall(syscall.SYS_RT_SIGRETURN, 0, 0, 0)
}
