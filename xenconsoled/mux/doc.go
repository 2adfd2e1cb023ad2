// Package mux carries many connections over one: those of everybody who attaches to consoles over the one ring that dom0
// shares with the console domain.
//
// One side dials, the other accepts. Each connection has a window: what its reader has not read waits with the reader, up
// to 32 KiB, and then the writer waits; so a connection that nobody reads does not hold up the others.
//
// # The frames
//
// A frame has eight bytes of head: the connection's number in four bytes, what it is in one, how many bytes follow in
// three; all little-endian.
//
//	O  a new connection: numbers of connections grow. No body.
//	D  bytes, 1 to 16384 of them
//	W  the reader has room for more: how many bytes, in four
//	C  the sender has closed the connection: what came before is read yet. No body.
//
// The other side is not trusted: a number, a length or a window that makes no sense ends the session. It has at most 256
// connections open, and those beyond are closed at once.
package mux
