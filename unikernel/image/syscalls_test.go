package image

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInspectFindsSystemCalls(t *testing.T) {
	program, err := BuildProgram(filepath.Join(t.TempDir(), "asks"), "./testdata/asks")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(program)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{} // function and call
	for _, c := range r.Syscalls.Calls {
		for _, f := range c.From {
			got[f+" "+c.Name] = c.Kernel
		}
	}
	for call, kernel := range map[string]string{
		"main.viaSyscall io_uring_setup":            SyscallMissing,
		"main.viaSyscall6 mount_setattr":            SyscallMissing,
		"main.viaUnix lsm_list_modules":             SyscallMissing,
		"runtime.futex futex":                       SyscallServed, // assembly
		"runtime.read read":                         SyscallServed, // number 0
		"runtime.netpollinit epoll_create1":         SyscallServed, // through Syscall6
		"runtime.timer_create timer_create":         SyscallRefused,
		"internal/syscall/unix.Waitid waitid":       SyscallRefused,
		"runtime.rt_sigaction rt_sigaction":         SyscallServed,
		"syscall.write write":                       SyscallServed,
		"runtime.sigreturn__sigaction rt_sigreturn": SyscallServed,
	} {
		if got[call] != kernel {
			t.Errorf("%s: %q, want %q", call, got[call], kernel)
		}
	}
	if !slices.Contains(r.Syscalls.Computed, "main.computed") {
		t.Errorf("main.computed is not among those whose number is not found: %q", r.Syscalls.Computed)
	}
	if n := len(r.Syscalls.Missing()); n != 3 {
		t.Errorf("%d calls are missing, want the three of package main: %v", n, r.Syscalls.Missing())
	}

	img, _, err := Join(program, Options{Name: "asks"})
	if err != nil {
		t.Fatal(err)
	}
	i, err := Inspect(img)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.Syscalls, i.Syscalls); d != "" {
		t.Errorf("the image says otherwise than its program:\n%s", d)
	}
	if d := cmp.Diff(r.Packages, i.Packages); d != "" || len(i.Packages) == 0 {
		t.Errorf("the image's %d packages are not its program's:\n%s", len(i.Packages), d)
	}
}

func TestInspectWithoutFunctions(t *testing.T) {
	for _, c := range []struct {
		name, code string
		calls      []int
		computed   int
	}{
		{"a constant", "\xb8\xe7\x00\x00\x00\x31\xff\x0f\x05", []int{231}, 0},
		{"from memory", "\x48\x8b\x07\x0f\x05", nil, 1},
		{"the constant of another call", "\xb8\x01\x00\x00\x00\x0f\x05" + "\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90" + "\x0f\x05", []int{1}, 1},
		{"none", "\xc3", nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Inspect(spoilt(t, func(f *elfFile) {
				clear(f.content[:16])
				copy(f.content, c.code)
			}))
			if err != nil {
				t.Fatal(err)
			}
			var calls []int
			for _, u := range r.Syscalls.Calls {
				calls = append(calls, u.Number)
			}
			if !slices.Equal(calls, c.calls) || len(r.Syscalls.Computed) != c.computed || r.Syscalls.Sites != len(c.calls)+c.computed {
				t.Errorf("found %+v", r.Syscalls)
			}
		})
	}
}

// FuzzInspect: whatever the file, an error or a report, never a crash.
func FuzzInspect(f *testing.F) {
	f.Add(goodELF().bytes())
	f.Add(spoilt(f, func(e *elfFile) { e.phdrs[0].Off = 1 << 62 }))
	f.Add(spoilt(f, func(e *elfFile) { // the beginning of a function table
		copy(e.content[0x1000:], "\xf1\xff\xff\xff\x00\x00\x01\x08\xff\xff\xff\xff\xff\xff\xff\x00")
		e.phdrs[1].Filesz, e.phdrs[1].Memsz = 0x800, 0x800
	}))
	img, _, err := JoinKernel(smallKernel(), goodELF().bytes(), Options{Files: []File{{Name: "/etc/x", Mode: 0o644, Data: []byte("x")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(img)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Inspect(b)
		if err == nil && (r.Syscalls == nil || r.Kind == "") {
			t.Fatalf("half a report: %+v", r)
		}
	})
}

// FuzzFunctions: a damaged table of functions gives functions in order or none.
func FuzzFunctions(f *testing.F) {
	f.Add([]byte("\xf1\xff\xff\xff\x00\x00\x01\x08"), uint64(0x401000))
	f.Fuzz(func(t *testing.T, table []byte, text uint64) {
		e := goodELF()
		e.content = append(e.content[:0x1000], table...)
		e.phdrs[1].Off, e.phdrs[1].Filesz, e.phdrs[1].Memsz = 0x2000, uint64(len(table)), uint64(len(table))+0x5000
		b := e.bytes()
		file, err := openELF(b)
		if err != nil {
			t.Fatal(err)
		}
		last := uint64(0)
		for _, fn := range functions(b, file) {
			if fn.start < last || fn.end <= fn.start {
				t.Fatalf("function %q at %#x to %#x, after %#x", fn.name, fn.start, fn.end, last)
			}
			last = fn.end
		}
		syscallsOf(b, file, []function{{"syscall.Syscall", text, text + 1}, {"main.main", text + 1, text + 1<<20}}, false)
	})
}
