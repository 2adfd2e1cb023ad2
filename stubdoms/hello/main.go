// Hello is the smallest unikernel: it says one line.
//
//	stubdom build ./stubdoms/hello -o hello.elf
package main

func main() {
	println("hello from a domain of its own")
}
