package main

import "unsafe"

// The kernel's own words, on the console and on Xen's debug port (xl dmesg).

const debugPort = 0xe9

func addrOf32(p *uint32) uintptr { return uintptr(unsafe.Pointer(p)) }
func addrOf8(p *byte) uintptr    { return uintptr(unsafe.Pointer(p)) }

func putString(s string) {
	putBytes(uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(len(s)))
}

func putBytes(a, n uintptr) {
	if onXen || consoleRing == 0 {
		for i := uintptr(0); i < n; i++ {
			outb(debugPort, *p8(a + i))
		}
	}
	if consoleRing != 0 {
		consolePut(a, n)
	}
}

var digits [20]byte

func putHex(v uint64) {
	putString("0x")
	i := 19
	for ; ; i-- {
		digits[i] = "0123456789abcdef"[v&15]
		if v >>= 4; v == 0 {
			break
		}
	}
	putBytes(addrOf8(&digits[i]), uintptr(20-i))
}

func putDec(v uint64) {
	i := formatDec(v)
	putBytes(addrOf8(&digits[i]), uintptr(20-i))
}

// formatDec writes v at the end of digits and returns where it begins.
func formatDec(v uint64) int {
	i := 19
	for ; ; i-- {
		digits[i] = byte('0' + v%10)
		if v /= 10; v == 0 {
			return i
		}
	}
}
