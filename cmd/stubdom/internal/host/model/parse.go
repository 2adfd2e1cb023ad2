package model

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"morgana/blkback"
	"morgana/metrics"
	"morgana/xen/wire/blkif"
)

// ParseStats reads what xenstore answers to CONTROL stats: a name and a number a line.
func ParseStats(text string) (Store, error) {
	s := Store{Served: true, Counters: make(map[string]uint64), Ops: make(map[string]uint64)}
	for line := range strings.Lines(text) {
		name, number, ok := strings.Cut(strings.Trim(line, "\n\x00"), " ")
		if name == "" && !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || name == "" || len(s.Counters) == 256 {
			return Store{}, fmt.Errorf("xenstore's counters: %q is none", Clean(line, NameMax))
		}
		name = Clean(name, NameMax)
		s.Counters[name] = n
		if op, ok := strings.CutPrefix(name, "op-"); ok {
			s.Ops[op] = n
		}
	}
	for name, to := range map[string]*uint64{
		"requests": &s.Requests, "errors": &s.Errors, "events": &s.Events, "commits": &s.Commits, "conflicts": &s.Conflicts,
		"nodes": &s.Nodes, "watches": &s.Watches, "connections": &s.Connections,
	} {
		*to = s.Counters[name]
	}
	return s, nil
}

