package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"morgana/xen/xenbus"
	"morgana/xenstore"
)

// handed is a node of a backend's directory: the disk is the daemon's.
const handed = "morgana-handed-over"

// scriptTime bounds what the script does; xl's patience is 40 s.
const scriptTime = 30 * time.Second

// script is what xl runs when it attaches or detaches a disk, once the backend is in state 2 or 6. path is the backend's
// directory, relative to dom0's home.
func script(ctx context.Context, path, action string) error {
	if action != "add" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, scriptTime)
	defer cancel()
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	if !strings.HasPrefix(path, "/") {
		path = "/local/domain/0/" + path
	}
	if err := takeFromKernel(path); err != nil {
		return err
	}
	return store.Transact(ctx, func(tx *xenstore.Tx) error {
		// A directory that is gone is not made again.
		if _, err := tx.Read(ctx, path+"/state"); err != nil {
			return fmt.Errorf("%w: %w", xenbus.ErrRemoved, err)
		}
		return errors.Join(tx.Write(ctx, path+"/"+handed, "1"), tx.Write(ctx, path+"/hotplug-status", "connected"))
	})
}

// takeFromKernel takes a disk from the kernel's driver, which claims every one that appears, and has done so by now: it
// is what wrote state 2. It has not connected, because it waits for a node that only its own script writes. What it has
// mapped of a frontend that was quick it gives back.
func takeFromKernel(path string) error {
	name := "vbd-" + filepath.Base(filepath.Dir(path)) + "-" + filepath.Base(path)
	if _, err := os.Lstat(filepath.Join(kernelDriver, name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.WriteFile(filepath.Join(kernelDriver, "unbind"), []byte(name), 0); err != nil {
		return fmt.Errorf("take disk %s from the kernel's driver: %w", name, err)
	}
	return nil
}
