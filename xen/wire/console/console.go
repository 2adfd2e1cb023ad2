// Package console is the layout of a paravirtual console's page: two byte rings, seen from the guest. Pure.
//
// Indexes are 32 bits, run freely and wrap; the byte they name is at the index modulo the ring's size. The guest
// writes OutProd and InCons, the console service the others. Features are xenstore keys under the console's
// directories.
//
// Source: xen/include/public/io/console.h and docs/misc/console.txt of Xen 4.17 (Connection: of Xen 4.21).
package console

// Layout of struct xencons_interface: byte offsets and sizes.
const (
	In      = 0 // to the guest
	InSize  = 1024
	Out     = 1024 // from the guest
	OutSize = 2048
	InCons  = 3072
	InProd  = 3076
	OutCons = 3080
	OutProd = 3084
	// Connection is a byte that later versions of Xen have: Connected once a service empties the ring.
	Connection = 3088
)

// Values of the byte at Connection. It starts as Disconnected where the builder knows of it, else as 0.
const (
	Connected    = 0
	Disconnected = 1
)

// Keys in the guest's console directory (/local/domain/N/console, or device/console/N for further ones).
const (
	KeyRingRef = "ring-ref" // the page: a frame number for console 0, which is also grant 0; else a grant
	KeyPort    = "port"     // the event channel that the guest's side made
	KeyTTY     = "tty"      // where a terminal may attach, written by the service
	KeyLimit   = "limit"    // bytes that the service keeps for a guest nobody reads
	KeyType    = "type"     // who serves it: TypeXenconsoled or TypeIoemu
	KeyOutput  = "output"   // what the service connects it to: "pty"
	KeyName    = "name"     // of a further console
	// KeyBackendID is the domain that serves it.
	KeyBackendID = "backend-id"
)

// Values of KeyType.
const (
	TypeXenconsoled = "xenconsoled"
	TypeIoemu       = "ioemu"
)
