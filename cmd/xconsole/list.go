package main

import (
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

func list(c *cli.Context) error {
	if err := want(c, 0); err != nil {
		return err
	}
	client, err := dial(c)
	if err != nil {
		return err
	}
	defer client.Close()
	all, err := client.List()
	if err != nil {
		return err
	}
	switch {
	case c.Bool("json"):
		enc := json.NewEncoder(os.Stdout)
		for _, i := range all {
			if err := enc.Encode(i); err != nil {
				return err
			}
		}
		return nil
	case c.Bool("names"):
		for _, i := range all {
			if _, err := fmt.Println(i.Name); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tNAME\tBYTES\tKEPT\tATTACHED")
	for _, i := range all {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\n", i.Dom, i.Name, i.End, i.End-i.Start, i.Writers)
	}
	return w.Flush()
}
