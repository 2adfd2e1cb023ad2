package blkfront_test

import (
	"context"
	"fmt"

	"morgana/blkback"
	"morgana/block"
	"morgana/xen/blkfront"
	"morgana/xen/sim"
	"morgana/xen/xenbus/xenbustest"
)

// A domain uses a disk that another one serves.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	host := sim.New(1)
	defer host.Close()
	guest, _ := host.NewDomain()
	storage, _ := host.NewDomain()

	// The storage domain serves some memory, and the tool stack attaches it to the guest as xvda.
	server, _ := blkback.New(blkback.Config{
		Store: storage.Store(), Domain: storage,
		Open: func(context.Context, *blkback.Attachment) (blkback.Disk, error) {
			return blkback.Disk{Device: block.NewMem(1<<20, 512)}, nil
		},
	})
	go server.Serve(ctx)
	tools := xenbustest.ToolStack{Store: host.Dom0().Store()}
	_ = tools.Attach(ctx, &xenbustest.Device{
		Class: "vbd", Frontend: guest.ID(), Backend: storage.ID(), Number: 51712, Nodes: map[string]string{"params": "vol1", "mode": "w"},
	})

	// The guest opens it.
	disk, err := blkfront.Open(ctx, blkfront.Config{Store: guest.Store(), Domain: guest, Path: "device/vbd/51712"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer disk.Close()
	if _, err := disk.WriteAt([]byte("hello"), 1000); err != nil {
		fmt.Println(err)
	}
	fmt.Println("flushed:", disk.Flush())
	b := make([]byte, 5)
	_, err = disk.ReadAt(b, 1000)
	fmt.Printf("%d bytes, %s %v\n", disk.Size(), b, err)
	// Output:
	// flushed: <nil>
	// 1048576 bytes, hello <nil>
}
