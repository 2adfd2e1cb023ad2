package table

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/metadata"
)

func group(t testing.TB) *metadata.VG {
	t.Helper()
	b, err := os.ReadFile("testdata/gv.vg") // made by LVM2 2.03.16 under Linux 6.1
	if err != nil {
		t.Fatal(err)
	}
	vg, err := metadata.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

// The lines are those that dmsetup showed under Linux 6.1 for the volumes of this group, when it had its first two.
func TestTableAsTheKernelShowsIt(t *testing.T) {
	vg := group(t)
	numbers := map[string]string{"/dev/vda": "254:0", "/dev/vdb": "254:16", "/dev/vdc": "254:32"}
	var got []string
	for _, name := range []string{"lin", "st-r"} {
		targets, err := Of(vg, vg.LV(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range targets {
			b := append([]byte(Name(vg.Name(), name)), ": "...)
			got = append(got, string(x.Append(b, func(pv *metadata.PV) string { return numbers[pv.Device] })))
		}
	}
	if diff := cmp.Diff([]string{
		"gv-lin: 0 253952 linear 254:0 2048",
		"gv-lin: 253952 32768 linear 254:16 2048",
		"gv-st--r: 0 32768 striped 2 128 254:16 34816 254:32 2048",
	}, got); diff != "" {
		t.Error(diff)
	}
	if got := UUID(vg, vg.LV("lin")); got != "LVM-ciW7sLdQLxBjTKklVzq0dsnBqBLtiDiAwlhWFrXGgIil3ekaTKa2Liq80lTRxts8" {
		t.Error(got)
	}
}

func TestWhatHasNoTable(t *testing.T) {
	vg := group(t)
	for _, name := range []string{"r1", "tp", "thin1", "snapshot0"} {
		if _, err := Of(vg, vg.LV(name)); !errors.Is(err, metadata.ErrUnsupported) || !strings.Contains(err.Error(), "gv/"+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for lv := range vg.LVs() {
		if targets, err := Of(vg, lv); err == nil {
			var n uint64
			for _, x := range targets {
				if x.Start != n {
					t.Errorf("%s: a target begins at %d, want %d", lv.Name, x.Start, n)
				}
				n += x.Length
			}
			if n != vg.Size(lv) {
				t.Errorf("%s: %d sectors of %d", lv.Name, n, vg.Size(lv))
			}
		}
	}
}
