package lvm

// dropVoid takes out groups that a split or merge had begun to make, or was about to end, when it was interrupted.
func (inv *Inventory) dropVoid() {}
