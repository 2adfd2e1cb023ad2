package metadata_test

import (
	"fmt"
	"math/rand/v2"

	"morgana/lvm/metadata"
)

// A group is made of two disks, and a volume in it grows. Each step gives a new group; the ones before stay as they were.
func Example() {
	env := metadata.Env{Rand: rand.NewChaCha8([32]byte{}), Now: 1700000000, Host: "localhost"}
	create := metadata.CreateVG{Name: "data"}
	for _, device := range []string{"/dev/sda", "/dev/sdb"} {
		id, err := metadata.NewUUID(env.Rand) // a real one is read from the disk's label
		if err != nil {
			fmt.Println(err)
			return
		}
		create.PVs = append(create.PVs, metadata.NewPV{ID: id, Device: device, DevSize: 2 << 20, PEStart: 2048})
	}
	group, _, err := metadata.NewVG(env, create)
	if err != nil {
		fmt.Println(err)
		return
	}
	before, _, err := group.CreateLV(env, metadata.CreateLV{Name: "root", Size: metadata.Percent(75, metadata.OfVG)})
	if err != nil {
		fmt.Println(err)
		return
	}
	after, op, err := before.ResizeLV(env, metadata.ResizeLV{Name: "root", Size: metadata.Percent(100, metadata.OfVG)})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, note := range op.Notes {
		fmt.Println(note)
	}
	for _, s := range after.LV("root").Segments {
		fmt.Printf("%d extents on %s from extent %d\n", s.Count, after.PV(s.Stripes[0].PV).Device, s.Stripes[0].Start)
	}
	_, _, err = after.CreateLV(env, metadata.CreateLV{Name: "more", Size: metadata.Extents(1)})
	fmt.Println(err)
	fmt.Println(before.FreeExtents(), "extents are still free in the group before")

	// Output:
	// Size of logical volume data/root changed from 1.49 GiB (382 extents) to 1.99 GiB (510 extents).
	// 255 extents on /dev/sda from extent 0
	// 255 extents on /dev/sdb from extent 0
	// Volume group "data" has insufficient free space (0 extents): 1 required.
	// 128 extents are still free in the group before
}
