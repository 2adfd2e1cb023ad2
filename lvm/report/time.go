package report

import (
	"strconv"
	"strings"
	"time"
)

// span is a time as exact as it was given: a day, an hour, a second.
type span struct{ first, last uint64 } // seconds since 1970

// layouts of times, each with what one of its units is.
var layouts = []struct {
	layout string
	unit   func(time.Time) time.Time
}{
	{"2006-01-02 15:04:05 -0700", nil},
	{"2006-01-02 15:04:05 -07:00", nil},
	{"2006-01-02 15:04:05", nil},
	{"2006-01-02 15:04 -0700", minutes},
	{"2006-01-02 15:04", minutes},
	{"2006-01-02 15 -0700", hours},
	{"2006-01-02 15", hours},
	{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
	{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
	{"2006", func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }},
}

func minutes(t time.Time) time.Time { return t.Add(time.Minute) }
func hours(t time.Time) time.Time   { return t.Add(time.Hour) }

// parseTime reads a date, a date and a time, @seconds, today, yesterday, or how long ago.
func parseTime(s string, settings Settings) (span, bool) {
	s = strings.Join(strings.Fields(s), " ")
	if sec, ok := strings.CutPrefix(s, "@"); ok {
		n, err := strconv.ParseUint(sec, 10, 63)
		return span{n, n}, err == nil
	}
	now := settings.Now.In(settings.Location)
	day := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, settings.Location)
	switch strings.ToLower(s) {
	case "now":
		return between(now, now.Add(time.Second)), true
	case "today":
		return between(day, day.AddDate(0, 0, 1)), true
	case "yesterday":
		return between(day.AddDate(0, 0, -1), day), true
	}
	for _, l := range layouts {
		t, err := time.ParseInLocation(l.layout, s, settings.Location)
		switch {
		case err != nil:
			continue
		case l.unit == nil:
			return between(t, t.Add(time.Second)), true
		}
		return between(t, l.unit(t)), true
	}
	return ago(s, now, day)
}

func between(from, to time.Time) span {
	first, last := from.Unix(), to.Unix()-1
	if first < 0 {
		first = 0
	}
	return span{uint64(first), uint64(max(last, first))}
}

// ago reads "2 weeks 3 days ago".
func ago(s string, now, day time.Time) (span, bool) {
	words, ok := strings.CutSuffix(strings.ToLower(s), " ago")
	if !ok {
		return span{}, false
	}
	list := strings.Fields(words)
	if len(list) == 0 || len(list)%2 != 0 {
		return span{}, false
	}
	whole := true // days and more: the whole day
	years, months, days := 0, 0, 0
	var clock time.Duration
	for i := 0; i < len(list); i += 2 {
		n, err := strconv.Atoi(list[i])
		if err != nil || n < 0 || n > 1<<20 {
			return span{}, false
		}
		unit := list[i+1]
		if len(unit) > 1 {
			unit = strings.TrimSuffix(unit, "s")
		}
		switch unit {
		case "second", "sec", "s":
			clock, whole = clock+time.Duration(n)*time.Second, false
		case "minute", "min", "m":
			clock, whole = clock+time.Duration(n)*time.Minute, false
		case "hour", "hr", "h":
			clock, whole = clock+time.Duration(n)*time.Hour, false
		case "day":
			days += n
		case "week":
			days += 7 * n
		case "month":
			months += n
		case "year", "yr":
			years += n
		default:
			return span{}, false
		}
	}
	if whole {
		t := day.AddDate(-years, -months, -days)
		return between(t, t.AddDate(0, 0, 1)), true
	}
	t := now.AddDate(-years, -months, -days).Add(-clock)
	return between(t, t.Add(time.Second)), true
}
