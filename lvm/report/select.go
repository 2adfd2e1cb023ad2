package report

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// criterion decides about a row.
type criterion interface{ match([]value) bool }

type (
	allCriteria []criterion
	anyCriteria []criterion
	notCriteria struct{ of criterion }
)

func (c allCriteria) match(row []value) bool {
	for _, x := range c {
		if !x.match(row) {
			return false
		}
	}
	return true
}

func (c anyCriteria) match(row []value) bool {
	return slices.ContainsFunc(c, func(x criterion) bool { return x.match(row) })
}
func (c notCriteria) match(row []value) bool { return !c.of.match(row) }

// operators of comparison, longer ones first where one begins another. Those in words are for times only.
var operators = []struct{ text, op string }{
	{"=~", "=~"},
	{"!~", "!~"},
	{"=", "="},
	{"!=", "!="},
	{">=", ">="},
	{">", ">"},
	{"<=", "<="},
	{"<", "<"},
	{"since", ">="},
	{"after", ">"},
	{"until", "<="},
	{"before", "<"},
}

// WriteSelectionHelp explains the criteria.
func WriteSelectionHelp(w io.Writer) {
	fmt.Fprint(w, `  Criteria: FIELD OPERATOR VALUE, joined and grouped; lvmreport(7) has more.
  Values
    number        digits
    size          a number and a unit: b s k m g t p e, upper case for powers of 1000; m if there is none
    percent       a number, with or without %
    string        quoted by ' or ", or without spaces
    string list   [a && b] exactly these, {a && b} at least these, [a || b] any of these
    time          2026-11-24, "2026-11-24 08:00:30 +0100", @SECONDS, today, yesterday, "3 days ago"
    word          what the field shows, or "unknown" for a number that there is not
  Operators
    =  !=                      equal, not equal
    =~ !~                      fits a regular expression, does not
    >  >=  <  <=               numbers, sizes, percents, times
    after since before until   the same of times
    &&  ,                      both
    ||  #                      at least one
    !( … )  ( … )              not; grouping
`)
}

type selection struct {
	report *Report
	all    string
	rest   string
}

// parseSelection reads criteria.
func parseSelection(r *Report, s string) (criterion, error) {
	p := &selection{report: r, all: s, rest: s}
	c, err := p.or()
	if err != nil {
		return nil, err
	}
	p.space()
	if p.rest != "" {
		return nil, p.failed(p.rest, false, "Expecting logical operator")
	}
	return c, nil
}

// failed is lvm2's complaint about criteria.
func (p *selection) failed(at string, help bool, format string, a ...any) *Error {
	e := &Error{Lines: []string{
		fmt.Sprintf(format, a...), "Selection syntax error at '" + at + "'.",
		"Use 'help' for selection to get more help.",
	}}
	if help {
		e.Help, e.About = true, "selection"
	}
	return e
}

func (p *selection) space() { p.rest = strings.TrimLeft(p.rest, " \t\n\v\f\r") }

// token takes one of the words if it comes next.
func (p *selection) token(words ...string) bool {
	p.space()
	for _, w := range words {
		if strings.HasPrefix(p.rest, w) {
			p.rest = p.rest[len(w):]
			return true
		}
	}
	return false
}

