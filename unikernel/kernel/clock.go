package main

import "math/bits"

// Clocks: Xen's pvclock and wall clock (xen.h, struct vcpu_time_info, struct shared_info); without Xen, TSC and LAPIC.

var (
	tscAtBoot  uint64
	tscKHz     uint64 // without Xen
	lapic      uintptr
	armedFor   int64 // deadline that the one-shot timer is set to; 0 none
	bootTime   int64
	mainTime   int64
	clockBase  int64 // added to Xen's system time so that it never goes back, over a restore too
	lastTime   int64
	wallFixed  uint64 // without Xen: time of the CMOS clock at TSC 0
	nHypercall uint64
)

const timeInfo = 32 // offset of vcpu_info[0].time in the shared page

func setupClock() {
	if onXen {
		return
	}
	outb(0x21, 0xff) // mask both PICs
	outb(0xa1, 0xff)
	calibrate()
	lapic = directMap + 0xfee00000
	*p32(lapic + 0xf0) = 0x1ff
	*p32(lapic + 0x3e0) = 0xb
	*p32(lapic + 0x320) = vecLAPIC
	wallFixed = cmosTime()
}

// sinceBoot is the time since the kernel's first instruction by the TSC alone, in ns. Before that instruction there is
// no clock to read.
func sinceBoot() int64 {
	if !onXen {
		return nanotime()
	}
	p := sharedInfo + timeInfo
	d, mul, shift := rdtsc()-tscAtBoot, uint64(*p32(p + 24)), int8(*p8(p + 28))
	if shift >= 0 {
		d <<= uint(shift)
	} else {
		d >>= uint(-shift)
	}
	hi, lo := bits.Mul64(d, mul)
	return int64(hi<<32 | lo>>32)
}

// calibrate finds tscKHz: PIT channel 2 counts 10 ms. A host that stops the CPU while the count is started or its end is
// seen would falsify it, so both moments are bracketed and the count repeated until they are short.
func calibrate() {
	for try := 0; try < 10; try++ {
		const count = 11932
		outb(0x61, inb(0x61)&^2|1)
		outb(0x43, 0xb0)
		outb(0x42, count&0xff)
		before := rdtsc()
		outb(0x42, count>>8)
		after := rdtsc()
		last, now := after, after
		for inb(0x61)&0x20 == 0 {
			last, now = now, rdtsc()
		}
		now = rdtsc()
		tscKHz = max((now-before)/10, 1)
		if after-before+now-last < (now-before)/128 {
			return
		}
	}
}

// nanotime is the monotonic clock in ns.
func nanotime() int64 {
	if !onXen {
		if tscKHz == 0 {
			return 0
		}
		hi, lo := bits.Mul64(rdtsc()-tscAtBoot, 1_000_000)
		q, _ := bits.Div64(hi, lo, tscKHz)
		return int64(q)
	}
	p := sharedInfo + timeInfo
	for {
		v := load32(p)
		if v&1 != 0 {
			continue
		}
		d := rdtsc() - *p64(p + 8)
		sys, mul, shift := *p64(p + 16), uint64(*p32(p + 24)), int8(*p8(p + 28))
		if shift >= 0 {
			d <<= uint(shift)
		} else {
			d >>= uint(-shift)
		}
		hi, lo := bits.Mul64(d, mul)
		if load32(p) != v {
			continue
		}
		n := int64(sys+(hi<<32|lo>>32)) + clockBase
		if n < lastTime { // a TSC that steps back by a little
			return lastTime
		}
		lastTime = n
		return n
	}
}

// wallBase is the time of day at nanotime 0, in ns since 1970.
func wallBase() uint64 {
	if !onXen {
		return wallFixed
	}
	for {
		v := load32(sharedInfo + 0xc00)
		if v&1 != 0 {
			continue
		}
		s := uint64(*p32(sharedInfo + 0xc04)) | uint64(*p32(sharedInfo + 0xc0c))<<32
		ns := s*1e9 + uint64(*p32(sharedInfo + 0xc08)) - uint64(clockBase)
		if load32(sharedInfo+0xc00) == v {
			return ns
		}
	}
}

