package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

type check struct {
	name string
	run  func() error
}

var checks = []check{
	{"arguments and environment", args},
	{"wall clock", wallClock},
	{"sleep", sleep},
	{"goroutines and channels", goroutines},
	{"maps", maps},
	{"select and tickers", ticks},
	{"garbage collection", collect},
	{"finalizers and cleanups", finalizers},
	{"reflection", reflection},
	{"nil dereference is a panic", nilDereference},
	{"wild pointers are panics", wildPointers},
	{"bad addresses in system calls", badAddresses},
	{"deep stack", deepStack},
	{"asynchronous preemption", preemption},
	{"random numbers", randomNumbers},
	{"files in /tmp", files},
	{"directories and renames", directories},
	{"entries that Go reads", entries},
	{"pipes", pipes},
	{"what is not there", absent},
}

func wallClock() error {
	if y := time.Now().Year(); y < 2024 || y > 2100 {
		return fmt.Errorf("the year is %d", y)
	}
	return nil
}

func sleep() error {
	t := time.Now()
	time.Sleep(10 * time.Millisecond)
	if d := time.Since(t); d < 10*time.Millisecond || d > 5*time.Second {
		return fmt.Errorf("10 ms took %v", d)
	}
	return nil
}

func goroutines() error {
	var wg sync.WaitGroup
	ch := make(chan int, 10)
	for i := range 2000 {
		wg.Go(func() { time.Sleep(time.Millisecond); ch <- i })
	}
	go func() { wg.Wait(); close(ch) }()
	sum := 0
	for v := range ch {
		sum += v
	}
	if sum != 1999000 {
		return fmt.Errorf("sum %d", sum)
	}
	return nil
}

func maps() error {
	m := map[string]int{}
	for i := range 20000 {
		m[fmt.Sprintf("k%d", i%1000)] += i
	}
	if len(m) != 1000 || m["k7"] != 190140 {
		return fmt.Errorf("%d keys, k7 %d", len(m), m["k7"])
	}
	return nil
}

func ticks() error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(200 * time.Millisecond)
	n := 0
	for {
		select {
		case <-tick.C:
			n++
		case <-end:
			if n < 5 || n > 41 {
				return fmt.Errorf("%d ticks of 5 ms in 200 ms", n)
			}
			return nil
		}
	}
}

func tree(d int) *node {
	if d == 0 {
		return &node{}
	}
	return &node{l: tree(d - 1), r: tree(d - 1)}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.l.count() + n.r.count()
}

