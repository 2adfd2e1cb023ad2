package metadata_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets the random tests begin at the same place each time, but while they soak or a seed is given: a change is
// judged by what it does and not by luck.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.seed"); os.Getenv("SOAK") == "" && f.Value.String() == "0" {
		if err := f.Value.Set("1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
