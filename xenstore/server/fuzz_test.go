package server

import (
	"testing"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// FuzzCore lets dom0, two guests and a client of the socket say anything, and domains come and go. Nothing panics, the
// counts stay right, and dom0 is served.
func FuzzCore(f *testing.F) {
	step := func(who byte, op xs.Op, tx byte, payload string) []byte {
		return append([]byte{who, byte(op), tx, byte(len(payload))}, payload...)
	}
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	f.Add(join(step(1, xs.Write, 0, "a/b\x00v"), step(1, xs.Watch, 0, "a\x00t\x00"), step(2, xs.Write, 0, "/local/domain/1/a\x00v")))
	f.Add(join(step(1, xs.TransactionStart, 0, "\x00"), step(1, xs.Write, 1, "a\x00v"), step(0, xs.Remove, 0, "/local/domain/1\x00"),
		step(1, xs.TransactionEnd, 1, "T\x00")))
	f.Add(join(step(0, xs.SetPerms, 0, "/local\x00b0\x00b1\x00"), step(1, xs.Mkdir, 0, "/local/x/y/z\x00"), step(0x40, 0, 0, ""), step(0x81, 0, 0, "")))
	f.Add(join(step(0, xs.SetTarget, 0, "1\x002\x00"), step(0, xs.Release, 0, "2\x00"), step(1, xs.Read, 0, "/local/domain/2\x00")))
	f.Add(join(step(0, xs.Introduce, 0, "1\x001\x007\x00"), step(0, xs.Control, 0, "quota\x00set\x00nodes\x002\x00"), step(1, xs.Mkdir, 0, "a/b/c\x00")))
	f.Add(join(step(3, xs.Directory, 0, "/\x00"), step(3, xs.DirectoryPart, 0, "/\x000\x00"), step(3, xs.GetPerms, 0, "/\x00")))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, g := guests(t, 2)
		g = append(g, m.Connect())
		now := int64(0)
		for len(data) >= 4 {
			who, op, tx, n := data[0], xs.Op(data[1]), uint32(data[2]&3), min(int(data[3]), len(data)-4)
			payload := data[4 : 4+n]
			data = data[4+n:]
			d := xen.DomID(who & 3)
			switch {
			case who&0x80 != 0: // a domain's life changes
				if d != 0 && d < 3 {
					m.host.states[d] = DomainState(op % 3)
				}
				m.CheckDomains()
			case who&0x40 != 0: // time passes
				now += int64(op) * 200
				m.SetNow(now)
				m.Tick()
			case who&0x20 != 0 && d != 0: // it reads a part of what waits
				if c := m.ConnOf(d); c != nil {
					m.Sent(c, min(int(data1(payload)), len(c.Output())))
				}
			default:
				c := g[3]
				if d != 3 {
					c = m.ConnOf(d)
				}
				if c == nil || c.Closed() {
					break
				}
				m.Input(c, xs.AppendMessage(nil, xs.Header{Op: op, Tx: tx}, payload))
				if d == 0 || d == 3 {
					m.drain(c)
				}
			}
			m.verify(t)
		}
		c := m.ConnOf(0)
		m.drain(c)
		if got := m.say(t, c, xs.Read, "/|"); got != "" && len(got) > 4096 {
			t.Fatalf("dom0 reads %q", got)
		}
	})
}

func data1(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func BenchmarkCore(b *testing.B) {
	m := newMachine(b)
	c := m.Connect()
	for _, r := range []struct {
		name string
		msg  []byte
	}{
		{"read", xs.AppendMessage(nil, xs.Header{Op: xs.Read}, []byte("/bench/d1/n1\x00"))},
		{"write", xs.AppendMessage(nil, xs.Header{Op: xs.Write}, []byte("/bench/d1/n1\x00a value of thirty-three bytes ..."))},
	} {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			m.Input(c, xs.AppendMessage(nil, xs.Header{Op: xs.Write}, []byte("/bench/d1/n1\x00v")))
			for b.Loop() {
				m.Input(c, r.msg)
				m.TakeLog()
				m.Ready()
				m.Sent(c, len(c.Output()))
			}
		})
	}
}
