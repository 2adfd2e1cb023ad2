package bench

import "encoding/binary"

// Where Trivial lies in the guest's memory: code and note, Xen's hypercall page, the stack.
const (
	trivialBase  = 0x100000
	trivialPage  = trivialBase + 0x1000
	trivialStack = trivialBase + 0x3000
	trivialNote  = 0x800 // in the code's page
)

// Trivial is the smallest PVH kernel: it has Xen write the hypercall page and powers off. What its life takes is what
// Xen and its tool stack take for any domain.
func Trivial() []byte {
	le := binary.LittleEndian
	var code []byte
	op := func(x ...byte) { code = append(code, x...) }
	imm := func(v uint32) { code = le.AppendUint32(code, v) }
	op(0xbc)
	imm(trivialStack) // mov esp, stack
	op(0xb8)
	imm(0x40000002)      // mov eax, Xen's leaf of the hypercall page
	op(0x0f, 0xa2)       // cpuid
	op(0x89, 0xd9, 0xb8) // mov ecx, ebx: the MSR
	imm(trivialPage)     // mov eax, page
	op(0x31, 0xd2)       // xor edx, edx
	op(0x0f, 0x30)       // wrmsr
	op(0x6a, 0x00)       // push 0: SHUTDOWN_poweroff
	op(0x89, 0xe1)       // mov ecx, esp: struct sched_shutdown
	op(0xbb)
	imm(2) // mov ebx, SCHEDOP_shutdown
	op(0xb8)
	imm(trivialPage + 29*32) // mov eax, __HYPERVISOR_sched_op's entry
	op(0xff, 0xd0)           // call eax
	op(0xf4)                 // hlt

	page := make([]byte, 0x1000)
	copy(page, code)
	note := page[trivialNote:]
	le.PutUint32(note, 4)
	le.PutUint32(note[4:], 4)
	le.PutUint32(note[8:], 18) // XEN_ELFNOTE_PHYS32_ENTRY
	copy(note[12:], "Xen\x00")
	le.PutUint32(note[16:], trivialBase)

	out := make([]byte, 0x1000, 0x2000)
	copy(out, "\x7fELF\x02\x01\x01")
	le.PutUint16(out[16:], 2)  // ET_EXEC
	le.PutUint16(out[18:], 62) // EM_X86_64
	le.PutUint32(out[20:], 1)
	le.PutUint64(out[24:], trivialBase)
	le.PutUint64(out[32:], 64) // program headers
	le.PutUint16(out[52:], 64)
	le.PutUint16(out[54:], 56)
	le.PutUint16(out[56:], 2)
	le.PutUint16(out[58:], 64)
	header := func(i int, kind, flags uint32, v ...uint64) {
		h := out[64+56*i:]
		le.PutUint32(h, kind)
		le.PutUint32(h[4:], flags)
		for j, x := range v {
			le.PutUint64(h[8+8*j:], x)
		}
	}
	header(0, 1, 7, 0x1000, trivialBase, trivialBase, 0x1000, trivialStack-trivialBase, 0x1000)
	header(1, 4, 4, 0x1000+trivialNote, trivialBase+trivialNote, trivialBase+trivialNote, 20, 20, 4)
	return append(out, page...)
}
