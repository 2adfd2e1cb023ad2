// Blkcheck checks and measures a disk of another domain through xen/blkfront: patterns of all sizes at all places, from
// several goroutines, discards and flushes. It destroys what is on the disk.
//
//	blkcheck [--figures 2000] device/vbd/51712
//
// It prints the SHA-256 of what it leaves on the disk, for the one who has the disk to compare. With --read-only it
// checks that nothing can be written, and changes nothing. As a domain its arguments are the configuration's cmdline. Exit
// status: 0 all is well, 1 something is not, 2 wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"morgana/block"
	"morgana/xen/blkfront"
	"morgana/xen/devxen"
	"morgana/xenstore"
)

func main() {
	var cfg blkfront.Config
	readOnly := flag.Bool("read-only", false, "the disk is to be read-only")
	rounds := flag.Int("figures", 0, "how many requests to measure each kind with; 0: none")
	steps := flag.Int("steps", 150, "steps of each of the random walks")
	seed := flag.Uint64("seed", 1, "of the random walks")
	pause := flag.Bool("wait", false, "at the end wait until the disk is detached")
	grow := flag.Bool("grow", false, "before the end wait until the disk is larger")
	flag.IntVar(&cfg.Queues, "queues", 0, "most queues")
	flag.IntVar(&cfg.RingOrder, "order", 0, "most pages of a ring, as a power of two; negative: one")
	flag.IntVar(&cfg.Segments, "segments", 0, "most pages of a request")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: blkcheck [flags] DIRECTORY, such as device/vbd/51712")
		flag.PrintDefaults()
		os.Exit(2)
	}
	cfg.Path = flag.Arg(0)
	if err := check(cfg, *readOnly, *steps, *seed, *rounds, *grow, *pause); err != nil {
		fmt.Println("blkcheck: FAIL:", err)
		os.Exit(1)
	}
	fmt.Println("blkcheck: all is well")
}

func check(cfg blkfront.Config, readOnly bool, steps int, seed uint64, rounds int, grow, pause bool) error {
	ctx := context.Background()
	store, err := xenstore.Open(ctx, xenstore.Options{Lost: xenstore.Wait}) // over a save and restore too
	if err != nil {
		return err
	}
	defer store.Close()
	dom, err := devxen.Open()
	if err != nil {
		return err
	}
	defer dom.Close()
	cfg.Store, cfg.Domain = store, dom
	patience, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	start := time.Now()
	disk, err := blkfront.Open(patience, cfg)
	if err != nil {
		return err
	}
	defer disk.Close()
	st := disk.Stats()
	fmt.Printf("blkcheck: %d bytes, sectors of %d, read-only %v, %d rings of %d requests of %d pages, connected after %v\n",
		disk.Size(), disk.SectorSize(), disk.ReadOnly(), st.Queues, st.RingSlots, st.Segments, time.Since(start).Round(time.Millisecond))
	switch {
	case readOnly:
		if err := refuses(disk); err != nil {
			return err
		}
	case disk.ReadOnly():
		return errors.New("the disk is read-only")
	default:
		if err := walks(disk, steps, seed); err != nil {
			return err
		}
		if err := fill(disk); err != nil {
			return err
		}
	}
	if rounds > 0 {
		if err := figures(disk, rounds); err != nil {
			return err
		}
	}
	if grow {
		if err := grows(disk); err != nil {
			return err
		}
	}
	sum, err := checksum(disk)
	if err != nil {
		return err
	}
	fmt.Println("blkcheck: sha256", sum)
	if pause {
		<-disk.Done()
		if !errors.Is(disk.Err(), blkfront.ErrRemoved) {
			return disk.Err()
		}
		fmt.Println("blkcheck: detached")
	}
	return nil
}

// grows waits until the disk is larger, and uses what came new. Linux's backend looks at its disk's size after requests.
func grows(disk *blkfront.Disk) error {
	fmt.Println("blkcheck: waits for a larger disk")
	old := disk.Size()
	for {
		select {
		case <-disk.Resized():
			fmt.Printf("blkcheck: %d bytes, that were %d\n", disk.Size(), old)
			if disk.Size() <= old {
				return errors.New("the disk did not grow")
			}
			b := make([]byte, 8<<10)
			stamp(b, disk.Size()-int64(len(b)))
			_, err := disk.WriteAt(b, disk.Size()-int64(len(b)))
			return errors.Join(err, disk.Flush())
		case <-disk.Done():
			return disk.Err()
		case <-time.After(100 * time.Millisecond):
			if _, err := disk.ReadAt(make([]byte, 512), 0); err != nil {
				return err
			}
		}
	}
}

// refuses checks that a read-only disk stays what it is.
func refuses(disk *blkfront.Disk) error {
	if !disk.ReadOnly() {
		return errors.New("the disk is not read-only")
	}
	if _, err := disk.WriteAt(make([]byte, 512), 0); !errors.Is(err, block.ErrReadOnly) {
		return fmt.Errorf("a write to a read-only disk: %w", err)
	}
	return disk.Flush()
}
