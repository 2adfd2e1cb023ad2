package signatures

import (
	"testing"

	"morgana/block"
)

func TestFind(t *testing.T) {
	for _, tc := range []struct {
		name   string
		writes map[int64]string
		want   string
	}{
		{"nothing", nil, ""},
		{"xfs", map[int64]string{0: "XFSB"}, "xfs"},
		{"ext2", map[int64]string{1080: "\x53\xef"}, "ext2"},
		{"ext3", map[int64]string{1080: "\x53\xef", 1024 + 0x5c: "\x04"}, "ext3"},
		{"ext4", map[int64]string{1080: "\x53\xef", 1024 + 0x5c: "\x04", 1024 + 0x60: "\x40"}, "ext4"},
		{"swap", map[int64]string{4086: "SWAPSPACE2"}, "swap"},
		{"a partition table", map[int64]string{510: "\x55\xaa", 446: "\x80\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x10"}, "dos"},
		{"a boot sector without partitions", map[int64]string{510: "\x55\xaa"}, ""},
		{"gpt", map[int64]string{512: "EFI PART"}, "gpt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := block.NewMem(1<<20, 512)
			for off, s := range tc.writes {
				if _, err := d.WriteAt([]byte(s), off); err != nil {
					t.Fatal(err)
				}
			}
			found, err := Find(d)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, s := range found {
				got += s.Name
			}
			if got != tc.want {
				t.Fatalf("found %q, want %q", got, tc.want)
			}
			for _, s := range found {
				if err := s.Wipe(d); err != nil {
					t.Fatal(err)
				}
			}
			if found, _ := Find(d); len(found) != 0 {
				t.Errorf("left after wiping: %v", found)
			}
		})
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte("XFSB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := block.NewMem(int64(len(b)+511)/512*512, 512)
		if len(b) == 0 {
			return
		}
		_, _ = d.WriteAt(b, 0)
		if _, err := Find(d); err != nil {
			t.Error(err)
		}
	})
}
