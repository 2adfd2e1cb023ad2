package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"morgana/tests/testbed"
	"morgana/xenstore"
)

// An Image is something to boot. What it is made of is in bytes.
type Image struct {
	Name      string `json:"name"`
	File      string `json:"-"`
	Size      int    `json:"size"`
	Kernel    int    `json:"kernel"` // what the kernel adds to the file
	MemoryMiB int    `json:"memory_mib"`
	Cmdline   string `json:"cmdline,omitempty"`
}

// Spread is the least, the median and the most of several times, in milliseconds.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func spread(d []time.Duration) Spread {
	d = slices.Sorted(slices.Values(d))
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	return Spread{ms(d[0]), ms(d[len(d)/2]), ms(d[len(d)-1])}
}

// A Life is how long an image takes.
type Life struct {
	Image
	Runs   int    `json:"runs"`
	Reason string `json:"reason"`    // of the domain's end
	Create Spread `json:"create_ms"` // of xl
	Life   Spread `json:"life_ms"`   // from the domain's start to its end
}

// Lives boots each image the given number of times, in turn.
func Lives(ctx context.Context, h *testbed.Host, images []Image, runs int) ([]Life, error) {
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	xen, err := openControl()
	if err != nil {
		return nil, err
	}
	defer xen.close()
	ends, err := store.Watch(ctx, "@releaseDomain") // fires when a domain shuts down or is gone
	if err != nil {
		return nil, err
	}
	defer ends.Close()
	created, lived := make([][]time.Duration, len(images)), make([][]time.Duration, len(images))
	lives := make([]Life, len(images))
	for range runs {
		for i, image := range images {
			d, err := h.StartDomain(ctx, testbed.DomainConfig{
				Name: fmt.Sprintf("bench-%d", i), Kernel: image.File, Cmdline: image.Cmdline, MemoryMiB: image.MemoryMiB, Paused: true,
			})
			if err != nil {
				return nil, err
			}
			start := time.Now()
			if err := xen.unpause(d.ID); err != nil {
				return nil, fmt.Errorf("start domain %d: %w", d.ID, err)
			}
			for ended := false; !ended; {
				if _, err := ends.Next(ctx); err != nil {
					return nil, fmt.Errorf("%s does not end: %w\n%s", image.Name, err, d.Console)
				}
				if ended, err = xen.ended(d.ID); err != nil {
					return nil, err
				}
			}
			lived[i] = append(lived[i], time.Since(start))
			created[i] = append(created[i], d.Created)
			reason, err := d.Wait(ctx)
			if err != nil {
				return nil, err
			}
			if r := lives[i].Reason; r != "" && r != reason {
				return nil, fmt.Errorf("%s ended with %s once, and with %s", image.Name, r, reason)
			}
			lives[i] = Life{Image: image, Reason: reason}
		}
	}
	for i, l := range lives {
		lives[i] = NewLife(l.Image, l.Reason, created[i], lived[i])
	}
	return lives, nil
}

// NewLife sums up what several boots of an image took; created may be empty.
func NewLife(image Image, reason string, created, lived []time.Duration) Life {
	l := Life{Image: image, Runs: len(lived), Reason: reason, Life: spread(lived)}
	if len(created) > 0 {
		l.Create = spread(created)
	}
	return l
}
