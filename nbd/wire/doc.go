// Package wire is the NBD protocol as values: the fixed newstyle handshake with its options, requests, and simple and
// structured replies. It neither reads nor writes a connection.
//
// What a peer sends as a whole, such as a request, is parsed from a slice that holds exactly it; AppendX is the inverse
// of ParseX. Everything is big-endian.
//
// The specification is doc/proto.md of the NBD project, https://github.com/NetworkBlockDevice/nbd. Names here are the
// specification's without their prefix.
package wire
