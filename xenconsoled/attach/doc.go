// Package attach is how a person's program talks to whoever serves consoles: it lists them, reads and follows what they
// said, and attaches to them. Client and Server speak over any connection: a unix socket of the daemon, a ring shared
// with the console domain, a channel of an SSH session.
//
// # The protocol
//
// Frames go both ways: a byte that says what it is, the length of what follows in three bytes, little-endian, at most
// 65536, and that.
//
//	client  R  a request, JSON (Request): the first frame, and the only one of its kind
//	        I  bytes that are typed
//	server  L  the consoles, JSON ([]Info); the answer to "list", which ends with it
//	        A  attached, JSON (Info)
//	        O  what the guest said: the number of the first byte, 64 bits, and bytes. Numbers that are left out were lost.
//	        T  what the guest was given of what is typed, for "type": how many bytes of this connection, 64 bits, and the index
//	           in its ring then, 32 bits
//	        Z  the end, JSON (End): the guest is gone, or all was read
//	        E  it failed, JSON (Failure)
//
// The bytes of a console are numbered from 0 as long as the guest lives, whoever serves it: a client whose connection
// breaks asks for what follows the last byte it has.
//
// What is typed is counted by the guest's own ring, whose index goes on in the same way. A client that asks for "type" keeps
// what the guest may not have been given, and when its connection breaks learns from the next one's index how much of that
// was. Keyboard does it.
package attach
