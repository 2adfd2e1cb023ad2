// Command agent runs commands in dom0 for package testbed. It speaks JSON lines over a virtio serial port: requests in,
// chunks of output and exit codes out, several commands at a time.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"morgana/tests/testbed/internal/wire"
)

func main() {
	port, err := os.OpenFile("/dev/vport0p1", os.O_RDWR, 0)
	for _, name := range []string{"/dev/vport1p1", "/dev/vport2p1", "/dev/vport3p1", "/dev/vport4p1"} {
		if err == nil {
			break
		}
		port, err = os.OpenFile(name, os.O_RDWR, 0)
	}
	if err != nil {
		fmt.Println("BED: agent:", err)
		os.Exit(1)
	}
	a := &agent{enc: json.NewEncoder(port), running: map[int]*job{}}
	a.send(wire.Reply{ID: 0, Done: true})
	in := bufio.NewReaderSize(port, 1<<16)
	dec := json.NewDecoder(in)
	for {
		var r wire.Request
		if err := dec.Decode(&r); err != nil {
			fmt.Println("BED: agent ends:", err)
			return
		}
		switch {
		case r.Quit:
			return
		case len(r.Args) > 0:
			a.start(r)
		default:
			a.input(r)
		}
	}
}

type job struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

type agent struct {
	mu      sync.Mutex
	enc     *json.Encoder
	running map[int]*job
}

func (a *agent) send(r wire.Reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.enc.Encode(r); err != nil {
		fmt.Println("BED: agent:", err)
		os.Exit(1)
	}
}

// output sends what a command writes as it comes.
type output struct {
	a      *agent
	id     int
	stderr bool
}

func (o output) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += 16 << 10 {
		c := b[i:min(len(b), i+16<<10)]
		if o.stderr {
			o.a.send(wire.Reply{ID: o.id, Stderr: c})
		} else {
			o.a.send(wire.Reply{ID: o.id, Stdout: c})
		}
	}
	return len(b), nil
}

func (a *agent) start(r wire.Request) {
	cmd := exec.Command(r.Args[0], r.Args[1:]...)
	cmd.Dir = "/share"
	cmd.Stdout, cmd.Stderr = output{a, r.ID, false}, output{a, r.ID, true}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		a.send(wire.Reply{ID: r.ID, Done: true, Exit: 127, Stderr: []byte(err.Error() + "\n")})
		return
	}
	if !r.Open {
		stdin.Close()
	}
	a.mu.Lock()
	a.running[r.ID] = &job{cmd, stdin}
	a.mu.Unlock()
	go func() {
		cmd.Wait()
		a.mu.Lock()
		delete(a.running, r.ID)
		a.mu.Unlock()
		a.send(wire.Reply{ID: r.ID, Done: true, Exit: cmd.ProcessState.ExitCode()})
	}()
}

// input is for a command that runs: bytes for its standard input, or its end.
func (a *agent) input(r wire.Request) {
	a.mu.Lock()
	j := a.running[r.ID]
	a.mu.Unlock()
	if j == nil {
		return
	}
	if r.Kill {
		syscall.Kill(-j.cmd.Process.Pid, syscall.SIGKILL)
		return
	}
	if len(r.Stdin) > 0 {
		j.stdin.Write(r.Stdin)
	}
	if r.Close {
		j.stdin.Close()
	}
}
