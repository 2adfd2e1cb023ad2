package main

import "morgana/unikernel/internal/abi"

// The system calls. docs/syscalls.md is generated from this switch: the comment after each case is what it says there.

var unknownSeen [512 / 64]uint64

// syscall serves the running thread's system call.
func syscall() {
	nSyscalls++
	t := threadAt(current)
	r := dispatch(t, t.rax, uintptr(t.rdi), uintptr(t.rsi), uintptr(t.rdx), uintptr(t.r10), uintptr(t.r8), uintptr(t.r9))
	if r != resultSet {
		t.rax = r
	}
	if suspendWanted {
		schedule()
	}
}

func dispatch(t *thread, nr uint64, a1, a2, a3, a4, a5, a6 uintptr) uint64 {
	switch nr {
	case 0: // read
		return sysRead(t, a1, a2, a3)
	case 1: // write
		return sysWrite(t, a1, a2, a3)
	case 2: // open
		return sysOpen(atFDCWD, a1, uint32(a2), uint32(a3))
	case 3: // close
		return sysClose(a1)
	case 4: // stat
		return sysStatAt(atFDCWD, a1, a2, 0)
	case 6: // lstat
		return sysStatAt(atFDCWD, a1, a2, atSymlinkNofollow)
	case 5: // fstat
		return sysFstat(a1, a2)
	case 7: // poll
		timeout := int64(int32(a3))
		if timeout > 0 {
			timeout *= 1e6
		}
		return sysPoll(t, a1, a2, timeout)
	case 8: // lseek
		return sysLseek(a1, int64(a2), a3)
	case 9: // mmap: anonymous, the Xen devices, private copies of files
		return sysMmap(a1, a2, uint32(a3), uint64(a4), int(int32(a5)), uint64(a6))
	case 10: // mprotect
		return sysMprotect(a1, a2, uint32(a3))
	case 11: // munmap
		return sysMunmap(a1, a2)
	case 13: // rt_sigaction
		return sysSigaction(a1, a2, a3, a4)
	case 14: // rt_sigprocmask
		if a4 != 8 {
			return errno(einval)
		}
		return sysSigprocmask(t, a1, a2, a3)
	case 15: // rt_sigreturn
		return sigReturn(t)
	case 16: // ioctl: the Xen devices
		return sysIoctl(a1, a2, a3)
	case 17: // pread64
		return sysPread(a1, a2, a3, int64(a4), false)
	case 18: // pwrite64
		return sysPread(a1, a2, a3, int64(a4), true)
	case 19: // readv
		return sysVector(t, a1, a2, a3, false)
	case 20: // writev
		return sysVector(t, a1, a2, a3, true)
	case 21: // access
		return sysExists(atFDCWD, a1, true)
	case 22: // pipe
		return sysPipe(a1, 0)
	case 24: // sched_yield
		t.rax = 0
		yield()
		schedule()
		return resultSet
	case 27: // mincore
		return sysMincore(a1, a2, a3)
	case 28: // madvise
		return sysMadvise(a1, a2, int32(a3))
	case 32: // dup
		return sysDup(a1, 0)
	case 33, 292: // dup2, dup3
		if nr == 292 && a1 == a2 {
			return errno(einval)
		}
		return sysDup2(a1, a2)
	case 35: // nanosleep
		return sysNanosleep(t, a1, 0, 1)
	case 38: // setitimer: ITIMER_PROF
		return sysSetitimer(a1, a2, a3)
	case 39: // getpid
		return 1
	case 110: // getppid
		return 0
	case 56: // clone: threads only
		return sysClone(t, a1, a2, a4, a5)
	case 60: // exit
		return sysExitThread(t)
	case 62: // kill
		return sysKill(t, int32(a1), uint64(a2))
	case 63: // uname
		return sysUname(a1)
	case 72: // fcntl
		return sysFcntl(a1, a2, a3)
	case 73, 74, 75, 162, 306: // flock, fsync, fdatasync, sync, syncfs
		return 0
	case 76: // truncate
		i, e := resolve(atFDCWD, a1, true)
		if e != 0 {
			return e
		}
		return sysTruncate(i, uint64(a2))
	case 77: // ftruncate
		i := fileOf(a1)
		if i < 0 || files[i].flags&oAccess == 0 {
			return errno(einval)
		}
		if files[i].kind != kindInode {
			return errno(einval)
		}
		return sysTruncate(files[i].inode, uint64(a2))
	case 79: // getcwd
		return sysGetcwd(a1, a2)
	case 80: // chdir
		return sysChdir(a1)
	case 81: // fchdir
		return sysFchdir(a1)
	case 82: // rename
		return sysRename(atFDCWD, a1, atFDCWD, a2, 0)
	case 83: // mkdir
		return sysMkdir(atFDCWD, a1, uint32(a2))
	case 84: // rmdir
		return sysUnlink(atFDCWD, a1, true)
	case 87: // unlink
		return sysUnlink(atFDCWD, a1, false)
	case 88: // symlink
		return sysSymlink(a1, atFDCWD, a2)
	case 266: // symlinkat
		return sysSymlink(a1, int32(a2), a3)
	case 89: // readlink
		return sysReadlink(atFDCWD, a1, a2, a3)
	case 90: // chmod
		i, e := resolve(atFDCWD, a1, true)
		if e != 0 {
			return e
		}
		return sysChmod(i, uint32(a2))
	case 91: // fchmod
		i := fileOf(a1)
		if i < 0 {
			return errno(ebadf)
		}
		if files[i].kind != kindInode {
			return 0
		}
		return sysChmod(files[i].inode, uint32(a2))
	case 92, 94: // chown, lchown: everybody is root
		return sysExists(atFDCWD, a1, nr == 92)
	case 93: // fchown: everybody is root
		if fileOf(a1) < 0 {
			return errno(ebadf)
		}
		return 0
	case 260: // fchownat: everybody is root
		return sysExists(int32(a1), a2, a5&atSymlinkNofollow == 0)
	case 95: // umask
		return 0o22
	case 96: // gettimeofday
		return sysGettimeofday(a1)
	case 97: // getrlimit
		return sysGetrlimit(a2)
	case 98: // getrusage
		return sysGetrusage(a2)
	case 99: // sysinfo
		return sysSysinfo(a1)
	case 102, 104, 107, 108, 115: // getuid, getgid, geteuid, getegid, getgroups
		return 0
	case 105, 106, 109, 112, 113, 114, 117, 119: // setuid and its kin
		return 0
	case 111, 121, 124: // getpgrp, getpgid, getsid
		return 1
	case 131: // sigaltstack
		return sysSigaltstack(t, a1, a2)
	case 149, 150, 151, 152, 203, 160, 273, 334: // mlock …, sched_setaffinity, setrlimit, set_robust_list, rseq
		if nr == 334 {
			return errno(enosys)
		}
		return 0
	case 157: // prctl: PR_SET_NAME is taken, PR_SET_VMA is not
		if a1 == 15 {
			return 0
		}
		return errno(einval)
	case 158: // arch_prctl: ARCH_SET_FS, ARCH_GET_FS
		return sysArchPrctl(t, a1, a2)
	case 186: // gettid
		return t.tid
	case 200: // tkill
		return sysTgkill(t, uint64(a1), uint64(a2))
	case 202: // futex: WAIT, WAKE and their BITSET forms
		return sysFutex(t, a1, a2, a3, a4, a6)
	case 204: // sched_getaffinity: one CPU
		if a2 < 8 || a2&7 != 0 {
			return errno(einval)
		}
		if !userStore64(a3, 1) {
			return errno(efault)
		}
		return 8
	case 217: // getdents64
		return sysGetdents(a1, a2, a3)
	case 218: // set_tid_address
		t.tidClear = a1
		return t.tid
	case 228: // clock_gettime
		return sysClockGettime(a1, a2)
	case 229: // clock_getres
		if a2 != 0 && !userStore64s(a2, 0, 1) {
			return errno(efault)
		}
		return 0
	case 230: // clock_nanosleep
		return sysNanosleep(t, a3, a2&1, a1)
	case 231: // exit_group
		exitProgram(int32(a1 & 0xff))
		return 0
	case 232: // epoll_wait
		return sysEpollWait(t, a1, a2, a3, millis(a4))
	case 233: // epoll_ctl
		return sysEpollCtl(a1, a2, a3, a4)
	case 234: // tgkill
		return sysTgkill(t, uint64(a2), uint64(a3))
	case 257: // openat
		return sysOpen(int32(a1), a2, uint32(a3), uint32(a4))
	case 258: // mkdirat
		return sysMkdir(int32(a1), a2, uint32(a3))
	case 262: // newfstatat
		return sysStatAt(int32(a1), a2, a3, uint32(a4))
	case 263: // unlinkat
		return sysUnlink(int32(a1), a2, a3&0x200 != 0)
	case 264: // renameat
		return sysRename(int32(a1), a2, int32(a3), a4, 0)
	case 267: // readlinkat
		return sysReadlink(int32(a1), a2, a3, a4)
	case 268, 452: // fchmodat, fchmodat2
		i, e := resolve(int32(a1), a2, true)
		if e != 0 {
			return e
		}
		return sysChmod(i, uint32(a3))
	case 269, 439: // faccessat, faccessat2
		return sysExists(int32(a1), a2, true)
	case 271: // ppoll
		timeout := int64(-1)
		if a3 != 0 && t.pollUntil == 0 {
			ns, e := userTimespec(a3)
			if e != 0 {
				return e
			}
			timeout = ns
		}
		return sysPoll(t, a1, a2, timeout)
	case 280: // utimensat
		return sysUtimensat(int32(a1), a2, a3, uint32(a4))
	case 281: // epoll_pwait
		return sysEpollWait(t, a1, a2, a3, millis(a4))
	case 290: // eventfd2
		return sysEventfd(a1, uint32(a2))
	case 213, 291: // epoll_create, epoll_create1
		return sysEpollCreate(uint32(a1))
	case 293: // pipe2
		return sysPipe(a1, uint32(a2))
	case 302: // prlimit64
		if a4 != 0 {
			return sysGetrlimit(a4)
		}
		return 0
	case 316: // renameat2
		return sysRename(int32(a1), a2, int32(a3), a4, uint32(a5))
	case 318: // getrandom
		return sysGetrandom(a1, a2)
	case 332: // statx
		return sysStatx(int32(a1), a2, uint32(a3), a5)
	}
	if nr >= abi.SysInfo {
		return dispatchPrivate(t, nr, a1, a2, a3)
	}
	return refuse(nr)
}

