#!/bin/sh
# A hotplug script of xl's for a block device that nobody else has (xen/docs/misc/block-scripts.txt).
if [ "$1" = add ]; then
	device=$(stat -L -c %t:%T "$(xenstore-read "$XENBUS_PATH/params")")
	xenstore-write "$XENBUS_PATH/physical-device" "$device" "$XENBUS_PATH/hotplug-status" connected
fi
