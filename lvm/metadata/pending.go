package metadata

// The requests that are being written.

func pending() (*VG, Operation, error) {
	return nil, Operation{}, refuse(ErrUnsupported, "not written yet")
}

func (vg *VG) CreateLV(env Env, r CreateLV) (*VG, Operation, error)    { return pending() }
func (vg *VG) RemoveLV(name string) (*VG, Operation, error)            { return pending() }
func (vg *VG) ResizeLV(env Env, r ResizeLV) (*VG, Operation, error)    { return pending() }
func (vg *VG) RenameLV(from, to string) (*VG, Operation, error)        { return pending() }
func (vg *VG) ChangeLV(r ChangeLV) (*VG, Operation, error)             { return pending() }
func NewVG(env Env, r CreateVG) (*VG, Operation, error)                { return pending() }
func (vg *VG) AddPVs(pvs []NewPV) (*VG, Operation, error)              { return pending() }
func (vg *VG) ReducePVs(devices []string) (*VG, Operation, error)      { return pending() }
func (vg *VG) ReduceEmptyPVs() (*VG, Operation, error)                 { return pending() }
func (vg *VG) RemoveMissing(force bool) (*VG, Operation, error)        { return pending() }
func (vg *VG) RestoreMissing(devices []string) (*VG, Operation, error) { return pending() }
func (vg *VG) Rename(to string) (*VG, Operation, error)                { return pending() }
func (vg *VG) Change(env Env, r ChangeVG) (*VG, Operation, error)      { return pending() }
func (vg *VG) Export() (*VG, Operation, error)                         { return pending() }
func (vg *VG) Import(systemID string) (*VG, Operation, error)          { return pending() }
func (vg *VG) ResizePV(r ResizePV) (*VG, Operation, error)             { return pending() }
func (vg *VG) ChangePV(env Env, r ChangePV) (*VG, Operation, error)    { return pending() }

// Split returns what stays, and what goes to the new group.
func (vg *VG) Split(env Env, r Split) (stay *VG, op Operation, split *VG, splitOp Operation, err error) {
	_, _, err = pending()
	return nil, Operation{}, nil, Operation{}, err
}

// Merge takes everything of another group.
func (vg *VG) Merge(other *VG) (*VG, Operation, error) { return pending() }

// MoveExtents says what is to be copied, and the group afterwards.
func (vg *VG) MoveExtents(env Env, r Move) (*VG, Operation, []Copy, error) {
	_, _, err := pending()
	return nil, Operation{}, nil, err
}
