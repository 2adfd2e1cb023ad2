package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"morgana/tests/testbed"
)

const (
	consolesDom  = "consoles"
	consolesDisk = 64 // MiB, for logs
)

// startConsoles starts the console domain, and dom0's daemon as its agent: guests to come have their consoles there. What
// dom0's daemon served it serves on, the console domain's own console for one.
func (j *job) startConsoles(ctx context.Context) error {
	if j.h.Own {
		j.screen.say("not started: the console daemon of a host that is in use is not replaced")
		return nil
	}
	program, err := os.ReadFile(filepath.Join(j.Programs, "xenconsoled"))
	if err != nil {
		return fmt.Errorf("%w; make build makes it", err)
	}
	if err := os.WriteFile(filepath.Join(j.h.Share, "xenconsoled"), program, 0o755); err != nil {
		return err
	}
	if _, err := j.h.Script(ctx, fmt.Sprintf(`set -e
p=$(cat /run/xen/xenconsoled.pid)
kill $p
# Who ended may stay a zombie: dom0's init has other things to do.
for i in $(seq 250); do grep -qs '^State:.[^Z]' /proc/$p/status || break; sleep 0.02; done
%s --log=guest --log-dir=/var/log/xen/console --pid-file=/run/consoled.pid --domain %s
truncate -s %dM /tmp/consoles.img
losetup /dev/loop5 /tmp/consoles.img`, j.h.Path("xenconsoled"), consolesDom, consolesDisk)); err != nil {
		return err
	}
	d, err := j.h.StartDomain(ctx, testbed.DomainConfig{
		Name: consolesDom, Kernel: filepath.Join(j.Images, "consoles.elf"), MemoryMiB: 64, Disks: []string{j.h.PlainDisk("/dev/loop5", "xvda")},
	})
	if err != nil {
		return err
	}
	j.consoles = d
	begun := time.Now()
	if _, err := d.Console.WaitFor(ctx, `generation 0 serves`); err != nil {
		return fmt.Errorf("%w; its console:\n%s", err, d.Console)
	}
	// The tool stack gives it guests once the agent has chosen it.
	if _, err := j.h.Script(ctx, fmt.Sprintf(`for i in $(seq 500); do
	[ "$(xenstore-read /tool/xenconsoled/domid 2>/dev/null)" = %d ] && exit 0
	sleep 0.05
done
echo "dom0's agent does not find the console domain" >&2
exit 1`, d.ID)); err != nil {
		return err
	}
	j.screen.say("created in %.1f s, served %.1f s later", d.Created.Seconds(), time.Since(begun).Seconds())
	return nil
}

// endConsoles shuts the console domain down, and looks whether it had the guest's console.
func (j *job) endConsoles(ctx context.Context) error {
	if j.consoles == nil {
		return nil
	}
	log, err := j.h.Output(ctx, "cat", "/var/log/xen/console/guest-"+j.guest.Name+".log")
	if err != nil {
		return err
	}
	j.screen.say("%d bytes of the guest's console", len(log))
	return j.consoles.Shutdown(ctx)
}
