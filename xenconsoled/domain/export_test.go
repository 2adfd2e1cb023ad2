package domain

import (
	"morgana/xen/duplex"
	"morgana/xenconsoled/attach"
)

// ServeLink serves an agent's offer until end is called.
func ServeLink(m Machine, o duplex.Offer, c attach.Consoles) (end func(), err error) {
	conn, err := duplex.Connect(m, agentDomain, o)
	if err != nil {
		return nil, err
	}
	return newLink(conn, &attach.Server{Consoles: c}, func(error) {}).close, nil
}
