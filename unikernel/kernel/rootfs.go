package main

import (
	"unsafe"

	"morgana/unikernel/internal/abi"
)

// What a program finds in the file system when it starts: devices, /proc and /etc entries that Go reads, /tmp, and the
// files that the image carries.

// Values of inode.special. From specialProc on the content is written when the file is opened.
const (
	devNull = 1 + iota
	devZero
	devRandom
	devConsole
	devEvtchn
	devGntdev
	devGntalloc
	devXenbus
	procExe
	readOnlyDir
	specialProc
	procMaps
	procStatus
	procMeminfo
	procUptime
	procCPUInfo
	procStat
	procCmdline
)

// An entry of the initial tree.
type rootEntry struct {
	path    string
	mode    uint32
	special uint32
	content string
}

var rootEntries = [...]rootEntry{
	{"/tmp", modeDir | 0o1777, 0, ""},
	{"/root", modeDir | 0o700, 0, ""},
	{"/home", modeDir | 0o755, 0, ""},
	{"/etc", modeDir | 0o755, 0, ""},
	{"/var", modeDir | 0o755, 0, ""},
	{"/var/tmp", modeDir | 0o1777, 0, ""},
	{"/run", modeDir | 0o755, 0, ""},
	{"/dev", modeDir | 0o755, readOnlyDir, ""},
	{"/dev/xen", modeDir | 0o755, readOnlyDir, ""},
	{"/dev/null", modeChar | 0o666, devNull, ""},
	{"/dev/zero", modeChar | 0o666, devZero, ""},
	{"/dev/random", modeChar | 0o666, devRandom, ""},
	{"/dev/urandom", modeChar | 0o666, devRandom, ""},
	{"/dev/console", modeChar | 0o600, devConsole, ""},
	{"/dev/tty", modeChar | 0o666, devConsole, ""},
	{"/dev/stdin", modeChar | 0o666, devConsole, ""},
	{"/dev/stdout", modeChar | 0o666, devConsole, ""},
	{"/dev/stderr", modeChar | 0o666, devConsole, ""},
	{"/proc", modeDir | 0o555, readOnlyDir, ""},
	{"/proc/self", modeDir | 0o555, readOnlyDir, ""},
	{"/proc/self/exe", modeLink | 0o777, procExe, ""},
	{"/proc/self/maps", modeFile | 0o444, procMaps, ""},
	{"/proc/self/status", modeFile | 0o444, procStatus, ""},
	{"/proc/self/stat", modeFile | 0o444, procStat, ""},
	{"/proc/self/cmdline", modeFile | 0o444, procCmdline, ""},
	{"/proc/self/cgroup", modeFile | 0o444, readOnlyDir, "0::/\n"},
	{"/proc/self/mountinfo", modeFile | 0o444, readOnlyDir, ""},
	{"/proc/meminfo", modeFile | 0o444, procMeminfo, ""},
	{"/proc/uptime", modeFile | 0o444, procUptime, ""},
	{"/proc/cpuinfo", modeFile | 0o444, procCPUInfo, ""},
	{"/proc/sys", modeDir | 0o555, readOnlyDir, ""},
	{"/proc/sys/kernel", modeDir | 0o555, readOnlyDir, ""},
	{"/proc/sys/kernel/hostname", modeFile | 0o444, readOnlyDir, "morgana\n"},
	{"/proc/sys/kernel/osrelease", modeFile | 0o444, readOnlyDir, "6.1.0-morgana\n"},
	{"/sys", modeDir | 0o555, readOnlyDir, ""},
	{"/sys/kernel", modeDir | 0o555, readOnlyDir, ""},
	{"/sys/kernel/mm", modeDir | 0o555, readOnlyDir, ""},
	{"/sys/kernel/mm/transparent_hugepage", modeDir | 0o555, readOnlyDir, ""},
	{"/sys/kernel/mm/transparent_hugepage/enabled", modeFile | 0o444, readOnlyDir, "always madvise [never]\n"},
	{"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", modeFile | 0o444, readOnlyDir, "2097152\n"},
	{"/sys/devices", modeDir | 0o555, readOnlyDir, ""},
	{"/sys/devices/system", modeDir | 0o555, readOnlyDir, ""},
	{"/sys/devices/system/cpu", modeDir | 0o555, readOnlyDir, ""},
	{"/sys/devices/system/cpu/online", modeFile | 0o444, readOnlyDir, "0\n"},
	{"/etc/hosts", modeFile | 0o644, 0, "127.0.0.1\tlocalhost\n::1\tlocalhost\n"},
	{"/etc/hostname", modeFile | 0o644, 0, "morgana\n"},
	{"/etc/nsswitch.conf", modeFile | 0o644, 0, "hosts: files dns\n"},
	{"/etc/passwd", modeFile | 0o644, 0, "root:x:0:0:root:/root:/bin/sh\n"},
	{"/etc/group", modeFile | 0o644, 0, "root:x:0:\n"},
	{"/dev/xen/evtchn", modeChar | 0o600, devEvtchn, ""}, // from here on Xen only
	{"/dev/xen/gntdev", modeChar | 0o600, devGntdev, ""},
	{"/dev/xen/gntalloc", modeChar | 0o600, devGntalloc, ""},
	{"/dev/xen/xenbus", modeChar | 0o600, devXenbus, ""},
}

const xenEntries = 4 // at the end of rootEntries

// setupRoot builds the tree.
func setupRoot() {
	root := inodeNew(modeDir | 0o755)
	inodeAt(root).parent = root
	inodeAt(root).linked = 1
	cwd = root
	n := len(rootEntries)
	if !onXen {
		n -= xenEntries
	}
	for i := 0; i < n; i++ {
		rootAdd(&rootEntries[i])
	}
	addArchive()
}

