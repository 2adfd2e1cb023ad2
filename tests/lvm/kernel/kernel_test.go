package kernel

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/text"
)

// One boot for all: the disks are emptied in between.
func TestKernel(t *testing.T) {
	m := boot(t, true, 3)
	t.Run("maps", func(t *testing.T) { maps(t, m) })
	t.Run("data", func(t *testing.T) { data(t, m) })
	t.Run("others' volumes", func(t *testing.T) { others(t, m) })
}

// group makes a group of linear, fragmented and striped volumes here and has the kernel activate it.
func group(t *testing.T, m *machine) []string {
	m.guest(t, "vgchange -an >/dev/null 2>&1 || true\nfor d in b c d; do dd if=/dev/zero of=/dev/vd$d bs=1M count=2 conv=fsync status=none; done")
	m.forget(t)
	m.mlvm(t, 3, append([]string{"vgcreate", "-s", "1m", "gv"}, m.disks...)...)
	m.mlvm(t, 3, "lvcreate", "-i", "3", "-I", "64k", "-L", "12M", "-n", "str3", "gv")
	m.mlvm(t, 3, "lvcreate", "-L", "8M", "-n", "small", "gv")
	m.mlvm(t, 3, "lvcreate", "-i", "2", "-I", "16k", "-L", "16M", "-n", "str-2", "gv")
	m.mlvm(t, 3, "lvextend", "-L", "+20M", "gv/small") // another segment, for others are behind the first
	m.mlvm(t, 3, "lvextend", "-L", "+12M", "gv/str3")
	m.mlvm(t, 3, "lvcreate", "-L", "150M", "-n", "two-disks", "gv")
	m.mlvm(t, 3, "lvcreate", "-l", "50%FREE", "-n", "rest.of_it+x", "gv")
	m.forget(t)
	return []string{"two-disks", "small", "str-2", "str3", "rest.of_it+x"}
}

// What mlvm says that the kernel's tables are, they are.
func maps(t *testing.T, m *machine) {
	names := group(t, m)
	m.guest(t, "vgck gv; vgchange -ay gv")
	kernel := lines(m.guest(t, "dmsetup table"))
	ours := lines(m.guest(t, "mlvm --devices "+m.devices()+" dmtable gv"))
	slices.Sort(kernel)
	slices.Sort(ours)
	if diff := cmp.Diff(kernel, ours); diff != "" {
		t.Errorf("dmsetup table (-), mlvm dmtable (+):\n%s", diff)
	}
	if len(kernel) < len(names)+3 {
		t.Errorf("only %d targets: nothing is fragmented\n%s", len(kernel), strings.Join(kernel, "\n"))
	}
	for _, n := range names {
		kernel := m.guest(t, "dmsetup table "+strings.ReplaceAll("gv/"+n, "/", "-")+" 2>/dev/null || dmsetup table $(dmsetup info -c --noheadings -o name /dev/gv/"+n+")")
		if ours := m.guest(t, "mlvm --devices "+m.devices()+" dmtable gv/"+n); ours != kernel {
			t.Errorf("%s:\n%s%s", n, kernel, ours)
		}
	}
	m.guest(t, "vgchange -an gv")
}

// What is written through mlvm nbd is what the kernel reads, and the reverse.
func data(t *testing.T, m *machine) {
	names := group(t, m)
	dir := t.TempDir()
	// Here by nbdcopy and qemu-io, there by the kernel.
	want := map[string]string{}
	socket, end := m.serve(t, 3, "gv")
	for i, n := range names {
		file := filepath.Join(dir, n)
		peer(t, "nbdcopy", uri(socket, "gv/"+n), file) // for its size
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, st.Size())
		rand.NewChaCha8([32]byte{byte(i)}).Read(b)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		peer(t, "nbdcopy", "--flush", file, uri(socket, "gv/"+n))
		out := peer(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 3M", "-c", "write -z 2M 64k", "-c", "write -P 0x77 4097 5000", "-c", "flush", uri(socket, "gv/"+n))
		if strings.Contains(out, "failed") {
			t.Fatal(out)
		}
		peer(t, "nbdcopy", uri(socket, "gv/"+n), file)
		want[n] = sumFile(t, file)
	}
	end()
	m.forget(t)
	m.guest(t, "vgchange -ay gv")
	for _, n := range names {
		if got := strings.Fields(m.guest(t, "sha256sum /dev/gv/"+n))[0]; got != want[n] {
			t.Errorf("%s: the kernel reads something else than was written through mlvm nbd", n)
		}
	}
	// There by the kernel, here by nbdcopy.
	for _, n := range names {
		want[n] = strings.Fields(m.guest(t, "dd if=/dev/urandom of=/dev/gv/"+n+" bs=1M conv=fsync status=none 2>/dev/null || true; sync; sha256sum /dev/gv/"+n))[0]
	}
	m.guest(t, "vgchange -an gv; sync")
	socket, end = m.serve(t, 3, "--readonly", "gv")
	for _, n := range names {
		file := filepath.Join(dir, n)
		peer(t, "nbdcopy", uri(socket, "gv/"+n), file)
		if got := sumFile(t, file); got != want[n] {
			t.Errorf("%s: mlvm nbd reads something else than the kernel wrote", n)
		}
	}
	end()
}

