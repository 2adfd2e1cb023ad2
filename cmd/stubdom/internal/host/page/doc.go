// Package page shows a host in a browser: its domains and the rings between them with their traffic, volumes as a map of
// extents, xenstore as a tree, consoles, and what happened. One program serves it: the page is embedded, plain HTML, CSS
// and JavaScript, and asks for nothing from elsewhere.
//
//	/           the page
//	/events     snapshots and words as they come, as server-sent events
//	/snapshot   the newest one as JSON
//	/node       a node of xenstore and its children: ?path=/local/domain
//	/find       nodes whose path or value contains a text: ?text=vbd
//	/console    the end of a domain's console: ?domain=3
//
// # Trust
//
// The page only shows: nothing that can be asked changes the host. By default only this machine reaches it, and only under
// a name of its own: a site whose name was made to point here (DNS rebinding) finds nothing, because the Host of its
// requests is not ours. What guests wrote reaches the browser as JSON and is shown as text; the content security policy
// allows neither script nor style that is not the program's own.
package page
