package daemon

import (
	"errors"
	"sync/atomic"
	"time"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/xs"
	"morgana/xenstore/server"
)

// errIndex says that a domain wrote an index into its ring that no honest one writes.
var errIndex = errors.New("impossible ring index")

// domainRing is the ring of a domain. Its page is the domain's to write: each index is read once, checked, and used.
type domainRing struct {
	dom     xen.DomID
	conn    *server.Conn
	page    []byte
	active  bool // in Daemon.active: there may be something to read
	publish bool // conn.LastConsumed is to be written to the page
	notify  bool // the domain is to be told
	masked  bool // its port: the domain has to wait for its share
	share   share
	logged  int // bytes of records that its last turn made

	reqCons, reqProd, rspCons, rspProd, features, connection, fault *atomic.Uint32
}

func newRing(c *server.Conn, page []byte, now time.Duration) (*domainRing, error) {
	d, _ := c.Domain()
	r := &domainRing{dom: d, conn: c, page: page, share: newShare(now)}
	for off, w := range map[int]**atomic.Uint32{
		xs.RingReqCons: &r.reqCons, xs.RingReqProd: &r.reqProd, xs.RingRspCons: &r.rspCons, xs.RingRspProd: &r.rspProd,
		xs.RingFeatures: &r.features, xs.RingConn: &r.connection, xs.RingError: &r.fault,
	} {
		var err error
		if *w, err = ring.Word(page, off); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// advertise says what the service can do.
func (r *domainRing) advertise() { r.features.Store(xs.FeatureReconnection | xs.FeatureError) }

// cons is how far requests were read: what is not published yet counts.
func (r *domainRing) cons() uint32 {
	if r.publish {
		return r.conn.LastConsumed()
	}
	return r.reqCons.Load()
}

// peek copies what there is to be read.
func (r *domainRing) peek(buf *[xs.RingSize]byte) ([]byte, error) {
	cons := r.cons()
	n := r.reqProd.Load() - cons
	if n > xs.RingSize {
		return nil, errIndex
	}
	at := cons & (xs.RingSize - 1)
	req := r.page[xs.RingReq : xs.RingReq+xs.RingSize]
	m := copy(buf[:n], req[at:])
	copy(buf[m:n], req)
	return buf[:n], nil
}

// taken notes that n bytes were read; publishing waits for the journal.
func (r *domainRing) taken(n int) {
	r.conn.Consumed(r.cons() + uint32(n))
	r.publish = true
}

// published lets the domain see what was read.
func (r *domainRing) published() {
	if r.publish {
		r.publish = false
		r.reqCons.Store(r.conn.LastConsumed())
		r.notify = true
	}
}

// put writes as much of b as there is room for.
func (r *domainRing) put(b []byte) (int, error) {
	prod := r.rspProd.Load()
	used := prod - r.rspCons.Load()
	if used > xs.RingSize {
		return 0, errIndex
	}
	n := min(len(b), xs.RingSize-int(used))
	if n == 0 {
		return 0, nil
	}
	at := prod & (xs.RingSize - 1)
	rsp := r.page[xs.RingRsp : xs.RingRsp+xs.RingSize]
	copy(rsp, b[copy(rsp[at:], b[:n]):n])
	r.rspProd.Store(prod + uint32(n))
	r.notify = true
	return n, nil
}

// reset begins the ring anew.
func (r *domainRing) reset() {
	r.publish = false
	for _, w := range []*atomic.Uint32{r.reqCons, r.reqProd, r.rspCons, r.rspProd} {
		w.Store(0)
	}
	r.conn.Consumed(0)
	r.conn.SetPosition(0)
	r.advertise()
}
