#include "go_asm.h"
#include "textflag.h"

// The function of the vDSO: int __vdso_clock_gettime(clockid_t DI, struct timespec *SI), by the C calling convention. It
// runs in ring 3, in a copy at const_vdsoCode+const_vdsoFuncAt, and refers to nothing by where it is itself. It is
// nanotime, in the program: see clock.go, and xen.h, struct vcpu_time_info.
TEXT ·vdsoClock(SB),NOSPLIT|NOFRAME,$0
	CMPL	DI, $1			// CLOCK_MONOTONIC, CLOCK_REALTIME; the others are the kernel's
	JHI	kernel
	MOVQ	$const_vdsoCode, R8
	MOVQ	$const_vdsoTime, R9
again:
	MOVL	const_vdsoRunAt(R8), R10
	MOVL	32(R9), R11		// version: odd while it is written
	TESTL	$1, R11
	JNE	again
	LFENCE
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	SUBQ	40(R9), AX		// tsc_timestamp
	MOVBLSX	60(R9), CX		// tsc_shift
	TESTL	CX, CX
	JLT	right
	SHLQ	CX, AX
	JMP	scale
right:
	NEGL	CX
	SHRQ	CX, AX
scale:
	MOVL	56(R9), CX		// tsc_to_system_mul
	MULQ	CX
	SHRQ	$32, AX
	SHLQ	$32, DX
	ORQ	DX, AX
	ADDQ	48(R9), AX		// system_time
	ADDQ	const_vdsoBaseAt(R8), AX
	CMPL	32(R9), R11
	JNE	again
	CMPL	const_vdsoRunAt(R8), R10
	JNE	again
	// Never back. There is one CPU: an instruction is not interrupted, with or without LOCK.
	MOVQ	AX, R10
	MOVQ	$const_vdsoLast, R11
last:
	MOVQ	(R11), AX
	CMPQ	R10, AX
	JLE	told
	CMPXCHGQ	R10, (R11)
	JNE	last
	MOVQ	R10, AX
told:
	TESTL	DI, DI
	JNE	split
	// The time of day at 0: wc_sec, wc_nsec, wc_sec_hi.
	MOVQ	AX, R10
wall:
	MOVL	0xc00(R9), R11		// wc_version
	TESTL	$1, R11
	JNE	wall
	MOVL	0xc0c(R9), AX
	SHLQ	$32, AX
	MOVL	0xc04(R9), CX
	ORQ	CX, AX
	MOVL	0xc08(R9), CX
	CMPL	0xc00(R9), R11
	JNE	wall
	IMULQ	$1000000000, AX
	ADDQ	CX, AX
	SUBQ	const_vdsoBaseAt(R8), AX
	ADDQ	R10, AX
split:
	XORL	DX, DX
	MOVL	$1000000000, CX
	DIVQ	CX
	MOVQ	AX, 0(SI)
	MOVQ	DX, 8(SI)
	XORL	AX, AX
	RET
kernel:
	MOVL	$228, AX		// clock_gettime
	SYSCALL
	RET
	MOVL	$const_vdsoEnd, AX	// not reached: setupVDSO looks for it

TEXT ·vdsoClockPC(SB),NOSPLIT,$0-8
	LEAQ	·vdsoClock(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
