#!/bin/bash
# PID 1 of a stock guest that has its root on a disk: says that it is up, runs the script of its command line (base64 in
# run=), powers off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=vt100
mount -t proc proc /proc; mount -t sysfs sys /sys; mkdir -p /dev/pts; mount -t devpts pts /dev/pts
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
mount -o remount,rw /
echo "GUEST up $(cut -d' ' -f1 /proc/uptime)"
for w in $(cat /proc/cmdline); do
	case $w in run=*) echo "${w#run=}" | base64 -d >/tmp/run; bash /tmp/run; echo "GUEST exit $?" ;; esac
done
poweroff
