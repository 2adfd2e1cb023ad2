// Package metrics writes and reads the text in which Prometheus collects figures from programs: the exposition format,
// version 0.0.4. Pure.
//
//	var s metrics.Set
//	s.Counter("morgana_blkback_requests_total", "Requests answered.", 17, "op", "read", "device", "xvda")
//	s.Gauge("morgana_xenstore_nodes", "Nodes in the store.", 1042)
//	text := s.Append(nil)
//
// What a program knows is collected anew for each answer, so that a program whose figures nobody collects pays nothing.
// Values of labels may be anything a guest wrote: they are escaped. Names of families and labels are the program's own.
//
// Source: https://prometheus.io/docs/instrumenting/exposition_formats, "Text-based format".
package metrics
