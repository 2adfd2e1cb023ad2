package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Shell runs the commands that it reads, one in a line, and returns the exit code of the last one that failed. Disks,
// locks and groups stay open from one command about logical volumes to the next.
func Shell(ctx context.Context, r *Run) int {
	s := r.System
	in := bufio.NewReader(s.Stdin)
	prompt := interactive(s.Stdin)
	s.Stdin = in // questions are answered from there too
	s.kept = &kept{file: r.Str("devicesfile", ""), hasFile: r.Has("devicesfile")}
	if names := r.All("devices"); len(names) > 0 {
		getenv := s.Getenv
		s.Getenv = func(name string) string {
			if name == "MLVM_DEVICES" {
				return strings.Join(names, ",")
			}
			return getenv(name)
		}
	}
	code := ExitOK
	for ctx.Err() == nil {
		if prompt {
			fmt.Fprint(s.Stderr, "mlvm> ")
		}
		line, err := readLine(ctx, in)
		words, wrong := split(line)
		switch {
		case wrong != nil:
			fmt.Fprintf(s.Stderr, "  %v\n", wrong)
			code = ExitUsage
		case len(words) > 0 && (words[0] == "exit" || words[0] == "quit"):
			err = io.EOF
		case len(words) > 0:
			s.Args = words[1:]
			if s.kept.hasFile && words[0] != "help" {
				s.Args = append([]string{"--devicesfile", s.kept.file}, s.Args...)
			}
			if c := Main(ctx, s, r.Verbs, words[0]); c != ExitOK {
				code = c
			}
		}
		if err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		code = ExitStopped
	}
	if err := s.kept.close(context.WithoutCancel(ctx)); err != nil {
		fmt.Fprintf(s.Stderr, "  %v\n", err)
		code = ExitFailed
	}
	return code
}

// readLine reads a line, or gives up when ctx ends. The reader is of no use then.
func readLine(ctx context.Context, in *bufio.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		line, err := in.ReadString('\n')
		got <- result{line, err}
	}()
	select {
	case r := <-got:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// interactive reports whether a person types the commands.
func interactive(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// split makes words of a line: quotes hold together, a backslash takes the next character as it is, a word that begins
// with # begins a comment. The name of the program may stand before a command.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	in, quote := false, rune(0)
	escaped := false
	for _, c := range strings.TrimRight(line, "\r\n") {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			in, escaped = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			in, quote = true, c
		case quote == 0 && (c == ' ' || c == '\t'):
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		case quote == 0 && c == '#' && !in:
			return trimProgram(words), nil
		default:
			in = true
			word.WriteRune(c)
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote does not end in its line")
	}
	if in {
		words = append(words, word.String())
	}
	return trimProgram(words), nil
}

func trimProgram(words []string) []string {
	if len(words) > 1 && (words[0] == "mlvm" || words[0] == "lvm") {
		return words[1:]
	}
	return words
}
