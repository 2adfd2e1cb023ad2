// Package qemu boots unikernels in QEMU without Xen: a second for what needs a kernel and no hypervisor. Such a guest
// has no events, no grants and no xenstore; its console is QEMU's debug port.
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"morgana/unikernel/image"
)

// An End is how a guest ended: Xen's shutdown reason, which the kernel tells QEMU's isa-debug-exit too.
type End string

// The ends of a guest.
const (
	PowerOff End = "poweroff" // the program's exit status was 0
	Reboot   End = "reboot"
	Crash    End = "crash" // a fatal signal, another exit status, or the kernel gave up
)

// ends are QEMU's exit statuses: 2·reason+1.
var ends = map[int]End{1: PowerOff, 3: Reboot, 7: Crash}

// ErrQEMU is what errors of QEMU itself match; the guest's own misfortunes are an End.
var ErrQEMU = errors.New("QEMU")

// Run boots an image file with memoryMiB of memory and the words of its command line, writes what the guest says to
// out and returns how it ended. When ctx is done QEMU is killed and the error is ctx's.
func Run(ctx context.Context, out io.Writer, imageFile string, memoryMiB int, words ...string) (End, error) {
	var trouble bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35", "-accel", Accelerator(), "-cpu", "max",
		"-m", fmt.Sprint(memoryMiB), "-display", "none", "-no-reboot", "-monitor", "none", "-net", "none",
		"-kernel", imageFile, "-append", image.Cmdline(words...),
		"-chardev", "stdio,id=console", "-device", "isa-debugcon,iobase=0xe9,chardev=console",
		"-device", "isa-debug-exit,iobase=0xf4")
	cmd.Stdout, cmd.Stderr = out, &trouble
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s in QEMU did not end: %w", filepath.Base(imageFile), ctx.Err())
	}
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%w: qemu-system-x86_64 is missing; install Debian's qemu-system-x86", ErrQEMU)
	}
	if cmd.ProcessState == nil {
		return "", fmt.Errorf("%w: %w", ErrQEMU, err)
	}
	said := complaints(trouble.String())
	if end, ok := ends[cmd.ProcessState.ExitCode()]; ok && said == "" {
		return end, nil
	}
	return "", fmt.Errorf("%w: %v: %s", ErrQEMU, cmd.ProcessState, said)
}

// complaints is what QEMU said but for warnings: its exit status for an error is also that of a guest that powers off.
func complaints(s string) string {
	var lines []string
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" && !strings.Contains(l, ": warning: ") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "; ")
}

// Output is Run with the console's text as a string, without carriage returns.
func Output(ctx context.Context, imageFile string, memoryMiB int, words ...string) (string, End, error) {
	var b bytes.Buffer
	end, err := Run(ctx, &b, imageFile, memoryMiB, words...)
	return strings.ReplaceAll(b.String(), "\r", ""), end, err
}

// Accelerator is KVM where the CPU has it: /dev/kvm may exist and be of no use.
func Accelerator() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !bytes.Contains(info, []byte(" svm ")) && !bytes.Contains(info, []byte(" vmx ")) {
		return "tcg"
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "tcg"
	}
	f.Close()
	return "kvm"
}
