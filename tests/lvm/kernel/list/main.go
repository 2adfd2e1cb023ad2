// Command list says what is in a directory, a line for each name: type, mode, owner, device numbers, target, extended
// attributes and the sum of the content. Two directories are alike if their lists are.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"morgana/lvm/image/tree"
	"morgana/lvm/image/tree/disk"
)

func main() {
	root, err := disk.Read(os.Args[1])
	if err == nil {
		err = root.Walk(line)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func line(name string, n *tree.Node) error {
	fmt.Printf("%q %v %04o %d:%d %d,%d %q", name, n.Type, n.Perm, n.UID, n.GID, n.Major, n.Minor, n.Target)
	for _, x := range n.Xattrs {
		fmt.Printf(" %s=%q", x.Name, x.Value)
	}
	if n.Type == tree.File {
		r, err := n.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		fmt.Printf(" %d %x", n.Size, h.Sum(nil)[:8])
	}
	fmt.Println()
	return nil
}
