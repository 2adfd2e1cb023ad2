package main

// The program's address space as ranges: a sorted table, neighbours that are alike merged. Go needs about twenty.

const (
	protRead  = 1
	protWrite = 2
	protExec  = 4

	userTop = 1<<47 - pageSize // the last page stays free: RIP behind a SYSCALL there would not be canonical
	userLow = 0x10000
)

// What backs a range.
const (
	vmaAnon   = iota // zeroes on demand
	vmaImage         // the program's segment `index`: pristine pages, copied at the first write
	vmaDevice        // pages of a device, entered when mapped
)

type vma struct {
	start, end uintptr
	prot       uint32
	maxProt    uint32
	kind       uint16
	index      uint16
}

var (
	vmas  [2048]vma
	nVMAs int
)

// vmaFind returns the index of the first range that ends above a.
func vmaFind(a uintptr) int {
	lo, hi := 0, nVMAs
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		if vmas[m].end > a {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo
}

// vmaRoom reports whether the table has room for whatever one call can add.
func vmaRoom() bool { return nVMAs+3 <= len(vmas) }

func vmaAt(i int, v vma) {
	for k := nVMAs; k > i; k-- {
		vmas[k] = vmas[k-1]
	}
	vmas[i] = v
	nVMAs++
}

func vmaDelete(i int) {
	nVMAs--
	for k := i; k < nVMAs; k++ {
		vmas[k] = vmas[k+1]
	}
}

// vmaRemove cuts [s, e) out of the table.
func vmaRemove(s, e uintptr) {
	i := vmaFind(s)
	for i < nVMAs && vmas[i].start < e {
		v := vmas[i]
		switch {
		case v.start < s && v.end > e:
			vmas[i].end = s
			tail := v
			tail.start = e
			vmaAt(i+1, tail)
			return
		case v.start < s:
			vmas[i].end = s
			i++
		case v.end > e:
			vmas[i].start = e
			return
		default:
			vmaDelete(i)
		}
	}
}

func (v *vma) alike(w *vma) bool {
	return v.prot == w.prot && v.kind == w.kind && v.index == w.index && v.maxProt == w.maxProt
}

// vmaInsert enters v in place of what was there.
func vmaInsert(v vma) {
	vmaRemove(v.start, v.end)
	i := vmaFind(v.start)
	if i < nVMAs && vmas[i].start == v.end && vmas[i].alike(&v) {
		v.end = vmas[i].end
		vmaDelete(i)
	}
	if i > 0 && vmas[i-1].end == v.start && vmas[i-1].alike(&v) {
		vmas[i-1].end = v.end
		return
	}
	vmaAt(i, v)
}

func vmaIsFree(s, e uintptr) bool {
	i := vmaFind(s)
	return i >= nVMAs || vmas[i].start >= e
}

// mmapTop is where addresses that the program leaves to us begin, downwards.
const mmapTop = 0x7f00_0000_0000

// vmaPick finds n free bytes below mmapTop, top down; 0 if there are none.
func vmaPick(n uintptr) uintptr {
	end := uintptr(mmapTop)
	for i := vmaFind(end); i >= 0; i-- {
		if i < nVMAs && vmas[i].start < end {
			end = vmas[i].start
		}
		lo := uintptr(userLow)
		if i > 0 {
			lo = vmas[i-1].end
		}
		if end > lo && end-lo >= n {
			return end - n
		}
	}
	return 0
}
