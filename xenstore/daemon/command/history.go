package command

import (
	"errors"

	"morgana/xenstore/history"
)

// keepHistory starts what --history asks for, and returns what ends it.
func (o *options) keepHistory() (func(), error) {
	if o.history == "" {
		return func() {}, nil
	}
	w, err := history.Open(o.history, history.Options{Failed: func(err error) { o.config.Words(err.Error()) }})
	if err != nil {
		return nil, errors.Join(errors.New("--history "+o.history), err)
	}
	o.config.History = w.Record
	return func() {
		if err := w.Close(); err != nil {
			o.config.Words(err.Error())
		}
	}, nil
}
