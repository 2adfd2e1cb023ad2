// Command mkkernel builds unikernel/kernel, trims it and writes it where package image embeds it from.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"morgana/unikernel/image"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkkernel kernel.bin")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mkkernel:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	dir, err := os.MkdirTemp("", "mkkernel")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "kernel.elf")
	b, err := image.BuildKernel(name)
	if err != nil {
		return err
	}
	literals, err := image.KernelStrings()
	if err != nil {
		return err
	}
	blob, reached, err := image.TrimKernel(b, literals)
	if err != nil {
		return err
	}
	if err := image.KernelSource(reached); err != nil {
		return err
	}
	return os.WriteFile(out, blob, 0o644)
}
