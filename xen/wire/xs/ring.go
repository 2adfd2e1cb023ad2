package xs

// Layout of a domain's xenstore page (struct xenstore_domain_interface): byte offsets. Indexes run freely, modulo
// 2^32; the byte they name is at the index modulo RingSize.
const (
	RingSize = 1024

	RingReq      = 0    // requests, written by the domain
	RingRsp      = 1024 // replies and events, written by the service
	RingReqCons  = 2048
	RingReqProd  = 2052
	RingRspCons  = 2056
	RingRspProd  = 2060
	RingFeatures = 2064 // what the service can do
	RingConn     = 2068 // 0 connected; 1: the domain wants the connection reset
	RingError    = 2072 // why the service gave up, 0 if it did not
)

// Features of the service.
const (
	FeatureReconnection = 1 << 0 // RingConn may be used
	FeatureError        = 1 << 1 // RingError is set
)

// Values of RingError.
const (
	RingErrorNone  = 0
	RingErrorComm  = 1 // communication problem
	RingErrorIndex = 2 // bad ring index
	RingErrorProto = 3 // protocol violation
)
