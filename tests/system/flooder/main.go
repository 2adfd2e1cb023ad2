// Command flooder writes as many numbered lines to its console as its argument says, as fast as it can.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	lines, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	began := time.Now()
	var b []byte
	for i := range lines {
		if b = fmt.Appendf(b, "%08d of a flood of numbered lines that all have the same length\n", i); len(b) > 32<<10 || i == lines-1 {
			if _, err := os.Stdout.Write(b); err != nil {
				panic(err)
			}
			b = b[:0]
		}
	}
	fmt.Printf("FLOODED in %d ms\n", time.Since(began).Milliseconds())
}
