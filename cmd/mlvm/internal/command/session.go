package command

// session is what a run holds of the disks.
type session struct{}

func (s *session) close() error { return nil }
