package duplex

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"morgana/xen"
)

// pagesMost is how many pages a ring may have.
const pagesMost = 64

// Sizes are how many pages each ring has, seen from who listens: powers of two from 1 to 64.
type Sizes struct{ In, Out int }

func (s Sizes) valid() error {
	for _, n := range []int{s.In, s.Out} {
		if n < 1 || n > pagesMost || bits.OnesCount(uint(n)) != 1 {
			return fmt.Errorf("duplex: rings of %d and %d pages: want powers of two up to %d: %w", s.In, s.Out, pagesMost, xen.ErrInvalid)
		}
	}
	return nil
}

// Offer is what the peer of a listener has to know.
type Offer struct {
	Port xen.Port
	Refs []xen.GrantRef // of the pages, the one with the indexes first
}

// offerMost is how many pages an offer may have.
const offerMost = 1 + 2*pagesMost

// String is the offer for xenstore: the port and the grants, as decimal numbers with a space between.
func (o Offer) String() string {
	b := strconv.AppendUint(nil, uint64(o.Port), 10)
	for _, r := range o.Refs {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(r), 10)
	}
	return string(b)
}

// ParseOffer reads an offer.
func ParseOffer(s string) (o Offer, err error) {
	words := strings.Split(s, " ")
	if len(words) < 4 || len(words) > 1+offerMost {
		return Offer{}, fmt.Errorf("duplex: an offer of %d numbers: want a port and 3 to %d grants: %w", len(words), offerMost, xen.ErrInvalid)
	}
	for i, w := range words {
		n, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return Offer{}, fmt.Errorf("duplex: %.20q in an offer is no number: %w", w, xen.ErrInvalid)
		}
		if i == 0 {
			o.Port = xen.Port(n)
		} else {
			o.Refs = append(o.Refs, xen.GrantRef(n))
		}
	}
	return o, nil
}
