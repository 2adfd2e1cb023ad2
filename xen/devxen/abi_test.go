package devxen

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/xen"
)

// The structures, byte by byte, as include/uapi/xen/{gntdev,gntalloc}.h lay them out on x86-64.
func TestStructures(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"map", appendMapRequest(nil, 3, []xen.GrantRef{8, 0x1234}), "02000000 00000000 0000000000000000 03000000 08000000 03000000 34120000"},
		{"unmap", appendIndexCount(nil, 0x5000, 2), "0050000000000000 02000000 00000000"},
		{"alloc", appendAllocRequest(nil, 7, 3, xen.ReadWrite), "0700 0100 03000000 0000000000000000 00000000 00000000 00000000 00000000"},
		{"alloc read-only", appendAllocRequest(nil, 7, 1, xen.ReadOnly), "0700 0000 01000000 0000000000000000 00000000 00000000"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, c.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	if got, want := foreign(5, 0x89, 0x120), uint64(0x0005_0120_0000_0089); got != want {
		t.Errorf("foreign address %#x, want %#x", got, want)
	}
}

// Errors match what callers act on, and keep the cause.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error
	}{
		{wrap(syscall.ENOSPC), xen.ErrNoPorts},
		{wrapGrant(syscall.ENOSPC), xen.ErrNoGrants},
		{wrap(syscall.ESRCH), xen.ErrPeerGone},
		{wrap(syscall.EBUSY), xen.ErrInUse},
		{wrap(syscall.EIO), syscall.EIO},
		{statusError(statusBadRef), xen.ErrBadGrant},
		{statusError(statusPermission), xen.ErrBadGrant},
		{statusError(statusBadDomain), xen.ErrPeerGone},
		{statusError(statusNoSpace), xen.ErrNoMemory},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v does not match %v", c.err, c.want)
		}
	}
	if err := statusError(statusOK); err != nil {
		t.Errorf("status OK: %v", err)
	}
	if statusError(statusGeneral) == nil || statusError(-99) == nil {
		t.Error("a failure without a name of its own passes for success")
	}
}

// A device that is missing is named, with what makes it.
func TestMissingDevice(t *testing.T) {
	modules["/nonexistent/gntdev"] = "xen-gntdev"
	defer delete(modules, "/nonexistent/gntdev")
	_, err := openDevice("/nonexistent/gntdev")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "modprobe xen-gntdev") {
		t.Errorf("%v, want the remedy", err)
	}
}
