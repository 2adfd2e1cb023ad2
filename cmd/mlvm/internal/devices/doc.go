// Package devices finds out which disks a command may look at: plain files and block devices that the user has named,
// and no others. mlvm never searches /dev.
package devices
