// Package sim is a hypervisor in one process: domains with their own pages, grant tables, event channels and a
// xenstore, as strict as Xen is. Drivers and services are tested on it in milliseconds, and with faults that real
// hosts show once a year.
//
//	host := sim.New(seed)
//	defer host.Close()
//	a, _ := host.NewDomain()
//	b, _ := host.NewDomain()
//	g, _ := a.Share(b.ID(), 1, xen.ReadWrite)
//	m, _ := b.Map(a.ID(), g.Refs(), xen.ReadOnly)
//
// Memory is real: a page is a frame of one memory file, each mapping is a mapping of its own. A store into a
// read-only mapping faults, and so does any use of a mapping after it was closed. Pages of a domain that dies stay
// as long as a peer maps them; the dead domain's own goroutines go on, as they must in one process, in memory that
// nobody else sees.
//
// Event channels coalesce, are pending once after binding, lose notifications while unbound, and fall back to
// unbound when the peer closes. The xenstore has the semantics of Xen 4.17's xenstored (C): permissions, quotas of
// unprivileged domains, generation-counted transactions that fail with EAGAIN, watch order, special watches.
//
// Faults come from the seed that New was given, so a run that failed can be had again as far as the order of
// goroutines allows. Defects make the simulator wrong on purpose, to prove that xen/xentest notices.
//
// Linux only: it needs memfd_create and mmap.
package sim
