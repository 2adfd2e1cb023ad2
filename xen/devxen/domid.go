package devxen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// Files by which Linux says that this is dom0, which cannot ask xenstore if it is to serve xenstore itself.
const (
	capabilities = "/proc/xen/capabilities"
	hostUUID     = "/sys/hypervisor/uuid"
	zeroUUID     = "00000000-0000-0000-0000-000000000000"
)

const storeTimeout = 10 * time.Second

// ownID finds our number: dom0 is known by Linux's files, others ask xenstore.
func ownID() (xen.DomID, error) {
	if b, err := os.ReadFile(capabilities); err == nil && bytes.Contains(b, []byte("control_d")) {
		return 0, nil
	}
	if b, err := os.ReadFile(hostUUID); err == nil && string(bytes.TrimSpace(b)) == zeroUUID {
		return 0, nil
	}
	f, err := openDevice(StoreDevice)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	// A device that the poller cannot wait for has no deadline; xenbus is not one.
	if err := f.SetDeadline(time.Now().Add(storeTimeout)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		return 0, err
	}
	return askID(f)
}

// askID reads the node "domid" of our home on a new connection.
func askID(rw io.ReadWriter) (xen.DomID, error) {
	const request = 1
	payload := append([]byte("domid"), 0)
	if _, err := rw.Write(xs.AppendMessage(nil, xs.Header{Op: xs.Read, Req: request}, payload)); err != nil {
		return 0, err
	}
	head := make([]byte, xs.HeaderSize)
	if _, err := io.ReadFull(rw, head); err != nil {
		return 0, err
	}
	h, err := xs.ParseHeader(head)
	if err != nil {
		return 0, err
	}
	if h.Len > xs.PayloadMax {
		return 0, fmt.Errorf("xenstore answers with %d bytes, at most %d allowed", h.Len, xs.PayloadMax)
	}
	body := make([]byte, h.Len)
	if _, err := io.ReadFull(rw, body); err != nil {
		return 0, err
	}
	text := string(bytes.TrimRight(body, "\x00"))
	if h.Op != xs.Read || h.Req != request {
		return 0, fmt.Errorf("xenstore answers a read of \"domid\" with %v %q", h.Op, text)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n >= uint64(xen.DomFirstReserved) {
		return 0, fmt.Errorf("xenstore has %q as \"domid\", want a number below %d", text, xen.DomFirstReserved)
	}
	return xen.DomID(n), nil
}
