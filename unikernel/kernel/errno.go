package main

// Linux's error numbers (include/uapi/asm-generic/errno*.h).
const (
	eperm        = 1
	enoent       = 2
	esrch        = 3
	eintr        = 4
	enxio        = 6
	ebadf        = 9
	echild       = 10
	eagain       = 11
	enomem       = 12
	eacces       = 13
	efault       = 14
	ebusy        = 16
	eexist       = 17
	exdev        = 18
	enodev       = 19
	enotdir      = 20
	eisdir       = 21
	einval       = 22
	enfile       = 23
	emfile       = 24
	enotty       = 25
	efbig        = 27
	enospc       = 28
	espipe       = 29
	erofs        = 30
	epipe        = 32
	erange       = 34
	enametoolong = 36
	enosys       = 38
	enotempty    = 39
	eloop        = 40
	eproto       = 71
	eafnosupport = 97
	enotconn     = 107
	etimedout    = 110
	eio          = 5
)

// errno is a system call's result that says it failed.
func errno(e int64) uint64 { return uint64(-e) }

// isErr reports whether r is one.
func isErr(r uint64) bool { return r > ^uint64(4095) }

// resultSet is what a handler returns when the thread's rax is already as it shall be: it blocked, or its registers
// were replaced.
const resultSet = 1 << 62
