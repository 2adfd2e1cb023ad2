package testbed

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An emulated machine measures its TSC against a timer while it boots. Where the emulator is stopped in that moment,
// because this machine is busy, the result is wrong by a factor, and so is every clock of the host from then on.

// clockGap is how long the clock is watched.
const clockGap = time.Second

// checkClock compares the clock of dom0 with ours. The answers may come late on a busy machine, so only a gross error
// counts.
func (h *Host) checkClock(ctx context.Context) error {
	first, err := h.uptime(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	select {
	case <-time.After(clockGap):
	case <-ctx.Done():
		return ctx.Err()
	}
	second, err := h.uptime(ctx)
	if err != nil {
		return err
	}
	if took := time.Since(start); second-first < clockGap*3/4 || second-first > took*3/2 {
		return fmt.Errorf("%w: it counted %v in %v", errClock, second-first, took)
	}
	return nil
}

// errClock is a host whose clock is wrong; another boot helps.
var errClock = fmt.Errorf("dom0's clock is wrong")

// uptime is how long dom0 believes to be up.
func (h *Host) uptime(ctx context.Context) (time.Duration, error) {
	out, err := h.Output(ctx, "cat", "/proc/uptime")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(out, " ")
	s, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/uptime: %w", err)
	}
	return time.Duration(s * float64(time.Second)), nil
}
