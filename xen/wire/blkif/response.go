package blkif

// Status is how a request ended (BLKIF_RSP_*).
type Status int16

const (
	OK           Status = 0
	Failed       Status = -1
	NotSupported Status = -2 // the backend does not know the operation
)

// ResponseMax is the size of the largest layout of a response, in bytes.
const ResponseMax = 16

// Response answers a request.
type Response struct {
	ID     uint64
	Op     Op // the request's Moves
	Status Status
}

// ResponseSize is the size of a response in bytes: 16, or 12 for ABI32.
func (a ABI) ResponseSize() int {
	if a == ABI32 {
		return 12
	}
	return 16
}
