package text

// Place says what a section describes, which decides where blank lines and comments go.
type Place uint8

// The places, from the outside to the inside.
const (
	Top               Place = iota // the text as a whole
	Group                          // the section named as the volume group
	PhysicalVolumes                // the list of physical volumes
	PhysicalVolume                 // pv0 …
	LogicalVolumes                 // the list of logical volumes
	LogicalVolume                  // one of them
	Segment                        // segment1 … of a logical volume
	HistoricalVolumes              // the list of logical volumes that were removed
	HistoricalVolume               // one of them
	Message                        // message1 … to a thin pool
	Settings                       // policy_settings of a cache, printed key=value
	Elsewhere                      // what nobody here knows
)

// Inside returns what the section key describes that is found in a section at p.
func (p Place) Inside(key string) Place {
	switch p {
	case Top:
		return Group
	case Group:
		switch key {
		case "physical_volumes":
			return PhysicalVolumes
		case "logical_volumes":
			return LogicalVolumes
		case "historical_logical_volumes":
			return HistoricalVolumes
		}
	case PhysicalVolumes:
		return PhysicalVolume
	case LogicalVolumes:
		return LogicalVolume
	case HistoricalVolumes:
		return HistoricalVolume
	case LogicalVolume:
		return Segment
	case Segment:
		if key == "policy_settings" {
			return Settings
		}
		return Message
	case Settings:
		return Settings
	}
	return Elsewhere
}

// blankBefore reports whether a blank line stands between the entry prev, nil for none, and e.
func (p Place) blankBefore(prev, e *Entry) bool {
	if e.Section != nil {
		switch p {
		case Top, Group:
			return false // frame and header have rules of their own
		case PhysicalVolumes, LogicalVolumes, HistoricalVolumes:
			return true
		case LogicalVolume:
			return prev != nil && prev.Section == nil
		case Segment:
			return e.Key != "policy_settings" && (prev == nil || prev.Section == nil)
		}
		return false
	}
	if prev == nil {
		return false
	}
	switch p {
	case Group:
		return e.Key == "allocation_policy"
	case PhysicalVolume:
		return prev.Key == "device"
	case Segment:
		return prev.Key == "extent_count" || isAreas(e) || prev.Key == "virtual_extents"
	}
	return false
}

// isAreas reports whether an entry lists where a segment's data are, which is printed over several lines.
func isAreas(e *Entry) bool {
	switch e.Key {
	case "stripes", "mirrors", "raids", "raid0_lvs":
		return e.Value.Kind == KindList && len(e.Value.List) > 0
	}
	return false
}
