package logstore

import (
	"strings"
	"time"
)

// Read calls f with everything there is, the oldest first. Data is valid during the call.
func (s *Store) Read(f func(Entry) error) error {
	segments, err := s.segments()
	if err != nil {
		return err
	}
	next := make(map[string]uint64)
	for _, seq := range segments {
		err := s.records(seq, func(id string, r record) error {
			if r.kind != kindData && r.kind != kindNote {
				return nil
			}
			if r.kind == kindData {
				// A write that was said to have failed and was done all the same was made again.
				again := min(next[id]-min(next[id], r.from), uint64(len(r.data)))
				r.from, r.data = r.from+again, r.data[again:]
				if len(r.data) == 0 {
					return nil
				}
				next[id] = r.from + uint64(len(r.data))
			}
			name, key, _ := strings.Cut(id, "\x00")
			return f(Entry{name, key, r.from, time.Unix(0, r.at), r.data, r.kind == kindNote})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ReadSource calls f with what one guest said from byte `from` on, the oldest first, and with the notes between. The guest
// is the one with the key, or if that is "" the last one of the name; ok is false if there is none. It reads the end of
// the log as far back as it has to: with a key that is known, no further than byte `from`. Data is valid during the call.
func (s *Store) ReadSource(name, key string, from uint64, f func(Entry) error) (ok bool, err error) {
	s.mu.Lock()
	last := s.sequence
	s.mu.Unlock()
	source, first := "", uint64(0)
	for seq := last; seq > 0 && last-seq < uint64(s.count); seq-- {
		match, known, begins := "", false, uint64(0)
		err := s.records(seq, func(id string, r record) error {
			switch r.kind {
			case kindKnown:
				known = true
			case kindName:
				n, k, _ := strings.Cut(id, "\x00")
				if source != "" && id == source || source == "" && (key != "" && k == key || key == "" && n == name) {
					match, begins = id, r.from
				}
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		if match != "" {
			source, first = match, seq
			if begins <= from {
				break
			}
		} else if source != "" && known {
			break // it began later
		}
	}
	if source == "" {
		return false, nil
	}
	next := from
	for seq := first; seq <= last; seq++ {
		err := s.records(seq, func(id string, r record) error {
			if id != source || r.kind != kindData && r.kind != kindNote || r.from+uint64(len(r.data)) < from {
				return nil
			}
			if r.kind == kindData {
				again := min(next-min(next, r.from), uint64(len(r.data)))
				r.from, r.data = r.from+again, r.data[again:]
				if len(r.data) == 0 {
					return nil
				}
				next = r.from + uint64(len(r.data))
			}
			n, k, _ := strings.Cut(id, "\x00")
			return f(Entry{n, k, r.from, time.Unix(0, r.at), r.data, r.kind == kindNote})
		})
		if err != nil {
			return true, err
		}
	}
	return true, nil
}

// History reads a store for those who attach (package attach).
type History struct{ Store *Store }

// Read implements attach.History.
func (h History) Read(name, key string, from uint64, f func(from uint64, p []byte) error) (ok bool, err error) {
	return h.Store.ReadSource(name, key, from, func(e Entry) error {
		if e.Note {
			return nil
		}
		return f(e.From, e.Data)
	})
}
