package args

import (
	"fmt"
	"slices"
	"strings"
)

// UsageError is a command line that is no good.
type UsageError struct {
	Lines []string // as lvm2 prints them on standard error
	Out   []string // and on standard output
}

func (e *UsageError) Error() string { return strings.TrimSpace(strings.Join(e.Lines, "\n")) }

// broken is a command line that the parser gave up on.
func broken(lines ...string) *UsageError {
	return &UsageError{Lines: append(lines, "  Error during parsing of command line.")}
}

// Parsed is a command line that was understood.
type Parsed struct {
	Verb     string
	Operands []string
	values   map[string][]Value
	order    []string // names in the order in which they first came
	sequence []Given
}

// Given is one option of a command line.
type Given struct {
	Name  string
	Value Value
}

// Parse reads what follows a verb. own are options that lvm2 does not have. Verbs that lvm2 does not have take lvm2's
// common options and their own.
func Parse(verb string, argv []string, own []Option) (*Parsed, error) {
	list := Of(verb)
	if list == nil {
		verbless := strings.Fields(commonOptions)
		for _, o := range options {
			if slices.Contains(verbless, o.Name) {
				list = append(list, o)
			}
		}
	}
	for _, o := range own {
		list = slices.DeleteFunc(list, func(l Option) bool { return l.Name == o.Name })
		list = append(list, o)
	}
	p := &parser{verb: verb, options: list, out: &Parsed{Verb: verb, values: map[string][]Value{}}}
	if err := p.run(slices.Clone(argv)); err != nil {
		return nil, err
	}
	return p.out, nil
}

type parser struct {
	verb    string
	options []Option
	out     *Parsed
	seen    map[string]bool // names as they were given, synonyms too
}

func (p *parser) run(argv []string) error {
	p.seen = map[string]bool{}
	for len(argv) > 0 {
		a := argv[0]
		argv = argv[1:]
		var err error
		switch {
		case a == "--":
			p.out.Operands = append(p.out.Operands, argv...)
			argv = nil
		case strings.HasPrefix(a, "--"):
			argv, err = p.long(a[2:], argv)
		case len(a) > 1 && a[0] == '-':
			argv, err = p.short(a[1:], argv)
		default:
			p.out.Operands = append(p.out.Operands, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// long reads an option whose dashes are cut off and returns the arguments that are left.
func (p *parser) long(a string, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(a, "=")
	name = strings.ReplaceAll(name, "-", "") // --no-headings is --noheadings
	shown := name
	if hasValue {
		shown += "=" + value
	}
	o, err := p.find(name, shown)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Kind == Flag && hasValue:
		return nil, broken(fmt.Sprintf("%s: option '--%s' doesn't allow an argument", p.verb, o.Name))
	case o.Kind != Flag && !hasValue:
		if len(rest) == 0 {
			return nil, broken(fmt.Sprintf("%s: option '--%s' requires an argument", p.verb, o.Name))
		}
		value, rest = rest[0], rest[1:]
	}
	return rest, p.add(o, value)
}

// find is the option of that name, or the only one that begins so.
func (p *parser) find(name, shown string) (Option, error) {
	var found []Option
	for _, o := range p.options {
		if o.Name == name {
			return o, nil
		}
		if name != "" && strings.HasPrefix(o.Name, name) {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return Option{}, broken(fmt.Sprintf("%s: unrecognized option '--%s'", p.verb, shown))
	case 1:
		return found[0], nil
	}
	var names strings.Builder
	for _, o := range found {
		fmt.Fprintf(&names, " '--%s'", o.Name)
	}
	return Option{}, broken(fmt.Sprintf("%s: option '--%s' is ambiguous; possibilities:%s", p.verb, shown, names.String()))
}

// short reads joined one-letter options and returns the arguments that are left.
func (p *parser) short(a string, rest []string) ([]string, error) {
	for len(a) > 0 {
		c := a[0]
		i := slices.IndexFunc(p.options, func(o Option) bool { return o.Short == c && c != 0 })
		if i < 0 {
			return nil, broken(fmt.Sprintf("%s: invalid option -- '%c'", p.verb, c))
		}
		o := p.options[i]
		a = a[1:]
		value := ""
		if o.Kind != Flag {
			switch {
			case a != "":
				value, a = a, ""
			case len(rest) > 0:
				value, rest = rest[0], rest[1:]
			default:
				return nil, broken(fmt.Sprintf("%s: option requires an argument -- '%c'", p.verb, c))
			}
		}
		if err := p.add(o, value); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func (p *parser) add(o Option, text string) error {
	if p.seen[o.Name] && o.Repeat == Once {
		short := "  "
		if o.Short != 0 {
			short = fmt.Sprintf(" -%c/--", o.Short)
		}
		if short == "  " {
			return broken(fmt.Sprintf("  Option %s --%s may not be repeated.", "", o.Name))
		}
		return broken(fmt.Sprintf("  Option%s%s may not be repeated.", short, o.Name))
	}
	v, why := ParseValue(p.verb, o, text)
	if why != nil {
		lines := append([]string{}, why...)
		return broken(append(lines, fmt.Sprintf("  Invalid argument for --%s: %s", o.Name, text))...)
	}
	p.seen[o.Name] = true
	name := synonym(p.verb, o.Name)
	for other := range p.seen {
		if other != o.Name && synonym(p.verb, other) == name {
			return broken(fmt.Sprintf("  --%s and --%s are synonyms.  Please only supply one.", o.Name, other))
		}
	}
	if _, ok := p.out.values[name]; !ok {
		p.out.order = append(p.out.order, name)
	}
	p.out.values[name] = append(p.out.values[name], v)
	p.out.sequence = append(p.out.sequence, Given{name, v})
	return nil
}

// Has reports whether an option was given.
func (p *Parsed) Has(name string) bool { return len(p.values[name]) > 0 }

// Count is how often an option was given.
func (p *Parsed) Count(name string) int { return len(p.values[name]) }

// Names are the options that were given, in their order.
func (p *Parsed) Names() []string { return p.order }

// Sequence is every option as it came, for those whose meaning depends on what was before them.
func (p *Parsed) Sequence() []Given { return p.sequence }

// Get is an option's value, the first if it was repeated.
func (p *Parsed) Get(name string) (Value, bool) {
	if v := p.values[name]; len(v) > 0 {
		return v[0], true
	}
	return Value{}, false
}

// Str is an option's text, or def if it was not given.
func (p *Parsed) Str(name, def string) string {
	if v, ok := p.Get(name); ok {
		return v.Text
	}
	return def
}

// All are the texts of an option that was repeated.
func (p *Parsed) All(name string) []string {
	var s []string
	for _, v := range p.values[name] {
		s = append(s, v.Text)
	}
	return s
}

// Yes is the value of a y or n option, or def if it was not given.
func (p *Parsed) Yes(name string, def bool) bool {
	if v, ok := p.Get(name); ok {
		return v.Text == "y"
	}
	return def
}

// Uint is an option's number or size in sectors, or def if it was not given.
func (p *Parsed) Uint(name string, def uint64) uint64 {
	if v, ok := p.Get(name); ok {
		return v.N
	}
	return def
}
