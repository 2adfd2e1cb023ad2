package blkif

import "testing"

func TestDiskName(t *testing.T) {
	for number, want := range map[uint32]string{
		51712: "xvda", 51713: "xvda1", 51728: "xvdb", 51952: "xvdp", 1<<28 | 26<<8: "xvdaa", 1<<28 | 27<<8 | 3: "xvdab3", 768: "vbd768",
	} {
		if got := DiskName(number); got != want {
			t.Errorf("disk %d is %s, want %s", number, got, want)
		}
	}
}
