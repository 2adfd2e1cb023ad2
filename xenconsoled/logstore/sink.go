package logstore

import (
	"fmt"
	"strings"
	"time"

	"morgana/xenconsoled"
)

// Source is the log of one console. It implements xenconsoled.Sink.
type Source struct {
	store *Store
	id    string
	now   func() time.Time
}

// Source makes the log of a console. key tells a guest from others of the same name, over all times. The mark moves on to
// what the store has: a stream whose memory survived less than the store is not logged twice. It fails if the name and the
// key are longer than 1024 bytes together, or have a zero byte in the name.
func (s *Store) Source(name, key string, m *xenconsoled.Mark, now func() time.Time) (*Source, error) {
	if len(name)+len(key) > nameMax || strings.Contains(name, "\x00") {
		return nil, fmt.Errorf("log store: %q with a key of %d bytes is no name of a source", name, len(key))
	}
	if next := s.nextOf(id(name, key)); next > m.Position() {
		m.Set(next, 0)
	}
	return &Source{store: s, id: id(name, key), now: now}, nil
}

// Write implements xenconsoled.Sink. It is durable after Store.Sync.
func (s *Source) Write(m *xenconsoled.Mark, p []byte, _ bool) (int, error) {
	n := min(len(p), s.store.most())
	r := record{kind: kindData, from: m.Position(), at: s.now().UnixNano(), data: p[:n]}
	if err := s.store.append(s.id, r); err != nil {
		return 0, err
	}
	m.Set(m.Position()+uint64(n), 0)
	return n, nil
}

// Lost implements xenconsoled.Sink. The numbers of the bytes tell it too.
func (s *Source) Lost(m *xenconsoled.Mark, n uint64) error {
	text := fmt.Appendf(nil, "[%d bytes are missing here]", n)
	return s.store.append(s.id, record{kind: kindNote, from: m.Position(), at: s.now().UnixNano(), data: text})
}

// Close implements xenconsoled.Sink.
func (s *Source) Close() error { return nil }

// Forget says that the guest is gone: further segments do not name it.
func (s *Source) Forget() { s.store.forget(s.id) }
