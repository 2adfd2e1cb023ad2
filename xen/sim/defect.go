package sim

import "fmt"

// Defect is a way to be wrong on purpose: the conformance suite must notice each.
type Defect int

// The defects.
const (
	LoseEvents         Defect = iota + 1 // every seventh notification is lost
	BindNotPending                       // binding does not leave the port pending
	EventsQueue                          // notifications are counted instead of coalesced
	AnyoneBinds                          // a port may be bound by any domain
	CloseTakesPeerPort                   // closing one end closes the other
	NotifyUnboundFails                   // a notification that nobody receives is an error
	WriteReadOnlyGrant                   // a read-only grant may be mapped for writing
	ReadOnlyWritable                     // a read-only mapping takes stores
	MapAfterRevoke                       // a grant that was closed may still be mapped
	ReuseMappedPage                      // a page that the peer maps is used again
	LeakGrants                           // references of closed grants are not given out again
	ForeignGrants                        // a grant for another domain may be mapped
	BatchReversed                        // a batch is mapped in the wrong order
	PartialBatch                         // bad references of a batch are passed over
	CopyIntoReadOnly                     // a copy writes to a read-only grant
	DirtyPages                           // new pages show what was in them before
	WatchReordered                       // events come in the wrong order
	WatchLost                            // every seventh event is lost
	NoInitialEvent                       // a new watch gives no event
	ConflictMissed                       // a transaction commits over others' changes
	TransactionLeaks                     // others see a transaction before it commits
	ListTruncated                        // a large directory is cut
	PermissionsIgnored                   // everybody may read everything
	DeadPeerLingers                      // a dead domain's grants can still be mapped and its ports bound
	defectsEnd
)

// Defects are all of them.
func Defects() []Defect {
	var all []Defect
	for d := LoseEvents; d < defectsEnd; d++ {
		all = append(all, d)
	}
	return all
}

var defectNames = [...]string{
	"", "lose-events", "bind-not-pending", "events-queue", "anyone-binds", "close-takes-peer-port",
	"notify-unbound-fails", "write-read-only-grant", "read-only-writable", "map-after-revoke", "reuse-mapped-page",
	"leak-grants", "foreign-grants", "batch-reversed", "partial-batch", "copy-into-read-only", "dirty-pages",
	"watch-reordered", "watch-lost", "no-initial-event", "conflict-missed", "transaction-leaks", "list-truncated",
	"permissions-ignored", "dead-peer-lingers",
}

func (d Defect) String() string {
	if d > 0 && int(d) < len(defectNames) {
		return defectNames[d]
	}
	return fmt.Sprintf("defect %d", int(d))
}
