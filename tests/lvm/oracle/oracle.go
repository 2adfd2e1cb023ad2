package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Oracle is one lvm2 with disks of its own.
type Oracle struct {
	t     testing.TB
	dir   string
	disks []Disk
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// New prepares an lvm2 without disks. The test fails where there is no lvm2 or no root.
func New(t testing.TB) *Oracle {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("the oracle needs root for loop devices")
	}
	if _, err := exec.LookPath("lvm"); err != nil {
		t.Fatal("lvm2 is not installed; make setup installs it")
	}
	o := &Oracle{t: t, dir: t.TempDir()}
	o.configure()
	return o
}

// Paths that a program must share with lvm2 to work beside it.
func (o *Oracle) SystemDir() string  { return o.dir }
func (o *Oracle) LockDir() string    { return filepath.Join(o.dir, "lock") }
func (o *Oracle) BackupDir() string  { return filepath.Join(o.dir, "backup") }
func (o *Oracle) ArchiveDir() string { return filepath.Join(o.dir, "archive") }

// Run runs lvm2 with nothing to read on its standard input, so every question is answered with no.
func (o *Oracle) Run(args ...string) Result {
	o.t.Helper()
	return o.RunInput("", args...)
}

// RunInput runs lvm2 and gives it answers to read.
func (o *Oracle) RunInput(input string, args ...string) Result {
	o.t.Helper()
	c := exec.Command("lvm", args...)
	c.Env = append(os.Environ(), o.Env()...)
	c.Stdin = strings.NewReader(input)
	r, err := Exec(c)
	if err != nil {
		o.t.Fatalf("lvm %s: %v", strings.Join(args, " "), err)
	}
	r.Stderr = strings.ReplaceAll(r.Stderr, disabled, "")
	return r
}

// disabled is what lvm2 says in every command because of the configuration here.
const disabled = "  WARNING: Activation disabled. No device-mapper interaction will be attempted.\n"

// Env are the variables that make an lvm2 this one.
func (o *Oracle) Env() []string {
	return []string{"LVM_SYSTEM_DIR=" + o.dir, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C", "TZ=UTC"}
}

// Exec runs a command to its end. An exit code is no error.
func Exec(c *exec.Cmd) (Result, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if r.Code = exit.ExitCode(); r.Code >= 0 {
			err = nil
		}
	}
	return r, err
}

// Must runs lvm2, fails the test if that does not return 0, and returns its standard output.
func (o *Oracle) Must(args ...string) string {
	o.t.Helper()
	r := o.Run(args...)
	if r.Code != 0 {
		o.t.Fatalf("lvm %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Quiet runs lvm2 and fails the test if that says anything on standard error or does not return 0.
func (o *Oracle) Quiet(args ...string) string {
	o.t.Helper()
	r := o.Run(args...)
	if r.Code != 0 || r.Stderr != "" {
		o.t.Fatalf("lvm %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Report is lvm2's JSON: for every group (or once, for a report of one kind) rows by kind: vg, pv, lv, pvseg, seg.
type Report []map[string][]map[string]string

// FullReport is everything that lvm2 says of all groups.
func (o *Oracle) FullReport(args ...string) Report {
	o.t.Helper()
	return o.Parse(o.Must(append([]string{"fullreport", "--reportformat", "json"}, args...)...))
}

// Parse reads JSON that a report printed.
func (o *Oracle) Parse(out string) Report {
	o.t.Helper()
	r, err := ParseReport([]byte(out))
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// ParseReport reads JSON that a report printed.
func ParseReport(b []byte) (Report, error) {
	var v struct{ Report Report }
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("not a report: %w in %q", err, b)
	}
	return v.Report, nil
}

// configure writes lvm.conf, whose filter lets only the oracle's own disks through.
func (o *Oracle) configure() {
	o.t.Helper()
	filter := make([]string, 0, len(o.disks)+1)
	for _, d := range o.disks {
		filter = append(filter, fmt.Sprintf("%q", "a|^"+d.Path+"$|"))
	}
	filter = append(filter, `"r|.*|"`)
	conf := fmt.Sprintf(`devices {
	dir="/dev"
	scan=["/dev"]
	filter=[%s]
	use_devicesfile=0
	obtain_device_list_from_udev=0
	external_device_info_source="none"
	hints="none"
	sysfs_scan=1
	multipath_component_detection=0
	md_component_detection=0
}
global {
	activation=0
	locking_dir=%q
	use_lvmpolld=0
	use_lvmlockd=0
	system_id_source="none"
	event_activation=0
	notify_dbus=0
}
activation { udev_sync=0 udev_rules=0 monitoring=0 }
backup { backup=1 archive=1 backup_dir=%q archive_dir=%q retain_min=1 retain_days=0 }
`, strings.Join(filter, ","), o.LockDir(), o.BackupDir(), o.ArchiveDir())
	if err := os.WriteFile(filepath.Join(o.dir, "lvm.conf"), []byte(conf), 0o644); err != nil {
		o.t.Fatal(err)
	}
}

// T is the test that the oracle is for.
func (o *Oracle) T() testing.TB { return o.t }
