// Package ordered has a map with sorted keys that is a value: a change gives a new map and leaves the old one as it was.
//
// It is a B+ tree whose nodes are never written after they were shared. A change copies the nodes on the way from the
// root to one leaf, three at ten thousand keys, and shares the rest with the old map. So any number of versions of a
// volume group live side by side, and any number of goroutines read them, without a lock.
package ordered
