package command

// keepHistory starts what --history asks for, and returns what ends it.
func (o *options) keepHistory() (func(), error) { return func() {}, nil }
