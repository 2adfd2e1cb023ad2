#include "textflag.h"

// One function for each instruction that Go has no word for.

TEXT ·haltForever(SB),NOSPLIT,$0
	CLI
	HLT
	JMP	-2(PC)

TEXT ·outb(SB),NOSPLIT,$0-3
	MOVW	port+0(FP), DX
	MOVB	v+2(FP), AX
	OUTB
	RET

TEXT ·inb(SB),NOSPLIT,$0-9
	MOVW	port+0(FP), DX
	XORL	AX, AX
	INB
	MOVB	AX, ret+8(FP)
	RET

TEXT ·cpuid(SB),NOSPLIT,$0-24
	MOVL	fn+0(FP), AX
	MOVL	sub+4(FP), CX
	CPUID
	MOVL	AX, a+8(FP)
	MOVL	BX, b+12(FP)
	MOVL	CX, c+16(FP)
	MOVL	DX, d+20(FP)
	RET

TEXT ·wrmsr(SB),NOSPLIT,$0-16
	MOVL	msr+0(FP), CX
	MOVQ	v+8(FP), AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	WRMSR
	RET

TEXT ·rdmsr(SB),NOSPLIT,$0-16
	MOVL	msr+0(FP), CX
	RDMSR
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+8(FP)
	RET

TEXT ·rdtsc(SB),NOSPLIT,$0-8
	LFENCE
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·rdrand(SB),NOSPLIT,$0-9
	RDRANDQ	AX
	SETCS	ok+8(FP)
	MOVQ	AX, v+0(FP)
	RET

TEXT ·readCR2(SB),NOSPLIT,$0-8
	MOVQ	CR2, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·loadCR3(SB),NOSPLIT,$0-8
	MOVQ	v+0(FP), AX
	MOVQ	AX, CR3
	RET

TEXT ·readCR3(SB),NOSPLIT,$0-8
	MOVQ	CR3, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·readCR4(SB),NOSPLIT,$0-8
	MOVQ	CR4, AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·loadCR4(SB),NOSPLIT,$0-8
	MOVQ	v+0(FP), AX
	MOVQ	AX, CR4
	RET

TEXT ·xsetbv0(SB),NOSPLIT,$0-8
	MOVQ	v+0(FP), AX
	MOVQ	AX, DX
	SHRQ	$32, DX
	XORL	CX, CX
	XSETBV
	RET

TEXT ·invlpg(SB),NOSPLIT,$0-8
	MOVQ	a+0(FP), AX
	INVLPG	(AX)
	RET

// func fill(p uintptr, n uintptr): n zero bytes, n a multiple of 8
TEXT ·zero(SB),NOSPLIT,$0-16
	MOVQ	p+0(FP), DI
	MOVQ	n+8(FP), CX
	SHRQ	$3, CX
	XORL	AX, AX
	CLD
	REP
	STOSQ
	RET

// func move(dst, src, n uintptr): forwards
TEXT ·move(SB),NOSPLIT,$0-24
	MOVQ	dst+0(FP), DI
	MOVQ	src+8(FP), SI
	MOVQ	n+16(FP), CX
	CLD
	MOVQ	CX, DX
	SHRQ	$3, CX
	REP
	MOVSQ
	MOVQ	DX, CX
	ANDQ	$7, CX
	REP
	MOVSB
	RET

// func loadTables(gdtr, idtr uintptr, tss uint16)
TEXT ·loadTables(SB),NOSPLIT,$0-18
	MOVQ	gdtr+0(FP), AX
	BYTE	$0x0f; BYTE $0x01; BYTE $0x10	// lgdt (rax)
	MOVQ	idtr+8(FP), AX
	BYTE	$0x0f; BYTE $0x01; BYTE $0x18	// lidt (rax)
	MOVW	tss+16(FP), AX
	BYTE	$0x0f; BYTE $0x00; BYTE $0xd8	// ltr ax
	MOVL	$0x10, AX
	BYTE	$0x8e; BYTE $0xd0		// mov ss, ax
	BYTE	$0x8e; BYTE $0xd8		// mov ds, ax
	BYTE	$0x8e; BYTE $0xc0		// mov es, ax
	RET

// func hypercall(nr, a1, a2, a3 uintptr) int64, through the page that Xen filled for this CPU.
TEXT ·hypercall(SB),NOSPLIT,$0-40
	MOVQ	nr+0(FP), AX
	SHLQ	$5, AX
	ADDQ	·hypercallPage(SB), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	MOVQ	a3+24(FP), DX
	CALL	AX
	MOVQ	AX, ret+32(FP)
	RET

// func earlyHypercall(nr, a1, a2 uintptr, amd bool) int64, without the page.
TEXT ·earlyHypercall(SB),NOSPLIT,$0-40
	MOVQ	nr+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	CMPB	amd+24(FP), $0
	JEQ	intel
	BYTE	$0x0f; BYTE $0x01; BYTE $0xd9 // VMMCALL
	JMP	done
intel:
	BYTE	$0x0f; BYTE $0x01; BYTE $0xc1 // VMCALL
done:
	MOVQ	AX, ret+32(FP)
	RET

TEXT ·xchg64(SB),NOSPLIT,$0-24
	MOVQ	a+0(FP), BX
	MOVQ	v+8(FP), AX
	XCHGQ	AX, (BX)
	MOVQ	AX, ret+16(FP)
	RET

TEXT ·xchg32(SB),NOSPLIT,$0-20
	MOVQ	a+0(FP), BX
	MOVL	v+8(FP), AX
	XCHGL	AX, (BX)
	MOVL	AX, ret+16(FP)
	RET

TEXT ·cas64(SB),NOSPLIT,$0-25
	MOVQ	a+0(FP), BX
	MOVQ	old+8(FP), AX
	MOVQ	new+16(FP), CX
	LOCK
	CMPXCHGQ	CX, (BX)
	SETEQ	ret+24(FP)
	RET

TEXT ·cas16(SB),NOSPLIT,$0-17
	MOVQ	a+0(FP), BX
	MOVW	old+8(FP), AX
	MOVW	new+10(FP), CX
	LOCK
	CMPXCHGW	CX, (BX)
	SETEQ	ret+16(FP)
	RET

// func load32(a uintptr) uint32: a load that nothing passes, for memory that Xen or a peer writes.
TEXT ·load32(SB),NOSPLIT,$0-12
	MOVQ	a+0(FP), BX
	LFENCE
	MOVL	(BX), AX
	LFENCE
	MOVL	AX, ret+8(FP)
	RET
