// Package storetest is the conformance suite of xenstore services: scripts of requests by clients of the socket and by
// domains, each with what xenstored 4.17 answered, and a runner that plays them to any service.
//
// A script is lines. A request is
//
//	CONN[#TX] OPERATION payload
//
// where CONN is s1, s2, … for clients of the socket and d5 for domain 5 on its ring, and | in the payload stands for
// NUL. {x*100} is a hundred x; \n and \x80 are as in Go. Below it, indented, is what came back: the payload of the
// reply or the error's name, then the events, each with the connection that got it:
//
//	s1 WRITE /a/b|value
//	  OK|
//	  s2! /a/b|token|
//
// Lines that begin with ours: are what our service answers where it differs, and why it may is said in a comment
// above. ? is any answer. Lines that begin with # are comments. Other commands make the host do something:
//
//	domain 5      there is a domain 5, with a ring; INTRODUCE makes the service know it
//	shutdown 5    it shut down
//	gone 5        it is gone
//	exception     Xen tells the service that a domain shut down or is gone (VIRQ_DOM_EXC)
//	close s1      the connection ends
//	repeat 20 d5 MKDIR a$i|   twenty requests, $i from 1 to 20; like answers in a row are told as one
package storetest
