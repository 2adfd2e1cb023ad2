package model

import "slices"

// Since fills in what happened a second since a snapshot before. A counter that is less than it was began anew, with the
// program that counts.
func (s *Snapshot) Since(before *Snapshot) {
	if before == nil {
		return
	}
	seconds := s.At.Sub(before.At).Seconds()
	if seconds <= 0 {
		return
	}
	per := func(now, was uint64) float64 { return float64(grown(now, was)) / seconds }
	s.Store.PerSec = 0
	if s.Store.Served && before.Store.Served {
		s.Store.PerSec = per(s.Store.Requests, before.Store.Requests)
	}
	for i := range s.Domains {
		d := &s.Domains[i]
		was := before.Domain(d.ID)
		if was == nil || was.Name != d.Name { // another one of that number
			continue
		}
		d.Console.PerSec = per(d.Console.Bytes, was.Console.Bytes)
		d.Console.LineSec = per(d.Console.Lines, was.Console.Lines)
		d.CPUShare = max(d.CPU-was.CPU, 0) / seconds
	}
	for i := range s.Rings {
		r := &s.Rings[i]
		j := slices.IndexFunc(before.Rings, func(o Ring) bool {
			return o.Kind == r.Kind && o.Front == r.Front && o.Back == r.Back && o.Device == r.Device
		})
		if j < 0 {
			continue
		}
		was := &before.Rings[j]
		r.PerSec = Rates{
			Requests: per(r.Total.Requests, was.Total.Requests),
			Read:     per(r.Total.Read, was.Total.Read),
			Written:  per(r.Total.Written, was.Total.Written),
		}
		r.Latency = median(r.Buckets, was.Buckets)
	}
}

func grown(now, was uint64) uint64 {
	if now < was {
		return now
	}
	return now - was
}

// Bucket is how many requests took no longer than a time in seconds, those of the buckets before included. The last one's
// time stands for any.
type Bucket struct {
	UpTo  float64 `json:"upTo"`
	Count uint64  `json:"count"`
}

// median is the time in which half of the requests between two histograms were answered: the bound of its bucket. 0 if
// there were none.
func median(now, was []Bucket) float64 {
	if len(now) == 0 {
		return 0
	}
	count := func(i int) uint64 {
		if len(was) == len(now) && was[len(was)-1].Count <= now[len(now)-1].Count {
			return grown(now[i].Count, was[i].Count)
		}
		return now[i].Count
	}
	total := count(len(now) - 1)
	if total == 0 {
		return 0
	}
	for i, b := range now {
		if 2*count(i) >= total {
			if i == len(now)-1 && i > 0 { // beyond all bounds
				return now[i-1].UpTo
			}
			return b.UpTo
		}
	}
	return 0
}
