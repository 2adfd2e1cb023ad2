// Package measure measures what a machine takes for the operations that everything else is made of: a system call, a
// hypercall, reading the clock, a change of goroutine and of thread, a timer. It runs on Linux and on Morgana's kernel
// alike, so that the two can be compared on one host.
package measure

import (
	"runtime"
	"slices"
	"syscall"
	"time"
)

// Figure is one measured value.
type Figure struct {
	Name  string
	Value float64
	Unit  string
}

// Machine measures everything, each with the given number of repetitions (at least 1). It takes about a millisecond
// for each.
func Machine(rounds int) []Figure {
	rounds = max(rounds, 1)
	figures := []Figure{
		{"system call", perOp(rounds*10, func() { syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0) }), "ns"},
		//lint:ignore SA4017 what the call costs is measured
		{"time.Now", perOp(rounds*10, func() { time.Now() }), "ns"},
		{"goroutine switch", goroutineSwitch(rounds), "ns"},
		{"thread switch", threadSwitch(rounds), "ns"},
	}
	if hypercall, done := hypercaller(); hypercall != nil {
		figures = append(figures, Figure{"hypercall", perOp(rounds, hypercall), "ns"})
		done()
	}
	late := Lateness(max(rounds/10, 10), time.Millisecond)
	return append(figures,
		Figure{"timer of 1 ms late, median", micro(late[len(late)/2]), "µs"},
		Figure{"timer of 1 ms late, 99 of 100", micro(late[len(late)*99/100]), "µs"},
		Figure{"timer of 1 ms late, worst", micro(late[len(late)-1]), "µs"},
	)
}

// perOp is the time of one of n calls, in nanoseconds.
func perOp(n int, f func()) float64 {
	start := time.Now()
	for range n {
		f()
	}
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}

// Lateness waits n times for d and returns by how much each was late, sorted.
func Lateness(n int, d time.Duration) []time.Duration {
	late := make([]time.Duration, max(n, 1))
	for i := range late {
		start := time.Now()
		time.Sleep(d)
		late[i] = time.Since(start) - d
	}
	slices.Sort(late)
	return late
}

// goroutineSwitch is the time of one way of a ball between two goroutines.
func goroutineSwitch(n int) float64 { return pingPong(n, false) }

// threadSwitch is the same between two goroutines that each have a thread of their own: futexes and the kernel's
// scheduler.
func threadSwitch(n int) float64 { return pingPong(n, true) }

func pingPong(n int, threads bool) float64 {
	ping, pong := make(chan struct{}), make(chan struct{})
	lock := func() func() {
		if !threads {
			return func() {}
		}
		runtime.LockOSThread()
		return runtime.UnlockOSThread
	}
	go func() {
		defer lock()()
		for range ping {
			pong <- struct{}{}
		}
		close(pong)
	}()
	defer lock()()
	start := time.Now()
	for range n {
		ping <- struct{}{}
		<-pong
	}
	took := time.Since(start)
	close(ping)
	<-pong
	return float64(took.Nanoseconds()) / float64(2*n)
}
