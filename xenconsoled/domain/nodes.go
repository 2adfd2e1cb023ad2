package domain

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"morgana/xen"
	"morgana/xen/duplex"
	"morgana/xen/wire/xs"
	"morgana/xenconsoled"
)

// Dir is where the nodes are, below the home of the domain that serves.
const Dir = "data/consoles"

// Chosen is where libxl reads which domain serves the consoles of guests to come.
const Chosen = "/tool/xenconsoled/domid"

// Path is the path of a node below Dir of a domain; "" stands for Dir itself.
func Path(d xen.DomID, node string) string {
	p := xs.DomainPath(d) + "/" + Dir
	if node != "" {
		p += "/" + node
	}
	return p
}

// Nodes below Dir.
const (
	NodeServing = "serving"
	NodeGuests  = "guest"
	NodeLink    = "link"
)

// ErrNode says that a node has what nobody writes there.
var ErrNode = errors.New("a node of the console domain makes no sense")

// valueMost is how long a value may be: xenstored allows a domain no more.
const valueMost = 2048

// Serving is what a domain says of itself.
type Serving struct {
	Run  string `json:"run"`  // another one each time that the program starts
	Logs string `json:"logs"` // where logs are kept, for people: "disk of 64 MiB", "memory"
}

// AppendServing and ParseServing are the value of the node serving.
func AppendServing(s Serving) string { return encode(s) }

// ParseServing reads it.
func ParseServing(v string) (s Serving, err error) {
	if err := decode(v, &s); err != nil {
		return Serving{}, err
	}
	if s.Run == "" || strings.ContainsAny(s.Run, " \x00") {
		return Serving{}, fmt.Errorf("%w: a run with the id %.40q", ErrNode, s.Run)
	}
	return s, nil
}

// guest is the value of a node of a guest.
type guest struct {
	Port  xen.Port `json:"port"`
	Ref   uint64   `json:"ref"`
	VM    string   `json:"vm"`
	Name  string   `json:"name"`
	Limit int      `json:"limit"`
}

// GuestNode is the node of a guest, below Dir.
func GuestNode(d xen.DomID) string { return NodeGuests + "/" + strconv.Itoa(int(d)) }

// ParseGuestNode reads the last part of its path.
func ParseGuestNode(name string) (xen.DomID, error) {
	n, err := strconv.ParseUint(name, 10, 15)
	if d := xen.DomID(n); err != nil || d == 0 || d >= xen.DomFirstReserved || name != strconv.Itoa(int(d)) {
		return 0, fmt.Errorf("%w: %.40q is no guest", ErrNode, name)
	}
	return xen.DomID(n), nil
}

// AppendGuest and ParseGuest are the value of a guest's node.
func AppendGuest(f xenconsoled.Found) string {
	return encode(guest{Port: f.Port, Ref: f.Ref, VM: f.VM, Name: f.Name, Limit: f.Limit})
}

// ParseGuest reads it.
func ParseGuest(d xen.DomID, v string) (xenconsoled.Found, error) {
	var g guest
	if err := decode(v, &g); err != nil {
		return xenconsoled.Found{}, fmt.Errorf("domain %d: %w", d, err)
	}
	return xenconsoled.Found{Dom: d, Port: g.Port, Ref: g.Ref, VM: g.VM, Name: g.Name, Limit: g.Limit}, nil
}

// AppendLink and ParseLink are the value of the node link. The nonce is another one each time: an agent that starts again
// may get the same grants and the same port.
func AppendLink(run, nonce string, o duplex.Offer) string {
	return run + " " + nonce + " " + o.String()
}

// ParseLink reads it.
func ParseLink(v string) (run, nonce string, o duplex.Offer, err error) {
	run, rest, _ := strings.Cut(v, " ")
	nonce, offer, _ := strings.Cut(rest, " ")
	if o, err = duplex.ParseOffer(offer); err != nil {
		return "", "", duplex.Offer{}, fmt.Errorf("%w: %w", ErrNode, err)
	}
	return run, nonce, o, nil
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(b)
}

func decode(v string, to any) error {
	if len(v) > valueMost {
		return fmt.Errorf("%w: %d bytes", ErrNode, len(v))
	}
	if err := json.Unmarshal([]byte(v), to); err != nil {
		return fmt.Errorf("%w: %w", ErrNode, err)
	}
	return nil
}