// dispatchPrivate serves what package unikernel asks for.
func dispatchPrivate(t *thread, nr uint64, a1, a2, a3 uintptr) uint64 {
	switch nr {
	case abi.SysInfo:
		return sysInfo(a1, a2)
	case abi.SysCounters:
		return sysCounters(a1, a2)
	case abi.SysArena:
		return sysArena(a1, a2, a3)
	case abi.SysArenaGrant:
		return sysArenaGrant(a1, a2, a3)
	case abi.SysArenaEnd:
		return sysArenaEnd(a1)
	case abi.SysEventKeep:
		return sysEventKeep(a1, a2)
	case abi.SysRestart:
		restart("")
	case abi.SysOnFatal:
		restartOnFatal = a1 != 0
		return 0
	case abi.SysDebugLog:
		return debugLog(a1, a2)
	case abi.SysSeed:
		return sysSeed(a1, a2)
	case abi.SysHypercall:
		return sysHypercall(a1, a2)
	case abi.SysShutdown:
		return sysShutdown(a1)
	case abi.SysDomain:
		return sysDomain(a1)
	case abi.SysBalloon:
		if !onXen {
			return errno(enosys)
		}
		kib := uint64(a1)
		if have := totalPages * 4; kib < have {
			balloon(ballooned + (have-kib)/4)
		}
		return totalPages * 4
	}
	return errno(enosys)
}

