#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /new
/bin/busybox mount -t devtmpfs dev /dev
for m in MODULES; do /bin/busybox insmod /m/$m.ko; done
for i in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 -o ro /dev/vda /new || exec /bin/busybox sh
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /sbin/bed-init