// armTimer sets the one-shot timer to deadline; 0 means that nothing waits. An earlier shot still to come will do.
func armTimer(now, deadline int64) {
	if deadline == 0 || armedFor > now && armedFor <= deadline {
		return
	}
	armedFor = deadline
	if onXen {
		hyperArgs[0], hyperArgs[1] = uint64(deadline-clockBase), 0
		hyper(hvVCPUOp, vcpuSetSingleshotTimer, 0, hyperArg())
		return
	}
	d := min(max(deadline-now, 1000), 4_000_000_000)
	*p32(lapic + 0x380) = uint32(d)
}

func sysClockGettime(clock, ts uintptr) uint64 {
	ns := uint64(nanotime())
	switch clock {
	case 0, 5, 11: // REALTIME, REALTIME_COARSE, TAI
		ns += wallBase()
	case 1, 4, 6, 7, 2, 3: // MONOTONIC, _RAW, _COARSE, BOOTTIME, CPU times
	default:
		return errno(einval)
	}
	if !userStore64s(ts, ns/1e9, ns%1e9) {
		return errno(efault)
	}
	return 0
}

func sysGettimeofday(tv uintptr) uint64 {
	n := uint64(nanotime()) + wallBase()
	if tv != 0 && !userStore64s(tv, n/1e9, n%1e9/1000) {
		return errno(efault)
	}
	return 0
}

// shortestSleep is what a nanosleep takes at least, in ns. Who calls it is the watcher of Go's scheduler, for 20 µs again
// and again while the program works: with its timer, and clocks that Xen emulates, such a sleep costs ten times that, and
// left a program a twentieth of the CPU. time.Sleep does not come here.
const shortestSleep = 1_000_000

func sysNanosleep(t *thread, req, absolute, clock uintptr) uint64 {
	ns, e := userTimespec(req)
	if e != 0 {
		return e
	}
	if absolute != 0 {
		if clock == 0 {
			ns -= int64(wallBase())
		}
	} else {
		ns = max(ns, shortestSleep) + nanotime()
	}
	t.rax = 0
	block(t, stSleep, max(ns, 1))
	schedule()
	return resultSet
}

// cmosTime reads the PC's clock, for machines without Xen.
func cmosTime() uint64 {
	for cmos(0xa)&0x80 != 0 {
	}
	s, m, h, d, mo, y := bcd(cmos(0)), bcd(cmos(2)), bcd(cmos(4)), bcd(cmos(7)), bcd(cmos(8)), 2000+bcd(cmos(9))
	// Days since 1970 by the civil calendar, March first.
	if mo <= 2 {
		y--
		mo += 12
	}
	days := 365*y + y/4 - y/100 + y/400 + (153*(mo-3)+2)/5 + d - 1 - 719468
	return ((days*24+h)*60+m)*60e9 + s*1e9
}

func cmos(i uint8) uint64 { outb(0x70, i); return uint64(inb(0x71)) }
func bcd(v uint64) uint64 { return v>>4*10 + v&15 }

// CPU profiling: setitimer(ITIMER_PROF).
var (
	profInterval int64
	profNext     int64
)

func profileDeadline() int64 { return profNext }

// profileTick sends SIGPROF to the thread that the tick hit.
func profileTick(t *thread) {
	if profNext == 0 {
		return
	}
	if now := nanotime(); now >= profNext {
		profNext = now + profInterval
		t.sigpend |= 1 << (sigPROF - 1)
	}
}

func sysSetitimer(which, value, old uintptr) uint64 {
	if which != 2 {
		return errno(einval)
	}
	if old != 0 && !(userStore64s(old, 0, uint64(profInterval/1000)) && userStore64s(old+16, 0, 0)) {
		return errno(efault)
	}
	s, ok1 := userLoad64(value)
	us, ok2 := userLoad64(value + 8)
	if !ok1 || !ok2 {
		return errno(efault)
	}
	if s > 3600 || us >= 1e6 {
		return errno(einval)
	}
	profInterval = int64(s*1e9 + us*1000)
	profNext = 0
	if profInterval != 0 {
		profInterval = max(profInterval, 1_000_000)
		profNext = nanotime() + profInterval
	}
	return 0
}
