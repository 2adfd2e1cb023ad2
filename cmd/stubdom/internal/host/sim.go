package host

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"morgana/cmd/stubdom/internal/host/simulated"
)

// simulation is a run in the simulator.
type simulation struct {
	*show
	h      *simulated.Host
	guests []*simulated.Guest
	sums   [][sha256.Size]byte // of the guests' disks, as they know them
}

// Volumes of the simulator's guests, which are called as they are.
const (
	webMiB = 16
	dbMiB  = 8
)

// Simulate does the whole job in the simulator and prints what was verified on out.
func Simulate(ctx context.Context, o Options, out io.Writer) (err error) {
	s := &simulation{show: newShow(o)}
	defer func() {
		if s.h != nil {
			err = errors.Join(err, s.h.Close())
		}
	}()
	steps := []step{
		{name: "a host in the simulator, whose xenstore a domain of its own serves", do: s.start},
		{name: "dom0 prepares the disk", do: s.prepare},
		{name: "the storage domain opens it", do: s.storage},
		{name: "the console domain takes the consoles", do: s.consoles},
		{name: "guests read their disks", do: s.boot},
		{name: "they write, and flush", do: s.fill},
		{name: "volumes are managed meanwhile", do: s.manage},
		{name: "the xenstore domain's program dies, and the next one goes on", do: s.crash},
		{name: "the storage domain's program is started again, with requests under way", do: s.restart},
	}
	if s.stays() {
		steps = append(steps, step{name: "the host works until quit", open: true, do: func(ctx context.Context) error { return s.converse(ctx, s.h) }})
	}
	steps = append(steps,
		step{name: "guests find what they wrote, and end", do: s.end},
		step{name: "dom0 has the disk back, and looks at it", do: s.verify})
	err = s.play(ctx, steps)
	s.close()
	if err != nil {
		return err
	}
	return s.summary(out)
}

func (s *simulation) start(ctx context.Context) (err error) {
	if s.h, err = simulated.Start(ctx, func(line string) { s.tell("word", line) }); err != nil {
		return err
	}
	return s.open(ctx, s.h)
}

func (s *simulation) prepare(ctx context.Context) error {
	s.screen.say("volume group %s, volumes web of %d MiB and db of %d MiB", simulated.GroupName, webMiB, dbMiB)
	return s.h.Prepare(ctx, crand.Reader, map[string]int{"web": webMiB, "db": dbMiB})
}

func (s *simulation) storage(ctx context.Context) error { return s.h.StartStorage(ctx) }

func (s *simulation) consoles(ctx context.Context) error { return s.h.StartConsoles(ctx) }

// each does something with all guests at once.
func (s *simulation) each(f func(g *simulated.Guest) error) error {
	errs := make([]error, len(s.guests))
	var wg sync.WaitGroup
	for i, g := range s.guests {
		wg.Go(func() { errs[i] = f(g) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *simulation) boot(ctx context.Context) error {
	for _, name := range []string{"web", "db"} {
		g, err := s.h.NewGuest(ctx, name, name)
		if err != nil {
			return err
		}
		s.guests = append(s.guests, g)
	}
	return s.each(func(g *simulated.Guest) error { return g.Boot(ctx) })
}

func (s *simulation) fill(ctx context.Context) error {
	begun := time.Now()
	if err := s.each(func(g *simulated.Guest) error { return g.Fill(ctx) }); err != nil {
		return err
	}
	s.screen.say("%d MiB in %.2f s", webMiB+dbMiB, time.Since(begun).Seconds())
	for _, g := range s.guests {
		g.Work()
	}
	return nil
}

func (s *simulation) manage(ctx context.Context) error {
	if _, err := s.h.Manage(ctx, "lvcreate", "-L32m", "-n", made, simulated.GroupName); err != nil {
		return err
	}
	_, err := s.h.Manage(ctx, "lvextend", "-L48m", simulated.GroupName+"/"+made)
	s.screen.say("lvcreate, lvextend of %s/%s", simulated.GroupName, made)
	return err
}

func (s *simulation) crash(ctx context.Context) error {
	begun := time.Now()
	err := s.h.CrashStore(ctx)
	s.screen.say("it answers after %.1f ms", float64(time.Since(begun).Microseconds())/1000)
	return err
}

func (s *simulation) restart(ctx context.Context) error {
	begun := time.Now()
	err := s.h.RestartStorage(ctx)
	s.screen.say("it serves after %.1f ms", float64(time.Since(begun).Microseconds())/1000)
	return err
}

func (s *simulation) end(ctx context.Context) error {
	requests := s.h.Requests()
	if err := s.each(func(g *simulated.Guest) error {
		g.Rest()
		return g.Verify()
	}); err != nil {
		return err
	}
	for _, g := range s.guests {
		s.sums = append(s.sums, g.Sum())
	}
	s.screen.say("%d requests in all", requests)
	if err := s.each(func(g *simulated.Guest) error { return s.h.EndGuest(ctx, g) }); err != nil {
		return err
	}
	s.verified("what guests wrote through the ring they found again, over a crash of xenstore and a restart of the storage domain")
	return s.h.EndStorage(ctx)
}

func (s *simulation) verify(ctx context.Context) error {
	volumes, err := s.h.Check(ctx)
	if err != nil {
		return err
	}
	s.verified("the volume group is whole: %s", volumes)
	for i, g := range s.guests {
		b, err := s.h.ReadVolume(ctx, g.Volume)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(b); sum != s.sums[i] {
			return fmt.Errorf("guest %s wrote data with checksum %x, on dom0's disk are some with %x", g.Name, s.sums[i][:8], sum[:8])
		}
		s.verified("on dom0's disk %s/%s has the checksum of what guest %s wrote: %x…", simulated.GroupName, g.Volume, g.Name, s.sums[i][:8])
	}
	return nil
}
