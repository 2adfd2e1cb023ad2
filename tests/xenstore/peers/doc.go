// Package peers runs the xenstore daemons of others beside ours: Debian's own xenstored (C) and oxenstored (OCaml),
// unmodified, and the programs that come with them, on a host that is a directory (Host) instead of Xen. So guests on
// real rings, quotas, ring faults and the death of domains can be compared on any machine.
//
// Debian's packages are downloaded and unpacked into a cache directory: nothing is installed. That takes apt-get,
// dpkg-deb and gcc; where they are missing, Find says so and tests skip.
package peers
