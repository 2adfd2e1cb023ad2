package main

// The PV console (io/console.h, struct xencons_interface): in[1024] out[2048] in_cons in_prod out_cons out_prod.

const (
	consoleIn      = 1024
	consoleOut     = 2048
	consoleInCons  = 0xc00
	consoleInProd  = 0xc04
	consoleOutCons = 0xc08
	consoleOutProd = 0xc0c
)

var (
	consoleRing uintptr // kernel address, 0 without Xen
	consolePort uint32
	consoleDead bool // nobody read for a while: do not wait again until somebody does
)

func consoleConnect(pfn uintptr, port uint32) {
	if pfn == 0 {
		return
	}
	consoleRing, consolePort = directMap+pfn*pageSize, port
	portOwner[port%maxPorts] = portKernel
	eventUnmaskPort(port)
}

func consoleRoom() uint32 {
	used := *p32(consoleRing + consoleOutProd) - load32(consoleRing+consoleOutCons)
	if used > consoleOut { // a bad reader: start again behind it
		return 0
	}
	return consoleOut - used
}

// consolePut writes kernel memory to the console, waiting for a reader up to two seconds once.
func consolePut(a, n uintptr) {
	deadline := int64(0)
	for n > 0 {
		c := *p8(a)
		if consoleRoom() < 2 {
			if consoleDead {
				return
			}
			eventNotify(consolePort)
			if now := nanotime(); deadline == 0 {
				deadline = now + 2_000_000_000
			} else if now > deadline {
				consoleDead = true
				return
			}
			hyper(hvSchedOp, schedYield, 0, 0)
			continue
		}
		consoleDead = false
		prod := *p32(consoleRing + consoleOutProd)
		if c == '\n' {
			*p8(consoleRing + consoleIn + uintptr(prod%consoleOut)) = '\r'
			prod++
		}
		*p8(consoleRing + consoleIn + uintptr(prod%consoleOut)) = c
		xchg32(consoleRing+consoleOutProd, prod+1)
		a++
		n--
	}
	eventNotify(consolePort)
}

// consoleWrite writes the program's bytes.
func consoleWrite(buf, n uintptr) uint64 {
	done := uintptr(0)
	for done < n {
		p := userPtr(buf+done, false)
		if p == 0 {
			break
		}
		k := min(n-done, pageSize-(buf+done)&pageMask)
		if consoleRing != 0 {
			consolePut(p, k)
		} else {
			putBytes(p, k)
		}
		done += k
	}
	if done == 0 && n > 0 {
		return errno(efault)
	}
	return uint64(done)
}

// consoleFlush waits up to a second for what is in the ring to be read.
func consoleFlush() {
	if consoleRing == 0 {
		return
	}
	end := nanotime() + 1_000_000_000
	for load32(consoleRing+consoleOutCons) != *p32(consoleRing + consoleOutProd) && nanotime() < end {
		eventNotify(consolePort)
		hyper(hvSchedOp, schedYield, 0, 0)
	}
}

func consoleReadable() bool {
	return consoleRing != 0 && *p32(consoleRing + consoleInCons) != load32(consoleRing+consoleInProd)
}

func consoleEvent() {
	if consoleReadable() {
		fileChanged(fileConsole)
	}
}

func consoleRead(buf, n uintptr) uint64 {
	cons, prod := *p32(consoleRing + consoleInCons), load32(consoleRing+consoleInProd)
	if prod-cons > consoleIn {
		cons = prod - consoleIn
	}
	k := uintptr(0)
	for ; k < n && cons != prod; k++ {
		p := userPtr(buf+k, true)
		if p == 0 {
			return errno(efault)
		}
		c := *p8(consoleRing + uintptr(cons%consoleIn))
		if c == '\r' {
			c = '\n'
		}
		*p8(p) = c
		cons++
	}
	xchg32(consoleRing+consoleInCons, cons)
	eventNotify(consolePort)
	return uint64(k)
}