func collect() error {
	keep := make([][]byte, 64)
	for i := range 5000 {
		keep[i%64] = make([]byte, 1<<14)
		keep[i%64][i%1000] = 1
	}
	for range 3 {
		if n := tree(14).count(); n != 1<<15-1 {
			return fmt.Errorf("%d nodes", n)
		}
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	if ms.NumGC == 0 {
		return errors.New("no collection")
	}
	return nil
}

func finalizers() error {
	done := make(chan int, 2)
	func() {
		p, q := new([64]int), new([64]int)
		runtime.SetFinalizer(p, func(*[64]int) { done <- 1 })
		runtime.AddCleanup(q, func(v int) { done <- v }, 2)
	}()
	sum := 0
	for sum != 3 {
		runtime.GC()
		select {
		case v := <-done:
			sum += v
		case <-time.After(5 * time.Second):
			return fmt.Errorf("only %d came", sum)
		}
	}
	return nil
}

func reflection() error {
	f := reflect.MakeFunc(reflect.TypeOf(func(int) int { return 0 }), func(a []reflect.Value) []reflect.Value {
		return []reflect.Value{reflect.ValueOf(int(a[0].Int() * 2))}
	}).Interface().(func(int) int)
	if f(21) != 42 {
		return errors.New("21 * 2")
	}
	return nil
}

func nilDereference() (err error) {
	defer func() {
		var re runtime.Error
		if e, ok := recover().(error); !ok || !errors.As(e, &re) {
			err = fmt.Errorf("got %v", e)
		}
	}()
	deref(nil)
	return nil
}

//go:noinline
func pointer(a uintptr) *node { return *(**node)(unsafe.Pointer(&a)) }

// wildPointers reads where nothing is, where the kernel is, and writes to a string literal.
func wildPointers() error {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	caught := func(f func()) (ok bool) {
		defer func() { ok = recover() != nil }()
		f()
		return false
	}
	for _, a := range []uintptr{0x123456789000, 0xffff800000500000, 0xffffffff80001000, 0xffffffff800f6000, 0xffff800000100000, 0x100000} {
		if !caught(func() { deref(pointer(a)) }) {
			return fmt.Errorf("could read %#x", a)
		}
	}
	s := "a constant"
	if !caught(func() { *unsafe.StringData(s) = 'x' }) {
		return errors.New("could write to a constant")
	}
	return nil
}

func badAddresses() error {
	var ts [2]int64
	good := uintptr(unsafe.Pointer(&ts))
	for _, a := range []uintptr{0x123456789000, 0xffffffff800f6000, 0xffff800000100000, 1<<47 - 8, ^uintptr(7)} {
		for _, c := range []struct{ nr, a1, a2, a3 uintptr }{ // the fourth argument is 8
			{syscall.SYS_CLOCK_GETTIME, 1, a, 0},
			{syscall.SYS_WRITE, 1, a, 16},
			{syscall.SYS_NANOSLEEP, a, 0, 0},
			{syscall.SYS_UNAME, a, 0, 0},
			{syscall.SYS_PIPE, a, 0, 0},
			{syscall.SYS_RT_SIGPROCMASK, 0, a, 0},
			{syscall.SYS_RT_SIGPROCMASK, 0, 0, a},
			{syscall.SYS_GETRUSAGE, 0, a, 0},
			{syscall.SYS_SYSINFO, a, 0, 0},
			{syscall.SYS_OPEN, a, 0, 0},
			{syscall.SYS_GETCWD, a, 64, 0},
			{318, a, 16, 0},
		} {
			if _, _, e := syscall.RawSyscall6(c.nr, c.a1, c.a2, c.a3, 8, 0, 0); e != syscall.EFAULT {
				return fmt.Errorf("call %d with address %#x: %v, not EFAULT", c.nr, a, e)
			}
		}
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 1, good, 0); e != 0 {
		return e
	}
	return nil
}

//go:noinline
func deep(n int) int {
	var b [128]byte
	b[n%128] = byte(n)
	if n == 0 {
		return int(b[0])
	}
	return deep(n-1) + int(b[n%128])
}

func deepStack() error {
	if n := deep(20000); n != 2546448 {
		return fmt.Errorf("sum %d", n)
	}
	return nil
}

func preemption() error {
	var stop atomic.Bool
	var flag bool
	for range 2 {
		go func() {
			for !flag {
				if stop.Load() {
					return
				}
			}
		}()
	}
	go func() {
		for i := 0; ; i++ { // no call, no load that yields
			if i == 1<<62 {
				flag = true
			}
			if i&0xfffff == 0 && stop.Load() {
				return
			}
		}
	}()
	for range 5 {
		time.Sleep(2 * time.Millisecond)
	}
	runtime.GC()
	stop.Store(true)
	return nil
}

func randomNumbers() error {
	seen := map[[16]byte]bool{}
	for range 100 {
		var b [16]byte
		if _, err := rand.Read(b[:]); err != nil {
			return err
		}
		if seen[b] {
			return errors.New("a number came twice")
		}
		seen[b] = true
	}
	big := make([]byte, 100000)
	rand.Read(big)
	ones := 0
	for _, c := range big {
		for ; c != 0; c &= c - 1 {
			ones++
		}
	}
	if ones < 396000 || ones > 404000 {
		return fmt.Errorf("%d ones in 800000 bits", ones)
	}
	return nil
}

func files() error {
	dir, err := os.MkdirTemp("", "check")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "f")
	data := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return err
	}
	got, err := os.ReadFile(name)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		return fmt.Errorf("read back %d bytes, %v", len(got), err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString("end"); err != nil {
		return err
	}
	if st, err := f.Stat(); err != nil || st.Size() != int64(len(data)+3) || st.Mode() != 0o600 {
		return fmt.Errorf("stat says %v, %v", st, err)
	}
	if err := f.Truncate(5000); err != nil {
		return err
	}
	if err := f.Truncate(9000); err != nil {
		return err
	}
	b := make([]byte, 10000)
	n, err := f.ReadAt(b, 0)
	if n != 9000 || err != io.EOF || b[4999] != data[4999] || b[5000] != 0 || b[8999] != 0 {
		return fmt.Errorf("after truncating: %d bytes, %v", n, err)
	}
	return nil
}

func directories() error {
	dir, err := os.MkdirTemp("", "check")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755); err != nil {
		return err
	}
	for _, n := range []string{"x", "y", "z"} {
		if err := os.WriteFile(filepath.Join(dir, "a", n), []byte(n), 0o644); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Join(dir, "a/x"), filepath.Join(dir, "a/b/y")); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "a/b/c/d")); !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("a directory into itself: %v", err)
	}
	var names []string
	err = filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(p, dir))
		return err
	})
	if want := []string{"", "/a", "/a/b", "/a/b/c", "/a/b/y", "/a/y", "/a/z"}; err != nil || !slices.Equal(names, want) {
		return fmt.Errorf("found %q, %v", names, err)
	}
	if err := os.Remove(filepath.Join(dir, "a")); !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("removing a full directory: %v", err)
	}
	return nil
}

func entries() error {
	for _, name := range []string{"/etc/hosts", "/proc/self/maps", "/proc/meminfo", "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"} {
		if b, err := os.ReadFile(name); err != nil && !strings.HasPrefix(name, "/sys") || err == nil && len(b) == 0 {
			return fmt.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	if exe, err := os.Executable(); err != nil || exe == "" {
		return fmt.Errorf("the executable is %q, %v", exe, err)
	}
	return nil
}

func pipes() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	data := bytes.Repeat([]byte("pipe"), 50000)
	errs := make(chan error, 1)
	go func() {
		_, err := w.Write(data)
		w.Close()
		errs <- err
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) {
		return fmt.Errorf("%d of %d bytes, %v", len(got), len(data), err)
	}
	return <-errs
}

func absent() error {
	if _, err := os.Open("/no/such/file"); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a file that is not there: %v", err)
	}
	if _, _, e := syscall.RawSyscall(500, 0, 0, 0); e != syscall.ENOSYS {
		return fmt.Errorf("a call that is not there: %v", e)
	}
	return nil
}
