// Command parrot says back what it hears on standard input, line by line, until it hears "quit": a program for tests of
// consoles.
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	fmt.Println("parrot listens")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Printf("heard %q\n", in.Text())
		if in.Text() == "quit" {
			return
		}
	}
}
