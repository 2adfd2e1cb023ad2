// Package file is a block.Device over a plain file or a block device of the machine.
//
//	d, err := file.Open("/dev/sdb")            // reading and writing
//	d, err := file.OpenReadOnly("disk.img")
//	d, err := file.Create("disk.img", 1<<30)   // sparse
//
// With Direct a block device is read and written past the page cache, by calls that do not block a thread each: for those
// who serve it to others.
//
// Flush is fdatasync, which for a block device also empties the volatile cache of the disk. The sector size of a block
// device is its logical one; a plain file has sectors of 512 bytes, unless WithSectorSize says otherwise.
package file
