// Package daemon is the console daemon of dom0 on Linux: package xenconsoled with ptys for xl console, logs in files,
// Xen's own log, and a unix socket for xconsole. What it needs of Xen is a Machine; cmd/xenconsoled has the
// real one, tests have another.
//
// Streams lie in files of a directory that outlives the process (/run/xenconsoled, a tmpfs), mapped: so a process that
// was killed loses nothing, and the next one makes new ptys, which xenconsole follows by the node tty in xenstore.
//
// A pty tells when somebody opens it (inotify on its file) and when nobody has it open (poll: POLLHUP). While nobody
// has, nothing is written to it; who opens it is given what came meanwhile, the oldest and the newest of it if that is
// too much, or else the last screen.
package daemon