// Volumes of types that only the kernel can make are as they were when mlvm has changed others beside them.
func others(t *testing.T, m *machine) {
	m.guest(t, `vgchange -an >/dev/null 2>&1 || true
for d in b c d; do dd if=/dev/zero of=/dev/vd$d bs=1M count=2 conv=fsync status=none; done
vgcreate -s 1m kv /dev/vdb /dev/vdc /dev/vdd
lvcreate -y -Wn -L 8m -n plain kv
lvcreate -y -Wn -L 8m -n plain2 kv
lvcreate -y -Wn -L 16m -n origin kv
lvcreate -y -s -L 8m -n snap kv/origin
lvcreate -y -Wn -Zn --type raid1 -m1 -L 8m -n r1 kv
lvcreate -y --type thin-pool -Zn -L 16m -n pool kv
lvcreate -y -V 64m -T kv/pool -n thin
lvcreate -y -Wn -L 12m -n cached kv
lvcreate -y --type cache-pool -L 12m -n cp kv /dev/vdd
lvconvert -y --type cache --cachepool kv/cp kv/cached`)
	volumes := []string{"origin", "snap", "r1", "thin", "cached", "plain2"}
	sums := func() map[string]string {
		got := map[string]string{}
		for _, n := range volumes {
			got[n] = strings.Fields(m.guest(t, "sha256sum /dev/kv/"+n))[0]
		}
		return got
	}
	for i, n := range volumes {
		m.guest(t, fmt.Sprintf("head -c %d /dev/urandom | dd of=/dev/kv/%s bs=64k conv=fsync status=none", (i+1)<<20, n))
	}
	want := sums()
	m.guest(t, "vgchange -an kv; sync")
	before := metadata(t, m)

	m.mlvm(t, 3, "lvcreate", "-L", "10M", "-n", "new", "kv")
	m.mlvm(t, 3, "lvcreate", "-i", "2", "-L", "10M", "-n", "striped", "kv")
	m.mlvm(t, 3, "lvextend", "-L", "+7M", "kv/plain")
	m.mlvm(t, 3, "lvrename", "kv", "plain", "renamed")
	m.mlvm(t, 3, "lvchange", "--addtag", "t", "kv/renamed")
	m.mlvm(t, 3, "lvremove", "-f", "kv/striped")
	m.mlvm(t, 3, "lvreduce", "-f", "-L", "4M", "kv/new")

	after := metadata(t, m)
	for _, e := range before.Entries {
		if e.Key == "plain" {
			continue
		}
		if now := after.Sub(e.Key); now == nil || !now.Equal(e.Section) {
			t.Errorf("%s is not what it was:\n%s\n%s", e.Key, e.Section.AppendDisk(nil), now.AppendDisk(nil))
		}
	}
	if len(before.Entries) < 15 {
		t.Errorf("only %d volumes and parts of some", len(before.Entries))
	}
	m.forget(t)
	if out := m.guest(t, "vgck kv 2>&1; vgchange -ay kv"); !strings.Contains(out, "now active") {
		t.Error(out)
	}
	if diff := cmp.Diff(want, sums()); diff != "" {
		t.Errorf("data has changed:\n%s", diff)
	}
	types := strings.Fields(m.guest(t, "lvs --noheadings -o segtype kv | sort -u"))
	if diff := cmp.Diff([]string{"cache", "linear", "raid1", "thin", "thin-pool"}, types); diff != "" {
		t.Error(diff)
	}
	m.guest(t, "vgchange -an kv")
}

// metadata is the section of the volumes in what is on the first disk.
func metadata(t *testing.T, m *machine) *text.Section {
	t.Helper()
	b, err := os.ReadFile(m.disks[0])
	if err != nil {
		t.Fatal(err)
	}
	at := mdaText(b)
	s, err := text.Parse(b[at[0] : at[0]+at[1]-1])
	if err != nil {
		t.Fatal(err)
	}
	return s.Sub("kv").Sub("logical_volumes")
}

// mdaText is where the text lies, by the header at 4096: worked out here, not by what is tested.
func mdaText(b []byte) [2]int {
	u := func(at int) (n int) {
		for i := 7; i >= 0; i-- {
			n = n<<8 | int(b[4096+at+i])
		}
		return n
	}
	return [2]int{4096 + u(40), u(48)}
}
