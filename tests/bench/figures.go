package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"morgana/unikernel/measure"
	"morgana/xen/devxen"
	"morgana/xenstore"
)

const (
	// FiguresWord is the first argument of the program in a guest.
	FiguresWord = "figures"
	// mark begins the line with the figures, on a console that has others.
	mark = "FIGURES "
	// portKey is where the guest tells dom0 its port, in its part of xenstore that it may write.
	portKey = "data/bench-port"
)

// Names of figures that Machine treats by themselves.
const (
	figureMain  = "entry to main.main"
	figureEvent = "event round trip with dom0"
)

// Figures is main of the program in the guest: it measures, with dom0 echoing its events, and writes one line to w.
// atMain is unikernel.Uptime when main began.
func Figures(ctx context.Context, w io.Writer, atMain time.Duration, rounds int) error {
	figures := measure.Machine(rounds)
	figures = append(figures, measure.Collector(2000*rounds)...)
	took, err := roundTrip(ctx, rounds)
	if err != nil {
		return err
	}
	figures = append(figures, measure.Figure{Name: figureEvent, Value: float64(took.Nanoseconds()) / 1e3, Unit: "µs"})
	if atMain > 0 {
		figures = append(figures, measure.Figure{Name: figureMain, Value: float64(atMain.Microseconds()) / 1e3, Unit: "ms"})
	}
	b, err := json.Marshal(figures)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", mark, b)
	return err
}

// roundTrip is the time of an event to dom0 and back.
func roundTrip(ctx context.Context, rounds int) (time.Duration, error) {
	dom, err := devxen.Open()
	if err != nil {
		return 0, err
	}
	defer dom.Close()
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	ev, err := dom.Listen(0)
	if err != nil {
		return 0, err
	}
	if err := store.Write(ctx, portKey, strconv.Itoa(int(ev.Port()))); err != nil {
		return 0, err
	}
	if err := ev.Wait(ctx); err != nil { // dom0 is there
		return 0, err
	}
	start := time.Now()
	for range rounds {
		if err := ev.Notify(); err != nil {
			return 0, err
		}
		if err := ev.Wait(ctx); err != nil {
			return 0, err
		}
	}
	return time.Since(start) / time.Duration(rounds), nil
}
