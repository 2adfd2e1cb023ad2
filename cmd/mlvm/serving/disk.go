package serving

import (
	"context"
	"time"

	"morgana/blkback"
	"morgana/lvm"
)

// replaceTime bounds how long a command waits for requests under way before a volume that grew takes over.
const replaceTime = 10 * time.Second

// Disk is a volume as the disk of a domain: a blkback.Config's Open. The attachment's target names it.
func (v *Volumes) Disk(ctx context.Context, a *blkback.Attachment) (blkback.Disk, error) {
	vol, err := v.Open(ctx, a.Target, a.ReadOnly, func(ctx context.Context, lv *lvm.LV) error {
		ctx, cancel := context.WithTimeout(ctx, replaceTime)
		defer cancel()
		return a.Replace(ctx, lv)
	})
	if err != nil {
		return blkback.Disk{}, err
	}
	return blkback.Disk{Device: vol.LV, ReadOnly: vol.LV.ReadOnly(), Close: vol.Close}, nil
}
