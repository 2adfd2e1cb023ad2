// Command mklayout has a C compiler lay out requests and responses as Xen's own header declares them, for both widths
// of x86, and writes the bytes down for the tests of package blkif.
//
//	go run morgana/xen/wire/blkif/mklayout /usr/include testdata/layout.txt
//
// The directory has xen/io/blkif.h, as Debian's libxen-dev installs it. Nothing is run that was compiled.
package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const source = `
#include <stdint.h>
#include <stddef.h>
#define xen_mb()
#define xen_rmb()
#define xen_wmb()
#include <xen/xen.h>
#include <xen/io/blkif.h>

#define GOLDEN(type, name) __attribute__((section("golden." #name))) type name
#define NUMBER(name, value) GOLDEN(const uint64_t, name) = value

GOLDEN(blkif_request_t, read) = { BLKIF_OP_READ, 2, 0x1213, 0x2122232425262728, 0x3132333435363738,
	{ { 0x41424344, 1, 7 }, { 0x51525354, 0, 6 } } };
GOLDEN(blkif_request_t, write) = { BLKIF_OP_WRITE, 11, 0x1213, 0x2122232425262728, 0x3132333435363738,
	{ { 1, 0, 1 }, { 2, 0, 2 }, { 3, 0, 3 }, { 4, 0, 4 }, { 5, 0, 5 }, { 6, 0, 6 }, { 7, 0, 7 }, { 8, 1, 2 },
	  { 9, 1, 3 }, { 10, 1, 4 }, { 0xfffffffe, 5, 5 } } };
GOLDEN(blkif_request_t, flush) = { BLKIF_OP_FLUSH_DISKCACHE, 0, 0, 0x2122232425262728, ~0ull };
GOLDEN(blkif_request_discard_t, discard) = { BLKIF_OP_DISCARD, BLKIF_DISCARD_SECURE, 0x1213, 0x2122232425262728,
	0x3132333435363738, 0x6162636465666768 };
GOLDEN(blkif_request_indirect_t, indirect) = { BLKIF_OP_INDIRECT, BLKIF_OP_WRITE, 0x0fff, 0x2122232425262728,
	0x3132333435363738, 0x1213, { 0x11, 0x2222, 0x333333, 0x44444444, 5, 6, 7, 0x88888888 } };
GOLDEN(blkif_response_t, response) = { 0x2122232425262728, BLKIF_OP_DISCARD, BLKIF_RSP_EOPNOTSUPP };
GOLDEN(struct blkif_request_segment, segment) = { 0x41424344, 1, 7 };

NUMBER(slot_size, sizeof(union blkif_sring_entry));
NUMBER(response_size, sizeof(blkif_response_t));
NUMBER(ring_header, offsetof(blkif_sring_t, ring));
NUMBER(ring_slots_0, __CONST_RING_SIZE(blkif, 4096));
NUMBER(ring_slots_4, __CONST_RING_SIZE(blkif, 65536));
`

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: mklayout HEADERS OUTPUT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "mklayout:", err)
		os.Exit(1)
	}
}

func run(headers, output string) error {
	dir, err := os.MkdirTemp("", "mklayout")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var out bytes.Buffer
	fmt.Fprintln(&out, "# Made by mklayout: io/blkif.h as a C compiler lays it out. Numbers are little-endian too.")
	for _, width := range []string{"-m32", "-m64"} {
		object := filepath.Join(dir, "layout.o")
		cc := exec.Command("gcc", width, "-ffreestanding", "-fno-pic", "-I", headers, "-xc", "-c", "-o", object, "-")
		cc.Stdin = bytes.NewReader([]byte(source))
		if text, err := cc.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cc, err, text)
		}
		if err := sections(&out, object, width); err != nil {
			return err
		}
	}
	return os.WriteFile(output, out.Bytes(), 0o644)
}

// sections writes down the sections that GOLDEN made.
func sections(out *bytes.Buffer, object, width string) error {
	f, err := elf.Open(object)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, s := range f.Sections {
		name, ours := bytes.CutPrefix([]byte(s.Name), []byte("golden."))
		if !ours {
			continue
		}
		b, err := s.Data()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s %s %x\n", width[2:], name, b)
	}
	return nil
}
