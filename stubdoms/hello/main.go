// Command hello is the smallest unikernel: one line and the end.
package main

import "os"

func main() { os.Stdout.WriteString("hello from a domain of its own\n") }
