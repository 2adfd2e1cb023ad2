package main

import "unsafe"

// The one way to the program's memory. Every function here walks the program's page tables, brings pages in as a
// fault would, checks rights, and works on the direct map; a bad address is a false, which callers turn to EFAULT.

// userPtr returns the kernel's address of the program's byte at va, good to the end of its page; 0 if the program
// could not itself read (write) there.
func userPtr(va uintptr, write bool) uintptr {
	if va >= userTop {
		return 0
	}
	for try := 0; try < 2; try++ {
		if e := pte(va, false); e != 0 {
			if v := *p64(e); v&(pteP|pteU) == pteP|pteU && (!write || v&pteW != 0) {
				return directMap + uintptr(v&pteFrame) + va&pageMask
			}
		}
		err := uint64(0)
		if write {
			err = faultWrite
		}
		if try == 1 || !pageFault(va, err) {
			return 0
		}
	}
	return 0
}

// userCopyOut copies n bytes of the kernel's to the program.
func userCopyOut(va, src, n uintptr) bool {
	for n > 0 {
		p := userPtr(va, true)
		if p == 0 {
			return false
		}
		k := min(n, pageSize-va&pageMask)
		move(p, src, k)
		va, src, n = va+k, src+k, n-k
	}
	return true
}

// userCopyIn copies n bytes of the program's to the kernel.
func userCopyIn(dst, va, n uintptr) bool {
	for n > 0 {
		p := userPtr(va, false)
		if p == 0 {
			return false
		}
		k := min(n, pageSize-va&pageMask)
		move(dst, p, k)
		va, dst, n = va+k, dst+k, n-k
	}
	return true
}

// userZero clears n bytes of the program's.
func userZero(va, n uintptr) bool {
	for n > 0 {
		p := userPtr(va, true)
		if p == 0 {
			return false
		}
		k := min(n, pageSize-va&pageMask)
		for i := uintptr(0); i < k; i++ {
			*p8(p + i) = 0
		}
		va, n = va+k, n-k
	}
	return true
}

func userLoad64(va uintptr) (v uint64, ok bool) {
	if va&7 == 0 {
		if p := userPtr(va, false); p != 0 {
			return *p64(p), true
		}
		return 0, false
	}
	ok = userCopyIn(uintptr(unsafe.Pointer(&v)), va, 8)
	return v, ok
}

func userLoad32(va uintptr) (v uint32, ok bool) {
	if va&3 == 0 {
		if p := userPtr(va, false); p != 0 {
			return *p32(p), true
		}
		return 0, false
	}
	ok = userCopyIn(uintptr(unsafe.Pointer(&v)), va, 4)
	return v, ok
}

func userStore64(va uintptr, v uint64) bool {
	return userCopyOut(va, uintptr(unsafe.Pointer(&v)), 8)
}

func userStore32(va uintptr, v uint32) bool {
	return userCopyOut(va, uintptr(unsafe.Pointer(&v)), 4)
}

// userStore64s stores two words, which is what most structures of time are.
func userStore64s(va uintptr, v, w uint64) bool {
	b := [2]uint64{v, w}
	return userCopyOut(va, uintptr(unsafe.Pointer(&b)), 16)
}

// userTimespec reads a struct timespec as nanoseconds.
func userTimespec(va uintptr) (int64, uint64) {
	var b [2]uint64
	if !userCopyIn(uintptr(unsafe.Pointer(&b)), va, 16) {
		return 0, errno(efault)
	}
	if b[1] >= 1e9 || int64(b[0]) < 0 {
		return 0, errno(einval)
	}
	if b[0] > 9e9 {
		return 9e18, 0
	}
	return int64(b[0]*1e9 + b[1]), 0
}

// userPath copies a path into pathBuf; its length, or an errno.
func userPath(va uintptr) (int, uint64) {
	for i := 0; i < len(pathBuf); i++ {
		p := userPtr(va+uintptr(i), false)
		if p == 0 {
			return 0, errno(efault)
		}
		if pathBuf[i] = *p8(p); pathBuf[i] == 0 {
			return i, 0
		}
	}
	return 0, errno(enametoolong)
}

const maxPath = 1024

var pathBuf [maxPath]byte

// userRange reports whether [va, va+n) lies in the program's half at all.
func userRange(va, n uintptr) bool { return va+n >= va && va+n <= userTop }
