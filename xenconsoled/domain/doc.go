// Package domain serves consoles in a domain of its own, with an agent in dom0 (package agent) that tells it of guests and
// connects people to it.
//
//	dom0: libxl gives the ring of a guest's console to the domain that /tool/xenconsoled/domid names
//	      agent ── xenstore: guests, and an offer of pages ──▶ domain
//	            ◀──── pages: who lists, reads, attaches ─────▶
//
// The domain has no right to anything of dom0's or of the guests but to the pages of their consoles, which they grant:
// not to read their nodes, not to watch for domains that come and go. What it has to know the agent writes into its home.
//
// # The nodes
//
// Below data/consoles in the domain's home (Dir). dom0 may write there, and the domain itself; no guest may.
//
//	serving    the domain's, while it serves: JSON (Serving). Each run of the program has another id in it
//	guest/N    the agent's, for each guest that there is: JSON (Guest). When it goes, the guest is gone
//	link       the agent's: a run's id, a number drawn at random, and an offer of pages (package duplex). Over them go the
//	           connections (package mux) of those who attach (package attach). The domain removes it when what comes over
//	           them makes no sense, and the agent offers others
//
// The nodes are there whatever becomes of the two: a domain that starts again finds its guests without the agent, and an
// agent that starts again finds what it had told. The domain needs one watch.
package domain
