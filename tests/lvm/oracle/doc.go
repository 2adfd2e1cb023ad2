// Package oracle runs the real lvm2 beside what is tested, on loop devices of its own.
//
// An Oracle has a configuration, locks, backups and archives in a folder of its own and sees no disk but its own, so
// several may run at once, in one test or in many, and none touches the machine's volumes. It needs root, lvm2 and the
// loop driver, and no device-mapper: lvm2 is told not to activate anything, which leaves all of its metadata work.
//
//	o := oracle.New(t)
//	disks := o.Disks(3, 128<<20)
//	o.Must("vgcreate", "vg0", disks[0].Path, disks[1].Path, disks[2].Path)
//	got := o.FullReport()
//
// What does not work without device-mapper is refused by lvm2 with a message: mirrors, raid, snapshots, thin pools.
// One thing must not be tried: pvmove returns 0 and leaves the group with a half-made mirror.
//
// Sources: lvm.conf(5), lvmreport(7) and losetup(8).
package oracle
