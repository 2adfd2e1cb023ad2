#!/bin/busybox sh
# A small stock Linux guest: says that it is up, runs the script of its command line (base64 in run=), powers off.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
mkdir -p /tmp /mnt
# A guest's privcmd makes no hypercalls otherwise.
echo 'unrestricted=1' >/tmp/xen-privcmd
for m in MODULES; do insmod /m/$m.ko $(cat /tmp/$m 2>/dev/null); done
mount -t xenfs xenfs /proc/xen
echo "GUEST up $(cut -d' ' -f1 /proc/uptime)"
for w in $(cat /proc/cmdline); do
	case $w in run=*) echo "${w#run=}" | base64 -d >/tmp/run; sh /tmp/run; echo "GUEST exit $?" ;; esac
done
poweroff -f
