// Package simulated is Morgana's whole host in one process, on the simulator: dom0 with a disk in memory, the xenstore
// domain, the storage domain, the console domain, and guests that work. Nothing of it is pretended but the hypervisor:
// the services are the ones that run as unikernels, each in a domain of the simulator with pages and event channels of its
// own, and everything goes over the rings between them.
//
//	h, err := simulated.Start(ctx)       // xenstore is served
//	defer h.Close()
//	err = h.Prepare(ctx)                 // a volume group on dom0's disk
//	err = h.StartStorage(ctx)
//	err = h.StartConsoles(ctx)
//	g, err := h.NewGuest(ctx, "web", "web")
//	err = g.Boot(ctx)
//
// Guests know what they wrote: at the end dom0 reads their volumes from its disk, and it has to be there.
package simulated
