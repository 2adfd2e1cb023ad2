package blkback_test

import (
	"context"
	"fmt"

	"morgana/blkback"
	"morgana/block"
	"morgana/xen/blkfront"
	"morgana/xen/sim"
	"morgana/xen/xenbus/xenbustest"
)

// A storage domain serves a disk in memory, and a guest writes to it.
func Example() {
	host := sim.New(1)
	defer host.Close()
	storage, _ := host.NewDomain()
	guest, _ := host.NewDomain()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	disk := block.NewMem(1<<20, 512)
	server, err := blkback.New(blkback.Config{
		Store: storage.Store(), Domain: storage,
		Open: func(context.Context, *blkback.Attachment) (blkback.Disk, error) {
			return blkback.Disk{Device: disk}, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- server.Serve(ctx) }()

	xl := xenbustest.ToolStack{Store: host.Dom0().Store()} // xl block-attach
	dev := &xenbustest.Device{
		Class: "vbd", Frontend: guest.ID(), Backend: storage.ID(), Number: 51712, Nodes: map[string]string{"mode": "w"},
	}
	if err := xl.Attach(ctx, dev); err != nil {
		fmt.Println(err)
		return
	}
	front, err := blkfront.Open(ctx, blkfront.Config{Store: guest.Store(), Domain: guest, Path: "device/vbd/51712"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = front.WriteAt([]byte("hello"), 4096)
	_ = front.Flush()
	b := make([]byte, 5)
	_, _ = disk.ReadAt(b, 4096)
	fmt.Printf("%s\n", b)
	front.Close()
	cancel()
	<-done
	// Output: hello
}