// ParseList reads what xl list prints.
func ParseList(text string) ([]Domain, error) {
	var all []Domain
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] == "Name" && f[1] == "ID" {
			continue
		}
		// A name may hold blanks; what follows it does not.
		n := len(f)
		id, err1 := strconv.Atoi(f[n-5])
		mem, err2 := strconv.ParseUint(f[n-4], 10, 40)
		cpu, err3 := strconv.ParseFloat(f[n-1], 64)
		if err := errors.Join(err1, err2, err3); err != nil || id < 0 || cpu < 0 || math.IsInf(cpu, 0) || math.IsNaN(cpu) {
			return nil, fmt.Errorf("xl list: %q is no domain", Clean(line, LineMax))
		}
		all = append(all, Domain{
			ID: id, Name: Clean(strings.Join(f[:n-5], " "), NameMax), MemoryKiB: mem * 1024, CPU: cpu, State: stateOf(f[n-2]),
		})
	}
	slices.SortFunc(all, func(a, b Domain) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// stateOf reads xl's six letters, of which a later one weighs more: rbpscd.
func stateOf(letters string) State {
	s := Running // one that is runnable and waits for a processor has none
	for i, of := range []State{Running, Blocked, Paused, Shutdown, Crashed, Dying} {
		if i < len(letters) && letters[i] != '-' {
			s = of
		}
	}
	return s
}

// ReportArgs is the command whose output ParseReport reads, for mlvm and for lvm2.
var ReportArgs = []string{
	"pvs", "--segments", "--reportformat", "json", "--units", "b", "--nosuffix",
	"-o", "pv_name,vg_name,vg_extent_size,pv_pe_count,pvseg_start,pvseg_size,lv_name",
}

// ParseReport reads a report of ReportArgs: the groups and where their volumes are.
func ParseReport(text []byte) ([]Group, error) {
	var r struct {
		Report []struct {
			PVSeg []map[string]string `json:"pvseg"`
		} `json:"report"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("the report of volumes: %w", err)
	}
	var groups []Group
	for _, part := range r.Report {
		for _, row := range part.PVSeg {
			if row["vg_name"] == "" {
				continue // a disk of no group
			}
			var n [4]uint64
			for i, name := range []string{"vg_extent_size", "pv_pe_count", "pvseg_start", "pvseg_size"} {
				var err error
				if n[i], err = strconv.ParseUint(row[name], 10, 62); err != nil {
					return nil, fmt.Errorf("the report of volumes: %s is %q", name, Clean(row[name], NameMax))
				}
			}
			groups = addRun(groups, row, n[0], n[1], Run{Start: n[2], Count: n[3], Volume: Clean(strings.Trim(row["lv_name"], "[]"), NameMax)})
		}
	}
	for i := range groups {
		g := &groups[i]
		for _, d := range g.Disks {
			slices.SortFunc(d.Runs, func(a, b Run) int { return cmp.Compare(a.Start, b.Start) })
		}
		slices.SortFunc(g.Volumes, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	}
	return groups, nil
}

func addRun(groups []Group, row map[string]string, extent, extents uint64, r Run) []Group {
	name := Clean(row["vg_name"], NameMax)
	i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == name })
	if i < 0 {
		i = len(groups)
		groups = append(groups, Group{Name: name, Extent: extent, Volumes: []Volume{}})
	}
	g := &groups[i]
	disk := Clean(row["pv_name"], NameMax)
	j := slices.IndexFunc(g.Disks, func(d PV) bool { return d.Name == disk })
	if j < 0 {
		j = len(g.Disks)
		g.Disks = append(g.Disks, PV{Name: disk, Extents: extents})
	}
	d := &g.Disks[j]
	if len(d.Runs) == RunsMax || r.Count == 0 {
		return groups
	}
	d.Runs = append(d.Runs, r)
	if r.Volume == "" {
		return groups
	}
	k := slices.IndexFunc(g.Volumes, func(v Volume) bool { return v.Name == r.Volume })
	if k < 0 {
		k = len(g.Volumes)
		g.Volumes = append(g.Volumes, Volume{Name: r.Volume, User: -1})
	}
	g.Volumes[k].Extents += r.Count
	return groups
}

// longest stands for any time in a bucket: JSON has no infinity.
const longest = 1e9

// Disks reads the block rings of a backend's figures.
func Disks(s *metrics.Set, back int) []Ring {
	var rings []Ring
	find := func(x *metrics.Sample) *Ring {
		front, err := strconv.ParseUint(x.Label("frontend"), 10, 15)
		number, err2 := strconv.ParseUint(x.Label("device"), 10, 32)
		if err != nil || err2 != nil {
			return nil
		}
		name := blkif.DiskName(uint32(number))
		i := slices.IndexFunc(rings, func(r Ring) bool { return r.Front == int(front) && r.Device == name })
		if i < 0 {
			i = len(rings)
			rings = append(rings, Ring{Kind: BlockRing, Front: int(front), Back: back, Device: name, Target: Clean(x.Label("target"), NameMax)})
		}
		return &rings[i]
	}
	each := func(family string, f func(r *Ring, x *metrics.Sample, n uint64)) {
		fam := s.Family(family)
		if fam == nil {
			return
		}
		for i := range fam.Samples {
			x := &fam.Samples[i]
			if !(x.Value >= 0 && x.Value < 1<<63) {
				continue
			}
			if r := find(x); r != nil {
				f(r, x, uint64(x.Value))
			}
		}
	}
	each(blkback.MetricRequests, func(r *Ring, _ *metrics.Sample, n uint64) { r.Total.Requests += n })
	each(blkback.MetricBytes, func(r *Ring, x *metrics.Sample, n uint64) {
		switch x.Label("op") {
		case "read":
			r.Total.Read += n
		case "write":
			r.Total.Written += n
		}
	})
	each(blkback.MetricFailed, func(r *Ring, _ *metrics.Sample, n uint64) { r.Total.Failed = n })
	each(blkback.MetricBatches, func(r *Ring, _ *metrics.Sample, n uint64) { r.Total.Events = n })
	each(blkback.MetricSize, func(r *Ring, _ *metrics.Sample, n uint64) { r.Bytes = n })
	each(blkback.MetricLatency, func(r *Ring, x *metrics.Sample, n uint64) {
		upTo, err := strconv.ParseFloat(x.Label("le"), 64)
		upTo = min(upTo, longest)
		if x.Suffix == "_bucket" && err == nil && len(r.Buckets) < 256 {
			r.Buckets = append(r.Buckets, Bucket{upTo, n})
		}
	})
	return rings
}
