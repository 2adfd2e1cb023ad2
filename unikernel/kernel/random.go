package main

import "math/bits"

// Random numbers: ChaCha20 with fast key erasure (D. J. Bernstein, 2017), keyed from the CPU's generator, or from what
// Xen and the host know of this domain alone: its random UUID, a seed on the command line, clocks.

var (
	hasRDRAND  bool
	entropy    uint64 // abi.EntropyNone …
	randomKey  [8]uint32
	randomPool [8]uint32 // stirred into the key at the next use
	poolTurn   int
	poolDirty  bool
)

// Quality of the generator's key; the values are abi's.
const (
	entropyNone = iota
	entropySeed
	entropyHardware
)

// stirRandom adds what little an interrupt's time is worth.
func stirRandom(v uint64) {
	poolTurn++
	i := poolTurn & 7
	randomPool[i] = bits.RotateLeft32(randomPool[i], 7) ^ uint32(v)
	poolDirty = true
}

// seedRandom adds 64 bits of a seed.
func seedRandom(v uint64, quality uint64) {
	stirRandom(v)
	stirRandom(v >> 32)
	rekey()
	entropy = max(entropy, quality)
}

func setupRandom() {
	seedRandom(rdtsc(), entropyNone)
	seedRandom(wallBase(), entropyNone)
	if hasRDRAND {
		good := 0
		for i := 0; i < 64 && good < 8; i++ {
			if v, ok := rdrand(); ok {
				seedRandom(v, entropyNone)
				good++
			}
		}
		if good == 8 {
			entropy = entropyHardware
		}
	}
	if onXen {
		// XENVER_guest_handle: 16 bytes that the tool stack drew at random for this domain (version.h).
		if hyper(hvXenVersion, 8, hyperArg(), 0) == 0 && hyperArgs[0]|hyperArgs[1] != 0 {
			seedRandom(hyperArgs[0], entropyNone)
			seedRandom(hyperArgs[1], entropySeed)
		}
	}
	// The jitter of the clock against the CPU adds a little to any of these.
	for i := 0; i < 64; i++ {
		stirRandom(rdtsc())
	}
	rekey()
}

func rekey() {
	for i := range randomKey {
		randomKey[i] ^= randomPool[i]
		randomPool[i] = 0
	}
	poolDirty = false
	var b [16]uint32
	chacha(&b)
}

// chacha makes one block of output, replaces the key by its first half and leaves the other half in b[8:].
func chacha(b *[16]uint32) {
	b[0], b[1], b[2], b[3] = 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574
	for i := 0; i < 8; i++ {
		b[4+i] = randomKey[i]
	}
	b[12], b[13], b[14], b[15] = 0, 0, 0, 0
	in := *b
	for i := 0; i < 10; i++ {
		quarter(b, 0, 4, 8, 12)
		quarter(b, 1, 5, 9, 13)
		quarter(b, 2, 6, 10, 14)
		quarter(b, 3, 7, 11, 15)
		quarter(b, 0, 5, 10, 15)
		quarter(b, 1, 6, 11, 12)
		quarter(b, 2, 7, 8, 13)
		quarter(b, 3, 4, 9, 14)
	}
	for i := 0; i < 16; i++ {
		b[i] += in[i]
	}
	for i := 0; i < 8; i++ {
		randomKey[i] = b[i]
	}
}

func quarter(x *[16]uint32, a, b, c, d int) {
	x[a] += x[b]
	x[d] = bits.RotateLeft32(x[d]^x[a], 16)
	x[c] += x[d]
	x[b] = bits.RotateLeft32(x[b]^x[c], 12)
	x[a] += x[b]
	x[d] = bits.RotateLeft32(x[d]^x[a], 8)
	x[c] += x[d]
	x[b] = bits.RotateLeft32(x[b]^x[c], 7)
}

func random64() uint64 {
	if poolDirty {
		rekey()
	}
	var b [16]uint32
	chacha(&b)
	return uint64(b[8]) | uint64(b[9])<<32
}

func sysGetrandom(buf, n uintptr) uint64 {
	n = min(n, 1<<20)
	if !userRange(buf, n) {
		return errno(efault)
	}
	if poolDirty {
		rekey()
	}
	var b [16]uint32
	for i := uintptr(0); i < n; i += 32 {
		chacha(&b)
		if !userCopyOut(buf+i, addrOf32(&b[8]), min(32, n-i)) {
			return errno(efault)
		}
	}
	return uint64(n)
}