func (p *selection) or() (criterion, error) {
	var list anyCriteria
	for {
		c, err := p.and()
		if err != nil {
			return nil, err
		}
		list = append(list, c)
		if !p.token("||", "#") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

func (p *selection) and() (criterion, error) {
	var list allCriteria
	for {
		c, err := p.single()
		if err != nil {
			return nil, err
		}
		list = append(list, c)
		if !p.token("&&", ",") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

func (p *selection) single() (criterion, error) {
	not := p.token("!")
	if not && !p.token("(") {
		return nil, &Error{Lines: []string{"Syntax error: left parenthesis expected at '" + p.rest + "'"}}
	}
	if not || p.token("(") {
		c, err := p.or()
		if err != nil {
			return nil, err
		}
		if !p.token(")") {
			return nil, &Error{Lines: []string{"Syntax error: right parenthesis expected at '" + p.rest + "'"}}
		}
		if not {
			return notCriteria{c}, nil
		}
		return c, nil
	}
	return p.comparison()
}

func (p *selection) comparison() (criterion, error) {
	p.space()
	start := p.rest
	n := 0
	for n < len(p.rest) && (p.rest[n] == '_' || p.rest[n] == '-' || alnum(p.rest[n])) {
		n++
	}
	if n == 0 {
		return nil, p.failed(start, false, "Expecting field name")
	}
	name := p.rest[:n]
	found := p.report.lookup(name)
	if len(found) != 1 {
		e := p.failed(start, false, "Unrecognised selection field: %s", name)
		e.Help, e.About = true, "fields"
		return nil, e
	}
	f := found[0]
	p.rest = p.rest[n:]
	c := &compare{column: p.report.need(f), field: f}
	before := p.rest
	timeOnly := false
	for i, o := range operators {
		if p.token(o.text) {
			c.op, timeOnly = o.op, i >= 8
			break
		}
	}
	if c.op == "" {
		return nil, p.failed(start, true, "Unrecognised comparison operator: %s", before)
	}
	if c.op == "=~" || c.op == "!~" {
		return c, p.regexp(c, start)
	}
	ordered := c.op != "=" && c.op != "!="
	switch k := f.kind; {
	case timeOnly && k != timeKind:
		return nil, p.failed(start, true, "Operator can be used only with time fields: %s", start)
	case ordered && (k == textKind || k == listKind):
		return nil, p.failed(start, true, "Operator can be used only with number, size, time or percent fields: %s", start)
	}
	return c, p.operand(c, start)
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// word takes a string: quoted, or up to what ends one.
func (p *selection) word(ends ...string) (s string, ok bool) {
	if p.rest != "" && (p.rest[0] == '"' || p.rest[0] == '\'') {
		quote := p.rest[:1]
		s, after, found := strings.Cut(p.rest[1:], quote)
		if !found {
			return "", false
		}
		p.rest = after
		return s, true
	}
	n := 0
	for n < len(p.rest) && p.rest[n] != ' ' &&
		!slices.ContainsFunc(ends, func(e string) bool { return strings.HasPrefix(p.rest[n:], e) }) {
		n++
	}
	s, p.rest = p.rest[:n], p.rest[n:]
	return s, true
}

var wordEnds = []string{"&&", ",", "||", "#", ")"}

func (p *selection) regexp(c *compare, start string) error {
	p.space()
	if p.rest == "" {
		return p.failed(start, false, "Regular expression expected for selection field %s", c.field.id)
	}
	if i := strings.IndexByte("({[", p.rest[0]); i >= 0 {
		s, after, found := strings.Cut(p.rest[1:], string(")}]"[i]))
		if !found {
			return p.failed(start, false, "Failed to parse regex value for selection field %s.", c.field.id)
		}
		p.rest = after
		return c.compile(s)
	}
	s, ok := p.word(wordEnds...)
	if !ok {
		return p.failed(start, false, "Failed to parse regex value for selection field %s.", c.field.id)
	}
	return c.compile(s)
}

func (c *compare) compile(s string) error {
	if c.field.kind != textKind {
		return &Error{Lines: []string{"dm_report: incompatible comparison type for selection field " + c.field.id}}
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return &Error{Lines: []string{"dm_report: failed to create regex matcher for selection field " + c.field.id}}
	}
	c.re = re
	return nil
}

// operand reads the value to compare with.
func (p *selection) operand(c *compare, start string) error {
	p.space()
	f := c.field
	kept := p.rest
	if s, ok := p.word(wordEnds...); ok {
		if c.reserved(s) {
			return nil
		}
	}
	p.rest = kept
	switch f.kind {
	case textKind:
		s, ok := p.word(wordEnds...)
		if !ok {
			return p.failed(start, false, "Failed to parse string value for selection field %s.", f.id)
		}
		c.key = s
	case listKind:
		return p.list(c, start)
	case timeKind:
		s, ok := p.word(wordEnds...)
		if !ok {
			return p.failed(start, false, "Failed to parse time value for selection field %s.", f.id)
		}
		span, ok := parseTime(s, p.report.spec.Settings)
		if !ok {
			return p.failed(start, false, "Failed to parse time value for selection field %s.", f.id)
		}
		c.num, c.num2 = span.first, span.last
	default:
		return p.number(c, start)
	}
	return nil
}

// reserved takes a word that stands for a value of the field.
func (c *compare) reserved(s string) bool {
	for _, r := range c.field.words {
		if slices.Contains(r.words, s) {
			c.key, c.num, c.num2 = r.key, r.num, r.num
			if c.field.kind == sizeKind {
				c.size = math.MaxFloat64
			}
			c.named = true
			return true
		}
	}
	if (c.field.kind == numberKind || c.field.kind == binaryKind) && slices.Contains([]string{"-1", "unknown", "undefined", "undef"}, s) {
		c.num, c.num2, c.named = undefined, undefined, true
		return true
	}
	return false
}

func (p *selection) number(c *compare, start string) error {
	f := c.field
	n, dot := 0, false
	for n < len(p.rest) && (p.rest[n] >= '0' && p.rest[n] <= '9' || p.rest[n] == '.' && !dot) {
		dot = dot || p.rest[n] == '.'
		n++
	}
	if n == 0 {
		return p.failed(start, false, "Failed to parse numeric value for selection field %s.", f.id)
	}
	digits := p.rest[:n]
	p.rest = p.rest[n:]
	x, _ := strconv.ParseFloat(digits, 64)
	what := "numeric"
	if f.kind == sizeKind {
		what = "size"
	}
	if strings.HasPrefix(p.rest, "%") {
		if f.kind != percentKind {
			return p.failed(start, false, "Found percent value but %s value expected for selection field %s.", what, f.id)
		}
		p.rest = p.rest[1:]
	} else if _, factor, rest, ok := unitFactor("1" + p.rest); ok {
		if f.kind != sizeKind {
			if f.kind == percentKind {
				what = "percent"
			}
			return p.failed(start, false, "Found size unit specifier but %s value expected for selection field %s.", what, f.id)
		}
		p.rest = rest
		c.size = x * float64(factor) / 512
		return nil
	}
	switch f.kind {
	case sizeKind:
		c.size = x * 2048
	case percentKind:
		c.num = uint64(x * 1000000)
	default:
		whole, _, _ := strings.Cut(digits, ".")
		if whole == "" {
			whole = "0"
		}
		u, err := strconv.ParseUint(whole, 10, 64)
		if err != nil {
			return &Error{Lines: []string{fmt.Sprintf("Number value %s found in selection is out of range for field %s.", digits, f.id)}}
		}
		c.num = u
	}
	c.num2 = c.num
	return nil
}

// list reads [a && b], {a || b} or one string.
func (p *selection) list(c *compare, start string) error {
	failed := func() error {
		return p.failed(start, false, "Failed to parse string list value for selection field %s.", c.field.id)
	}
	if p.rest == "" || p.rest[0] != '[' && p.rest[0] != '{' {
		s, ok := p.word(wordEnds...)
		if !ok {
			return failed()
		}
		c.items, c.any = []string{s}, true
		return nil
	}
	c.subset = p.rest[0] == '{'
	end := "]"
	if c.subset {
		end = "}"
	}
	p.rest = p.rest[1:]
	op := ""
	for {
		p.space()
		s, ok := p.word("&&", ",", "||", "#", "]", "}")
		if !ok {
			return failed()
		}
		c.items = append(c.items, s)
		switch {
		case p.token(end):
			c.any = op == "||" || op == "" && c.subset
			slices.Sort(c.items)
			return nil
		case p.token("]", "}"):
			return p.failed(start, false, "List ended with incorrect character, expecting '%s'.", end)
		case p.token("&&", ",") && op != "||":
			op = "&&"
		case op != "&&" && p.token("||", "#"):
			op = "||"
		case p.rest == "":
			return p.failed(start, false, "Invalid operator in selection list.")
		default:
			return p.failed(start, false, "Only one type of logical operator allowed in selection list at a time.")
		}
	}
}

// compare compares one field with a value.
type compare struct {
	column int
	field  *field
	op     string
	named  bool // the value was a word

	re        *regexp.Regexp
	key       string
	num, num2 uint64 // the first and the last number, of times that are spans
	size      float64
	items     []string
	any       bool // one of items is enough
	subset    bool // more than items may be there
}

func (c *compare) match(row []value) bool {
	v := row[c.column]
	if c.re != nil {
		return c.re.MatchString(v.key) == (c.op == "=~")
	}
	switch c.field.kind {
	case textKind:
		return (v.key == c.key) == (c.op == "=")
	case listKind:
		return c.matchList(v.list) == (c.op == "=")
	case sizeKind:
		return c.decide(order(v.size, c.size), order(v.size, c.size), v.size >= math.MaxInt64)
	}
	return c.decide(order(v.num, c.num), order(v.num, c.num2), v.num == undefined)
}

func order[T uint64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// decide says whether a value that is ordered so against the first and the last of a span is selected.
func (c *compare) decide(first, last int, undefined bool) bool {
	within := first >= 0 && last <= 0
	switch c.op {
	case "=":
		return within
	case "!=":
		return !within
	}
	if undefined { // greater and smaller than nothing
		return false
	}
	switch c.op {
	case ">":
		return last > 0
	case ">=":
		return first >= 0
	case "<":
		return first < 0
	}
	return last <= 0
}

func (c *compare) matchList(have []string) bool {
	if len(have) == 0 {
		have = []string{""}
	}
	has := func(s string) bool { return slices.Contains(have, s) }
	if c.any {
		return slices.ContainsFunc(c.items, has)
	}
	for _, s := range c.items {
		if !has(s) {
			return false
		}
	}
	return c.subset || len(have) == len(c.items)
}
