package logstore

// Names calls f with the id of each source that a segment names, each time.
func Names(s *Store, f func(id string)) error {
	segments, err := s.segments()
	if err != nil {
		return err
	}
	for _, seq := range segments {
		err := s.records(seq, func(id string, r record) error {
			if r.kind == kindName {
				f(id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
