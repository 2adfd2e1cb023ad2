package host

import (
	"context"
	"fmt"
	"strings"

	"morgana/tests/testbed"
)

// sumPrograms prints one checksum of all programs in a directory.
const sumPrograms = `(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)`

// prepareDisk has stock lvm2 make the group and the volume, where a Debian is already. Then dom0's Linux lets go of the
// disk.
func (j *job) prepareDisk(ctx context.Context) error {
	sum, err := j.h.Script(ctx, fmt.Sprintf(`set -e
disk=%s vg=%s lv=%s
sum() { %s; }
lvm <<END >/dev/null
vgcreate -qq --yes $vg $disk
lvcreate -qq --yes -Zn -Wn -L %dM -n $lv $vg
lvcreate -qq --yes -Zn -Wn -l 8 -n spare $vg
END
mkdir -p /tmp/root
mount -o ro /dev/$vg/$lv /tmp/root
sum /tmp/root/usr/sbin
umount /tmp/root
vgchange -qq -an $vg >/dev/null`, j.disk, group, volume, sumPrograms, testbed.GuestRootMiB))
	if err != nil {
		return err
	}
	j.sums = strings.TrimSpace(sum)
	j.screen.say("%d MiB, volume group %s, a Debian in volume %s", diskMiB, group, volume)
	return nil
}

// verify looks at the disk with what everybody has.
func (j *job) verify(ctx context.Context) error {
	out, err := j.h.Script(ctx, fmt.Sprintf(`set -e
vg=%s lv=%s
lvm <<END
vgck $vg
vgchange -qq -ay $vg
lvs --noheadings -o lv_name,lv_size $vg
END
[ -b /dev/$vg/%s ]
e2fsck -fn /dev/$vg/$lv >/tmp/fsck 2>&1 || { cat /tmp/fsck >&2; exit 1; }
mount -o ro /dev/$vg/$lv /tmp/root
sha256sum /tmp/root/srv/data | cut -d' ' -f1 >/tmp/sum
umount /tmp/root
vgchange -qq -an $vg >/dev/null
echo "sum $(cat /tmp/sum)"`, group, volume, made))
	if err != nil {
		return err
	}
	volumes, sum, _ := strings.Cut(strings.TrimSpace(out), "sum ")
	if sum != j.data {
		return fmt.Errorf("the guest wrote data with checksum %s, on the disk are some with %s", j.data, sum)
	}
	j.verified("lvm2 reads the volume group: %s", strings.Join(strings.Fields(volumes), " "))
	j.verified("e2fsck -fn finds nothing in the guest's root file system")
	j.verified("what the guest read and wrote has dom0's checksums: %.16s…, %.16s…", j.sums, j.data)
	return nil
}
