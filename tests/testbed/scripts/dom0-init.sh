#!/bin/bash
# PID 1 of dom0: bring Xen's tool stack up, mount the share, run the agent or a shell, power off when it ends.
export PATH=/usr/lib/xen-4.17/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=vt100
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
# Without /dev/stdin Xen's hotplug scripts loop in their locking.
ln -sfn /proc/self/fd /dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -sf "/proc/self/fd/${n%:*}" "/dev/${n#*:}"; done
mount -t xenfs xenfs /proc/xen
for m in xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xen-netback xen-blkback 9p 9pnet_virtio virtio_console loop tun bridge; do
	modprobe "$m" 2>/dev/null
done
if grep -qw bed=asleep /proc/cmdline; then
	# The machine's state is kept here, before anything was written and the share mounted, and each host goes on from it:
	# with the time that it is then, and random numbers of its own.
	cat /usr/lib/xen-4.17/bin/* /usr/sbin/lvm /usr/lib/x86_64-linux-gnu/lib{c.so.6,crypto*,yajl*,nl-*,xen*} >/dev/null 2>&1
	for d in /dev/vd[b-z]; do [ -b "$d" ] && blockdev --flushbufs "$d"; done
	echo "BED: asleep"
	until read -r word now seed </dev/hvc0 && [ "$word" = wake ]; do sleep 0.05; done
	date -s "@$now" >/dev/null
	echo "$seed" >/dev/urandom
fi
mount -o remount,rw /
# There is no udevd: lvm2 makes its devices itself.
echo 'activation { udev_sync=0 udev_rules=0 }' >/etc/lvm/lvmlocal.conf
ip link set lo up
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share || echo "BED: no share"
mkdir -p /run/xen /var/run/xenstored /var/log/xen/console /run/lock /var/lib/xenstored /var/lib/xen
[ -r /share/.bed/environment ] && . /share/.bed/environment
if [ "$BED_XENSTORED" != none ]; then
	"${BED_XENSTORED:-xenstored}" --pid-file /run/xenstored.pid || echo "BED: xenstored failed"
	for _ in $(seq 200); do xenstore-exists / 2>/dev/null && break; sleep 0.05; done
	xen-init-dom0
	xenconsoled --log=guest --log-dir=/var/log/xen/console
fi
echo "BED: up $(cut -d' ' -f1 /proc/uptime)"
if [ -x /share/.bed/agent ]; then
	/share/.bed/agent
else
	# A controlling terminal, so that Ctrl-C ends a command and not the shell.
	TERM=${BED_TERM:-vt100} setsid --ctty --wait bash -c "cd /share; stty ${BED_STTY:-sane}; exec bash" </dev/hvc0 >/dev/hvc0 2>&1
fi
sync
echo o >/proc/sysrq-trigger
sleep 5