// refuse answers the calls that need what is not here. Those that programs try and do without are refused in silence,
// the rest is named once on the console.
func refuse(nr uint64) uint64 {
	switch nr {
	case 41, 53: // socket, socketpair: no network of its own
		return errno(eafnosupport)
	case 57, 58, 59, 322: // fork, vfork, execve, execveat: no processes
		return errno(eperm)
	case 61, 247: // wait4, waitid: no children
		return errno(echild)
	case 86, 265: // link, linkat: a file has one name
		return errno(eperm)
	case 133, 259: // mknod, mknodat
		return errno(eperm)
	case 191, 192, 193, 188, 189, 190: // getxattr …, setxattr …
		return errno(95) // EOPNOTSUPP
	case 40: // sendfile
		return errno(einval)
	case 12, 25, 222, 223, 226, 253, 254, 294, 324, 326, 424, 434, 435, 437, 441, 275, 285, 221, 187, 448: // brk, mremap, timer_*, inotify, membarrier, copy_file_range, pidfd_*, clone3, openat2, epoll_pwait2, splice, fallocate, fadvise, readahead, process_mrelease
		return errno(enosys)
	}
	if nr < 512 && unknownSeen[nr/64]&(1<<(nr%64)) == 0 {
		unknownSeen[nr/64] |= 1 << (nr % 64)
		putString("morgana: the program asks for Linux system call ")
		putDec(nr)
		putString(", which this kernel does not have (docs/syscalls.md); it got ENOSYS\n")
	}
	return errno(enosys)
}

// millis turns a timeout in ms to ns; negative stays.
func millis(a uintptr) int64 {
	ms := int64(int32(a))
	if ms > 0 {
		return ms * 1e6
	}
	return ms
}
