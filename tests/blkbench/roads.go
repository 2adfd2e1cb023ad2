package main

import (
	"context"
	"errors"
)

// linux is the backend of dom0's kernel.
func linux(_ context.Context, _ *bench, disk, vdev string) (way, error) {
	return way{spec: "phy:" + disk + "," + vdev + ",w"}, nil
}

func process(context.Context, *bench, string, string) (way, error) {
	return way{}, errors.New("not yet")
}

func storage(context.Context, *bench, string, string) (way, error) {
	return way{}, errors.New("not yet")
}
