#include "go_asm.h"
#include "textflag.h"

// The ways into the kernel and back to ring 3. See doc.go, "Registers".

#define MSR_FS_BASE $0xC0000100

// setFS loads AX into the FS base; clobbers CX and DX. The MSR always works, WRFSBASE is quicker where it exists.
TEXT ·setFS(SB),NOSPLIT|NOFRAME,$0
	CMPB	·haveFSGSBASE(SB), $0
	JEQ	msr
	BYTE	$0xf3; BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xd0	// wrfsbase rax
	RET
msr:
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	MSR_FS_BASE, CX
	WRMSR
	RET

// Long mode, from the boot pages' trampoline. DI = &hvm_start_info, SI = &table (abi.TableMagic).
TEXT ·entry64(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	DI, R12
	MOVQ	SI, R13
	LEAQ	·stacks(SB), BX
	LEAQ	(kernelStacks_df-256)(BX), SP	// the kernel's stack grows down inside stacks.main
	ANDQ	$~63, SP
	MOVQ	SP, ·stackTop(SB)
	LEAQ	(kernelStacks__size)(BX), AX
	// The kernel's g: stack.lo, stack.hi, stackguard0, stackguard1.
	LEAQ	·kernelG(SB), R14
	MOVQ	BX, 0(R14)
	MOVQ	AX, 8(R14)
	ADDQ	$1024, BX
	MOVQ	BX, 16(R14)
	MOVQ	BX, 24(R14)
	// FS base so that -8(FS) is kernelTLS[0], where compiled code looks for g after a call to assembly.
	LEAQ	·kernelTLS(SB), AX
	MOVQ	R14, (AX)
	ADDQ	$8, AX
	MOVQ	AX, ·kernelFS(SB)
	MOVQ	AX, DX
	SHRQ	$32, DX
	MOVL	MSR_FS_BASE, CX
	WRMSR
	BYTE	$0xdb; BYTE $0xe3		// fninit
	MOVL	$0x1f80, ·mxcsrDefault(SB)	// all exceptions masked
	LDMXCSR	·mxcsrDefault(SB)
	PXOR	X15, X15
	SUBQ	$16, SP
	MOVQ	R12, 0(SP)
	MOVQ	R13, 8(SP)
	CALL	·boot(SB)
	JMP	·resume(SB)

// SYSCALL: RCX = RIP, R11 = RFLAGS, IF = 0 (SFMASK), RSP still the program's. The FP registers are not kept over a
// system call: Go's calling convention has none live there, and saving them would double the cost of a call.
TEXT ·syscallEntry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	R15, ·scratch(SB)
	MOVQ	·current(SB), R15
	MOVQ	R8, thread_r8(R15)
	MOVQ	R9, thread_r9(R15)
	MOVQ	R10, thread_r10(R15)
	MOVQ	R11, thread_r11(R15)
	MOVQ	R12, thread_r12(R15)
	MOVQ	R13, thread_r13(R15)
	MOVQ	R14, thread_r14(R15)
	MOVQ	·scratch(SB), R14
	MOVQ	R14, thread_r15(R15)
	MOVQ	DI, thread_rdi(R15)
	MOVQ	SI, thread_rsi(R15)
	MOVQ	BP, thread_rbp(R15)
	MOVQ	BX, thread_rbx(R15)
	MOVQ	DX, thread_rdx(R15)
	MOVQ	AX, thread_rax(R15)
	MOVQ	CX, thread_rcx(R15)
	MOVQ	SP, thread_rsp(R15)
	MOVQ	CX, thread_rip(R15)
	MOVQ	R11, thread_rflags(R15)
	MOVQ	$0, thread_fpvalid(R15)
	MOVQ	·stackTop(SB), SP
	CALL	·enterKernel(SB)
	CALL	·syscall(SB)
	JMP	·resume(SB)

// enterKernel gives the registers the values that compiled Go code expects: g in R14 and behind FS, X15 zero.
// R15 is the current thread. Where ring 3 can change its FS base by itself, it is read first.
TEXT ·enterKernel(SB),NOSPLIT|NOFRAME,$0
	CMPB	·haveFSGSBASE(SB), $0
	JEQ	known
	BYTE	$0xf3; BYTE $0x48; BYTE $0x0f; BYTE $0xae; BYTE $0xc0	// rdfsbase rax
	MOVQ	AX, thread_fs(R15)
known:
	MOVQ	·kernelFS(SB), AX
	CALL	·setFS(SB)
	LEAQ	·kernelG(SB), R14
	PXOR	X15, X15
	CLD
	RET

// resume goes back to the thread in ·current.
TEXT ·resume(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	·current(SB), R15
	MOVQ	thread_fs(R15), AX
	CALL	·setFS(SB)
	CMPQ	thread_fpvalid(R15), $0
	JEQ	nofp
	CMPB	·useXsave(SB), $0
	JEQ	fx
	MOVL	$-1, AX
	MOVL	$-1, DX
	XRSTOR64	thread_fx(R15)
	JMP	regs
fx:
	FXRSTOR64	thread_fx(R15)
	JMP	regs
nofp:
	LDMXCSR	·mxcsrDefault(SB)
	PXOR	X15, X15
regs:
	MOVQ	·stackTop(SB), SP
	PUSHQ	$0x1b			// user SS
	PUSHQ	thread_rsp(R15)
	PUSHQ	thread_rflags(R15)
	PUSHQ	$0x23			// user CS
	PUSHQ	thread_rip(R15)
	MOVQ	thread_r8(R15), R8
	MOVQ	thread_r9(R15), R9
	MOVQ	thread_r10(R15), R10
	MOVQ	thread_r11(R15), R11
	MOVQ	thread_r12(R15), R12
	MOVQ	thread_r13(R15), R13
	MOVQ	thread_r14(R15), R14
	MOVQ	thread_rdi(R15), DI
	MOVQ	thread_rsi(R15), SI
	MOVQ	thread_rbp(R15), BP
	MOVQ	thread_rbx(R15), BX
	MOVQ	thread_rdx(R15), DX
	MOVQ	thread_rax(R15), AX
	MOVQ	thread_rcx(R15), CX
	MOVQ	thread_r15(R15), R15
	IRETQ

// 40 stubs of 8 bytes, vectors 0 to 39: the return address that CALL pushes tells the vector.
#define STUB CALL ·trapCommon(SB); BYTE $0x90; BYTE $0x90; BYTE $0x90
#define STUB8 STUB; STUB; STUB; STUB; STUB; STUB; STUB; STUB
TEXT ·trapStubs(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	STUB8
	STUB8
	STUB8
	STUB8
	STUB8

TEXT ·trapCommon(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	PUSHQ	R15
	PUSHQ	R14
	MOVQ	16(SP), R14
	LEAQ	·trapStubs(SB), R15
	SUBQ	R15, R14
	SHRQ	$3, R14			// vector
	MOVQ	$0x60227d00, R15	// vectors that push an error code
	BTQ	R14, R15
	JCC	noerr
	MOVQ	24(SP), R15
	MOVQ	R15, ·trapErr(SB)
	LEAQ	32(SP), R15
	JMP	have
noerr:
	MOVQ	$0, ·trapErr(SB)
	LEAQ	24(SP), R15
have:
	// R15 = &{rip, cs, rflags, rsp, ss}
	MOVQ	R14, ·trapVec(SB)
	MOVQ	8(R15), R14		// CS: from ring 3?
	TESTQ	$3, R14
	JEQ	inkernel
	MOVQ	·current(SB), R14
	MOVQ	R8, thread_r8(R14)
	MOVQ	R9, thread_r9(R14)
	MOVQ	R10, thread_r10(R14)
	MOVQ	R11, thread_r11(R14)
	MOVQ	R12, thread_r12(R14)
	MOVQ	R13, thread_r13(R14)
	MOVQ	DI, thread_rdi(R14)
	MOVQ	SI, thread_rsi(R14)
	MOVQ	BP, thread_rbp(R14)
	MOVQ	BX, thread_rbx(R14)
	MOVQ	DX, thread_rdx(R14)
	MOVQ	AX, thread_rax(R14)
	MOVQ	CX, thread_rcx(R14)
	MOVQ	0(SP), AX
	MOVQ	AX, thread_r14(R14)
	MOVQ	8(SP), AX
	MOVQ	AX, thread_r15(R14)
	MOVQ	0(R15), AX
	MOVQ	AX, thread_rip(R14)
	MOVQ	16(R15), AX
	MOVQ	AX, thread_rflags(R14)
	MOVQ	24(R15), AX
	MOVQ	AX, thread_rsp(R14)
	MOVQ	R14, R15
	CMPB	·useXsave(SB), $0
	JEQ	fx
	MOVL	$-1, AX
	MOVL	$-1, DX
	XSAVE64	thread_fx(R15)
	JMP	saved
fx:
	FXSAVE64	thread_fx(R15)
saved:
	MOVQ	$1, thread_fpvalid(R15)
	LDMXCSR	·mxcsrDefault(SB)
	MOVQ	·stackTop(SB), SP
	CALL	·enterKernel(SB)
	CALL	·trap(SB)
	JMP	·resume(SB)
inkernel:
	// The kernel runs with interrupts off but for the idle HLT: return with IF = 0. An emulator's nested
	// virtualisation may deliver the same interrupt twice, the second time at the stub's first instruction: it nests
	// on this stack, and dropping it is right too.
	CMPQ	·trapVec(SB), $32
	JLT	bug
	ANDQ	$~0x200, 16(R15)
	// STI's shadow should keep interrupts off until HLT has begun, but may be lost in an exit to the hypervisor. HLT
	// with IF = 0 would power the domain off: go on behind it.
	LEAQ	·idle(SB), R14
	INCQ	R14			// the HLT, see idle
	CMPQ	R14, 0(R15)
	JNE	halted
	INCQ	0(R15)
halted:
	MOVQ	SP, R14
	MOVQ	R15, SP			// the IRET frame
	MOVQ	8(R14), R15
	MOVQ	0(R14), R14
	IRETQ
bug:
	// The kernel never touches memory that may be absent: an exception here is a bug of ours. Say where.
	MOVQ	0(R15), AX
	MOVQ	AX, ·trapRip(SB)
	LEAQ	·kernelG(SB), R14
	PXOR	X15, X15
	MOVQ	·kernelFS(SB), AX
	CALL	·setFS(SB)
	MOVQ	·stackTop(SB), SP
	CALL	·kernelBug(SB)
	INT	$3

// func idle(): sti; hlt; cli. The interrupt's stub clears IF before it returns here. HLT must be the second byte:
// trapCommon knows it.
TEXT ·idle(SB),NOSPLIT,$0
	STI
	HLT
	CLI
	RET

TEXT ·trapStubsPC(SB),NOSPLIT,$0-8
	LEAQ	·trapStubs(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·syscallPC(SB),NOSPLIT,$0-8
	LEAQ	·syscallEntry(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func restartOnStackTop(): leave whatever the kernel was doing and build the program anew, on a fresh stack.
TEXT ·restartOnStackTop(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	·stackTop(SB), SP
	CALL	·startProgram(SB)
	JMP	·resume(SB)
