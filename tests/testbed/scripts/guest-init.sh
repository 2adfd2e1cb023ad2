#!/bin/busybox sh
# A small stock Linux guest: says that it is up, runs the script of its command line (base64 in run=), powers off. With
# root=DEVICE in the command line that disk's own init takes over before.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
mkdir -p /tmp /mnt
# A guest's privcmd makes no hypercalls otherwise.
echo 'unrestricted=1' >/tmp/xen-privcmd
for m in MODULES; do insmod /m/$m.ko $(cat /tmp/$m 2>/dev/null); done
mount -t xenfs xenfs /proc/xen
echo "GUEST up $(cut -d' ' -f1 /proc/uptime)"
for w in $(cat /proc/cmdline); do
	case $w in
	root=*)
		for i in $(seq 100); do [ -b "${w#root=}" ] && break; usleep 100000; done
		if mount -t ext4 "${w#root=}" /mnt; then
			mount --move /dev /mnt/dev; umount /proc/xen /proc /sys
			exec switch_root /mnt /sbin/init
		fi
		echo "GUEST has no root file system on ${w#root=}" ;;
	run=*) echo "${w#run=}" | base64 -d >/tmp/run; sh /tmp/run; echo "GUEST exit $?" ;; esac
done
poweroff -f
