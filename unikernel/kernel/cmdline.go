package main

import (
	"unsafe"
)

// The kernel command line: words separated by blanks, quoted with '…' or "…"; \ keeps the next character except within
// '…'. env=NAME=VALUE goes to the environment, unikernel.* to the kernel, the rest to the program as its arguments.

const (
	maxCmdline = 4096
	maxWords   = 256
)

var (
	cmdline     [maxCmdline]byte
	cmdlineLen  int
	wordBuf     [maxCmdline + 64]byte // words, each ended by a zero byte; word 0 is the program's name
	wordLen     int
	argStart    [maxWords]int
	nArgs       int
	envStart    [maxWords]int
	nEnvs       int
	programName [56]byte
)

// parseCmdline splits the command line. A mistake ends the domain with a line that says what to mend.
func parseCmdline() {
	wordLen, nArgs, nEnvs = 0, 0, 0
	argStart[0], nArgs = 0, 1
	for i := 0; i < len(programName) && programName[i] != 0; i++ {
		wordByte(programName[i])
	}
	wordByte(0)
	for i := 0; i < cmdlineLen; {
		if c := cmdline[i]; c == ' ' || c == '\t' || c == '\n' || c == '\r' {
			i++
			continue
		}
		start := wordLen
		quote := byte(0)
		for ; i < cmdlineLen; i++ {
			c := cmdline[i]
			switch {
			case quote != 0 && c == quote:
				quote = 0
			case quote == 0 && (c == '\'' || c == '"'):
				quote = c
			case quote == 0 && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
				goto end
			case c == '\\' && quote != '\'' && i+1 < cmdlineLen:
				i++
				wordByte(cmdline[i])
			default:
				wordByte(c)
			}
		}
	end:
		if quote != 0 {
			die("command line: a quote is not closed; close it, or write \\\" for a quote itself")
		}
		wordByte(0)
		addWord(start)
	}
}

func wordByte(c byte) {
	if wordLen < len(wordBuf) {
		wordBuf[wordLen] = c
		wordLen++
	}
}

// addWord files the word at wordBuf[start:].
func addWord(start int) {
	switch {
	case hasPrefix(start, "env="):
		start += len("env=")
		eq := start
		for wordBuf[eq] != 0 && wordBuf[eq] != '=' {
			eq++
		}
		if wordBuf[eq] == 0 || eq == start {
			die("command line: env= wants NAME=VALUE after it, as in env=GODEBUG=gctrace=1")
		}
		if nEnvs == maxWords {
			die("command line: more than 256 variables")
		}
		envStart[nEnvs] = start
		nEnvs++
	case hasPrefix(start, "unikernel.seed="):
		seedFromWord(start + len("unikernel.seed="))
	case hasPrefix(start, "unikernel.restart="):
		switch c := wordBuf[start+len("unikernel.restart=")]; c {
		case '0':
			restartOnFatal = false
		case '1':
			restartOnFatal = true
		default:
			die("command line: unikernel.restart= is 0 or 1")
		}
	case hasPrefix(start, "unikernel."):
		putString("morgana: command line: unknown option ")
		n := start
		for wordBuf[n] != 0 {
			n++
		}
		putBytes(addrOf8(&wordBuf[start]), uintptr(n-start))
		putString("; there are unikernel.seed=HEX and unikernel.restart=0|1\n")
		shutdownDomain(shutdownCrash)
	default:
		if nArgs == maxWords {
			die("command line: more than 255 arguments")
		}
		argStart[nArgs] = start
		nArgs++
	}
}

func hasPrefix(start int, s string) bool {
	for i := 0; i < len(s); i++ {
		if wordBuf[start+i] != s[i] {
			return false
		}
	}
	return true
}

// seedFromWord adds hexadecimal digits to the random state.
func seedFromWord(i int) {
	v, n := uint64(0), 0
	for ; wordBuf[i] != 0; i++ {
		d := uint64(0)
		switch c := wordBuf[i]; {
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			d = uint64(c|0x20-'a') + 10
		default:
			die("command line: unikernel.seed= wants hexadecimal digits, 32 or more")
		}
		v = v<<4 | d
		if n++; n%16 == 0 {
			seedRandom(v, entropyNone)
		}
	}
	if n < 32 {
		die("command line: unikernel.seed= wants 32 hexadecimal digits or more")
	}
	seedRandom(v, entropySeed)
}

const userStackTop = 0x7fff_ffff_0000

// userStack builds what Linux leaves at a new program's stack: argc, argv, envp, auxv (System V ABI for AMD64, 3.4.1).
func userStack() uintptr {
	const size = 8 << 20
	vmaInsert(vma{start: userStackTop - size, end: userStackTop, prot: protRead | protWrite, maxProt: 7})
	words := uintptr(userStackTop - maxCmdline - 256)
	random := uintptr(userStackTop - 64)
	ok := userCopyOut(words, addrOf8(&wordBuf[0]), uintptr(wordLen))
	ok = ok && userStore64s(random, random64(), random64())
	sysinfo := uint64(1) // AT_IGNORE
	if mapVDSO() {
		sysinfo = 33 // AT_SYSINFO_EHDR
	}
	auxv := [...]uint64{
		6, pageSize, // AT_PAGESZ
		sysinfo, vdsoCode,
		25, uint64(random), // AT_RANDOM
		3, programPhdr, 4, 56, 5, programPhnum, // AT_PHDR, AT_PHENT, AT_PHNUM
		9, programEntry, // AT_ENTRY
		17, 100, // AT_CLKTCK
		23, 0, // AT_SECURE
		31, uint64(words), // AT_EXECFN
		0, 0,
	}
	n := 1 + nArgs + 1 + nEnvs + 1 + len(auxv)
	sp := (words - uintptr(n)*8) &^ 15
	p := sp
	ok = ok && userStore64(p, uint64(nArgs))
	p += 8
	for i := 0; i < nArgs; i++ {
		ok = ok && userStore64(p, uint64(words)+uint64(argStart[i]))
		p += 8
	}
	ok = ok && userStore64(p, 0)
	p += 8
	for i := 0; i < nEnvs; i++ {
		ok = ok && userStore64(p, uint64(words)+uint64(envStart[i]))
		p += 8
	}
	ok = ok && userStore64(p, 0)
	p += 8
	ok = ok && userCopyOut(p, uintptr(unsafe.Pointer(&auxv)), unsafe.Sizeof(auxv))
	if !ok {
		die("no memory for the program's stack; give the domain more (memory= in its configuration)")
	}
	return sp
}