func rootAdd(r *rootEntry) {
	a := uintptr(unsafe.Pointer(unsafe.StringData(r.path)))
	i := makePath(a, len(r.path), r.mode)
	if i == 0 {
		return
	}
	x := inodeAt(i)
	x.special = r.special
	if n := len(r.content); n > 0 {
		if b := x.block(0, true); b != 0 {
			move(b, uintptr(unsafe.Pointer(unsafe.StringData(r.content))), uintptr(n))
			x.size = uint64(n)
		}
	}
}

// makePath makes the file or directory that the n bytes at a name, and the directories on the way; 0 if it cannot.
func makePath(a uintptr, n int, mode uint32) uint32 {
	if n >= maxPath {
		return 0
	}
	move(addrOf8(&pathBuf[0]), a, uintptr(n))
	for k := 1; k < n; k++ {
		if pathBuf[k] != '/' {
			continue
		}
		if r, e := walkBytes(rootInode, k, linkFollow); e != 0 {
			return 0
		} else if r.node == 0 {
			d := inodeNew(modeDir | 0o755)
			if d == 0 {
				return 0
			}
			link(d, r.dir, r.name, r.nameLen)
		}
	}
	r, e := walkBytes(rootInode, n, linkFollow)
	if e != 0 {
		return 0
	}
	if r.node == 0 {
		if r.node = inodeNew(mode); r.node != 0 {
			link(r.node, r.dir, r.name, r.nameLen)
		}
	}
	return r.node
}

// addArchive enters the files of the image (abi.FileHeader); their content is served in place.
func addArchive() {
	if filesLen == 0 {
		return
	}
	for o := uintptr(0); o+abi.FileHeader <= filesLen; {
		h := directMap + filesAt + o
		n, mode := uintptr(*p32(h + abi.FileNameLen)), *p32(h + abi.FileMode)
		size, data, next := uintptr(*p64(h + abi.FileSize)), uintptr(*p64(h + abi.FileData)), uintptr(*p64(h + abi.FileNext))
		if n == 0 {
			return
		}
		if o+abi.FileHeader+n > filesLen || data > filesLen || size > filesLen-data || next <= o {
			die("the image's file archive is damaged; build it again")
		}
		m := uint32(modeFile)
		if mode&modeType == modeDir {
			m = modeDir
		}
		i := makePath(h+abi.FileHeader, int(n), m|mode&0o7777)
		if i == 0 {
			die("the image carries more files than the kernel has room for")
		}
		if x := inodeAt(i); m == modeFile && x.special == 0 {
			inodeTruncate(i, 0)
			x.mode = m | mode&0o7777
			x.archive, x.size = filesAt+data, uint64(size)
		}
		o = next
	}
}

// Text of /proc files.

var textInode uint32

func textByte(c byte) {
	x := inodeAt(textInode)
	if b := x.block(x.size, true); b != 0 {
		*p8(b + uintptr(x.size&pageMask)) = c
		x.size++
	}
}

func textString(s string) {
	for i := 0; i < len(s); i++ {
		textByte(s[i])
	}
}

func textDec(v uint64) {
	for i := formatDec(v); i < len(digits); i++ {
		textByte(digits[i])
	}
}

func textHex(v uint64, width int) {
	started := false
	for s := 60; s >= 0; s -= 4 {
		d := v >> uint(s) & 15
		if d != 0 || started || s/4 < width {
			started = true
			textByte("0123456789abcdef"[d])
		}
	}
}

func textKB(name string, kb uint64) {
	textString(name)
	textDec(kb)
	textString(" kB\n")
}

// procFill writes what a /proc file says now.
func procFill(i uint32) {
	inodeTruncate(i, 0)
	x := inodeAt(i)
	textInode = i
	used := totalPages - freePages
	switch x.special {
	case procMaps:
		for k := 0; k < nVMAs; k++ {
			v := &vmas[k]
			textHex(uint64(v.start), 8)
			textByte('-')
			textHex(uint64(v.end), 8)
			textByte(' ')
			textFlag(v.prot&protRead != 0, 'r')
			textFlag(v.prot&protWrite != 0, 'w')
			textFlag(v.prot&protExec != 0, 'x')
			textString("p 00000000 00:00 0 ")
			if v.kind == vmaImage {
				textString("         /")
				for j := 0; j < len(programName) && programName[j] != 0; j++ {
					textByte(programName[j])
				}
			} else if v.end == userStackTop {
				textString("         [stack]")
			} else if v.start == vdsoCode {
				textString("         [vdso]")
			}
			textByte('\n')
		}
	case procStatus:
		textString("Name:\tprogram\nState:\tR (running)\nPid:\t1\nPPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
		textKB("VmRSS:\t", used*4)
		textString("Threads:\t")
		textDec(nlive)
		textByte('\n')
	case procMeminfo:
		textKB("MemTotal:       ", totalPages*4)
		textKB("MemFree:        ", freePages*4)
		textKB("MemAvailable:   ", freePages*4)
	case procUptime:
		n := uint64(nanotime() - bootTime)
		textDec(n / 1e9)
		textString(".")
		textDec(n / 1e7 % 100 / 10)
		textDec(n / 1e7 % 10)
		textString(" 0.00\n")
	case procCPUInfo:
		textString("processor\t: 0\n")
	case procStat:
		textString("1 (program) R 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 ")
		textDec(nlive)
		textString(" 0 0 0 ")
		textDec(used)
		textByte('\n')
	case procCmdline:
		for k := 0; k < nArgs; k++ {
			for j := argStart[k]; wordBuf[j] != 0; j++ {
				textByte(wordBuf[j])
			}
			textByte(0)
		}
	}
}

func textFlag(on bool, c byte) {
	if !on {
		c = '-'
	}
	textByte(c)
}
