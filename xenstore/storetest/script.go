package storetest

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"morgana/xen/wire/xs"
)

//go:embed testdata/*.txt
var scripts embed.FS

// Names lists the scripts.
func Names() []string {
	files, err := fs.Glob(scripts, "testdata/*.txt")
	if err != nil {
		panic(err) // the pattern is good
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(f, "testdata/"), ".txt")
	}
	return names
}

// Step is a line of a script, with what is to come of it.
type Step struct {
	Line    int
	Text    string   // the command
	Before  []string // comments and empty lines above
	Want    []string // what xenstored answered
	Ours    []string // what our service answers, if it differs
	Differs bool
}

// Load reads a script.
func Load(name string) ([]Step, error) {
	b, err := scripts.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		return nil, err
	}
	return Parse(string(b))
}

// Parse reads the text of a script.
func Parse(text string) ([]Step, error) {
	var (
		steps  []Step
		before []string
		n      int
	)
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		body, indented := strings.CutPrefix(line, "  ")
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
			before = append(before, line)
		case !indented:
			steps = append(steps, Step{Line: n, Text: line, Before: before})
			before = nil
		case len(steps) == 0:
			return nil, fmt.Errorf("line %d: an answer without a command", n)
		default:
			s := &steps[len(steps)-1]
			if ours, ok := strings.CutPrefix(body, "ours:"); ok {
				s.Differs = true
				if ours = strings.TrimSpace(ours); ours != "" {
					s.Ours = append(s.Ours, ours)
				}
			} else {
				s.Want = append(s.Want, body)
			}
		}
	}
	return steps, nil
}

// Xenstored reports whether an answer is xenstored's. A ? in a script stands for any.
func (s *Step) Xenstored(got []string) bool {
	return slices.Equal(got, s.Want) || slices.Equal(s.Want, []string{"?"})
}

// Right reports whether an answer is right for our service.
func (s *Step) Right(got []string) bool {
	if s.Differs {
		return slices.Equal(got, s.Ours)
	}
	return s.Xenstored(got)
}

// Format is the text of a script.
func Format(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		for _, l := range s.Before {
			b.WriteString(l + "\n")
		}
		b.WriteString(s.Text + "\n")
		for _, l := range s.Want {
			b.WriteString("  " + l + "\n")
		}
		for _, l := range s.Ours {
			b.WriteString("  ours: " + l + "\n")
		}
		if s.Differs && len(s.Ours) == 0 {
			b.WriteString("  ours:\n")
		}
	}
	return b.String()
}

// request is a request of a script.
type request struct {
	conn    string
	header  xs.Header
	payload []byte
}

func parseRequest(text string) (request, error) {
	who, rest, _ := strings.Cut(text, " ")
	name, payload, _ := strings.Cut(rest, " ")
	var r request
	tx := ""
	r.conn, tx, _ = strings.Cut(who, "#")
	if tx != "" {
		n, err := strconv.ParseUint(tx, 10, 32)
		if err != nil {
			return r, fmt.Errorf("%q: bad transaction", text)
		}
		r.header.Tx = uint32(n)
	}
	op, err := operation(name)
	if err != nil {
		return r, fmt.Errorf("%q: %w", text, err)
	}
	r.header.Op = op
	r.payload, err = unescape(payload)
	return r, err
}

func operation(name string) (xs.Op, error) {
	for op := range xs.Op(32) {
		if op.Known() && op.String() == name {
			return op, nil
		}
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(name, "op"), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("no operation %q", name)
	}
	return xs.Op(n), nil
}

// unescape expands what a script writes for a payload.
func unescape(s string) ([]byte, error) {
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			break
		}
		j := strings.IndexByte(s[i:], '}')
		if j < 0 {
			return nil, fmt.Errorf("%q: { without }", s)
		}
		what, times, ok := strings.Cut(s[i+1:i+j], "*")
		n, err := strconv.Atoi(times)
		if !ok || err != nil {
			return nil, fmt.Errorf("%q: want {text*times}", s)
		}
		s = s[:i] + strings.Repeat(what, n) + s[i+j+1:]
	}
	if strings.IndexByte(s, '\\') >= 0 {
		u, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		s = u
	}
	return []byte(strings.ReplaceAll(s, "|", "\x00")), nil
}

// show writes a payload as a script does. Long ones are told by their length and their ends.
func show(b []byte) string {
	q := strconv.QuoteToASCII(string(b))
	q = strings.ReplaceAll(q[1:len(q)-1], `\x00`, "|")
	q = strings.ReplaceAll(q, `\"`, `"`)
	if len(q) > 200 {
		return fmt.Sprintf("%d bytes: %s…%s", len(b), q[:60], q[len(q)-60:])
	}
	if q == "" {
		return "(empty)"
	}
	return q
}
