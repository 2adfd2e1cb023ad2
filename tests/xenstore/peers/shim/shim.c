/*
 * A stand-in for Xen and its libraries, preloaded into Debian's own xenstore daemons so that they run on any machine,
 * with guests on real rings. A fake host is a directory, $FAKEXEN:
 *
 *	dom5.ring	domain 5 exists; the file is the page of its xenstore ring
 *	dom5.shutdown	it shut down
 *	dom5.sock	datagram socket of domain 5: each datagram is an event
 *	daemon.sock	datagram socket of the daemon: each datagram is an event, the port as a 32-bit number
 *	dom5.dying	it is being destroyed
 *	dom5.console	the page of its console
 *	dom5.console.sock	datagram socket of its console, events for the domain
 *	dom5.console.daemon	the console daemon's end of it
 *	xen.log		what Xen's console ring has had, from the beginning
 *	xen.log.sock	datagram socket: each datagram is VIRQ_CON_RING
 *	etc, run, log	what the daemons look for elsewhere
 *
 * The daemon's port for domain N is PORT + N, and VIRQ for the exceptions of domains. $FAKEXEN_CONSOLE makes it serve the
 * console daemon: its event channels are those of consoles, each handle has one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xengnttab.h>

enum { VIRQ = 1, PORT = 1000, PAGE = 4096, CONSOLE_GRANT = 0, XENSTORE_GRANT = 1, DOMAINS = 512 };

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* ---- the host's directory ---- */

static const char *in_host(char buf[PATH_MAX], const char *name)
{
	const char *host = getenv("FAKEXEN");

	snprintf(buf, PATH_MAX, "%s/%s", host ? host : "/nonexistent", name);
	return buf;
}

static const char *of_domain(char buf[PATH_MAX], unsigned int domid, const char *what)
{
	char name[64];

	snprintf(name, sizeof(name), "dom%u.%s", domid, what);
	return in_host(buf, name);
}

static bool has(unsigned int domid, const char *what)
{
	char buf[PATH_MAX];

	return !REAL(access)(of_domain(buf, domid, what), F_OK);
}

static void *map_page(unsigned int domid, const char *what)
{
	char buf[PATH_MAX];
	void *page = MAP_FAILED;
	int fd = REAL(open)(of_domain(buf, domid, what), O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	return page == MAP_FAILED ? NULL : page;
}

static void *map_ring(unsigned int domid)
{
	return map_page(domid, "ring");
}

static bool for_consoles(void)
{
	return getenv("FAKEXEN_CONSOLE");
}

/* ---- files that are elsewhere here ---- */

static const struct {
	const char *prefix, *instead;
} moved[] = {
	{ "/proc/xen/xsd_port", "xsd_port" },
	{ "/proc/xen/xsd_kva", "dom0.ring" },
	{ "/var/run/xenstored", "run" },
	{ "/run/xenstored", "run" },
	{ "/var/run/xen", "run" },
	{ "/var/log/xen", "log" },
	{ "/etc/xen", "etc" },
};

static const char *find(char buf[PATH_MAX], const char *path)
{
	char name[PATH_MAX];

	for (size_t i = 0; path && i < sizeof(moved) / sizeof(moved[0]); i++) {
		size_t n = strlen(moved[i].prefix);

		if (!strncmp(path, moved[i].prefix, n) && (!path[n] || path[n] == '/')) {
			snprintf(name, sizeof(name), "%s%s", moved[i].instead, path + n);
			return in_host(buf, name);
		}
	}
	return path;
}

#define OPENS(name)                                                                     \
	int name(const char *path, int flags, ...)                                      \
	{                                                                               \
		char buf[PATH_MAX];                                                     \
		mode_t mode = 0;                                                        \
		va_list ap;                                                             \
                                                                                        \
		va_start(ap, flags);                                                    \
		if (flags & (O_CREAT | O_TMPFILE))                                      \
			mode = va_arg(ap, mode_t);                                      \
		va_end(ap);                                                             \
		return REAL(name)(find(buf, path), flags, mode);                        \
	}
OPENS(open)
OPENS(open64)

int unlink(const char *path)
{
	char buf[PATH_MAX];

	return REAL(unlink)(find(buf, path));
}

int chmod(const char *path, mode_t mode)
{
	char buf[PATH_MAX];

	return REAL(chmod)(find(buf, path), mode);
}

int mkdir(const char *path, mode_t mode)
{
	char buf[PATH_MAX];

	return REAL(mkdir)(find(buf, path), mode);
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char buf[PATH_MAX];

	if (addr->sa_family != AF_UNIX || len <= sizeof(sa_family_t))
		return REAL(bind)(fd, addr, len);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", find(buf, ((const struct sockaddr_un *)addr)->sun_path));
	return REAL(bind)(fd, (struct sockaddr *)&un, sizeof(un));
}

/* A container may not raise its limits; the daemons insist. */
int setrlimit(__rlimit_resource_t what, const struct rlimit *limit)
{
	(void)what;
	(void)limit;
	return 0;
}

/* ---- libxenctrl ---- */

static int handles;

#define HANDLE(type) ((type *)&handles)

xc_interface *xc_interface_open(xentoollog_logger *a, xentoollog_logger *b, unsigned int flags)
{
	(void)a, (void)b, (void)flags;
	return HANDLE(xc_interface);
}

int xc_interface_close(xc_interface *xch)
{
	(void)xch;
	return 0;
}

int xc_domain_getinfo(xc_interface *xch, uint32_t first, unsigned int max, xc_dominfo_t *info)
{
	(void)xch;
	/* Xen answers with the next domain there is; the console daemon counts on it. */
	while (for_consoles() && first < DOMAINS && !has(first, "ring"))
		first++;
	if (!max || !has(first, "ring")) {
		errno = ESRCH;
		return -1;
	}
	memset(info, 0, sizeof(*info));
	info->domid = first;
	info->running = 1;
	info->shutdown = has(first, "shutdown");
	info->dying = has(first, "dying");
	return 1;
}

int xc_domain_getinfolist(xc_interface *xch, uint32_t first, unsigned int max, xc_domaininfo_t *info)
{
	(void)xch;
	if (!max || !has(first, "ring")) {
		errno = ESRCH;
		return -1;
	}
	memset(info, 0, sizeof(*info));
	info->domain = first;
	info->flags = XEN_DOMINF_running | (has(first, "shutdown") ? XEN_DOMINF_shutdown : 0) |
		      (has(first, "dying") ? XEN_DOMINF_dying : 0);
	return 1;
}

void *xc_map_foreign_range(xc_interface *xch, uint32_t domid, int size, int prot, unsigned long mfn)
{
	(void)xch, (void)size, (void)prot, (void)mfn;
	return map_ring(domid);
}

int xc_evtchn_status(xc_interface *xch, xc_evtchn_status_t *status)
{
	(void)xch;
	if (for_consoles()) {
		status->status = EVTCHNSTAT_interdomain;
		return 0;
	}
	errno = ENOSYS;
	return -1;
}

int xc_readconsolering(xc_interface *xch, char *to, unsigned int *size, int clear, int incremental, uint32_t *index)
{
	char buf[PATH_MAX];
	ssize_t n = 0;
	int fd = REAL(open)(in_host(buf, "xen.log"), O_RDONLY | O_CLOEXEC);

	(void)xch, (void)clear, (void)incremental;
	if (fd >= 0) {
		n = pread(fd, to, *size, *index);
		close(fd);
	}
	if (n < 0)
		return -1;
	*size = n;
	*index += n;
	return 0;
}

/* ---- libxenforeignmemory: nothing can be mapped ---- */

xenforeignmemory_handle *xenforeignmemory_open(xentoollog_logger *l, unsigned int flags)
{
	(void)l, (void)flags;
	return HANDLE(xenforeignmemory_handle);
}

int xenforeignmemory_close(xenforeignmemory_handle *h)
{
	(void)h;
	return 0;
}

void *xenforeignmemory_map(xenforeignmemory_handle *h, uint32_t domid, int prot, size_t n, const xen_pfn_t *pfns, int *err)
{
	(void)h, (void)domid, (void)prot, (void)n, (void)pfns, (void)err;
	errno = EINVAL;
	return NULL;
}

int xenforeignmemory_unmap(xenforeignmemory_handle *h, void *page, size_t n)
{
	(void)h;
	return munmap(page, n * PAGE);
}

/* ---- libxengnttab ---- */

xengnttab_handle *xengnttab_open(xentoollog_logger *l, unsigned int flags)
{
	(void)l, (void)flags;
	return HANDLE(xengnttab_handle);
}

int xengnttab_close(xengnttab_handle *xgt)
{
	(void)xgt;
	return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t n)
{
	(void)xgt, (void)n;
	return 0;
}

void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
	(void)xgt, (void)prot;
	if (ref == XENSTORE_GRANT)
		return map_ring(domid);
	if (ref == CONSOLE_GRANT && for_consoles())
		return map_page(domid, "console");
	errno = EINVAL;
	return NULL;
}

int xengnttab_unmap(xengnttab_handle *xgt, void *start, uint32_t count)
{
	(void)xgt;
	return munmap(start, (size_t)count * PAGE);
}

/* ---- libxenevtchn: a socket for each handle ---- */

static int descriptor(xenevtchn_handle *xce)
{
	return *(int *)xce;
}

static xenevtchn_handle *handle(int fd)
{
	int *h = fd < 0 ? NULL : malloc(sizeof(*h));

	if (h)
		*h = fd;
	return (xenevtchn_handle *)h;
}

static int listen_at(int fd, const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	REAL(unlink)(path);
	return REAL(bind)(fd, (struct sockaddr *)&un, sizeof(un));
}

static void send_to(int fd, const char *path, uint32_t port)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	sendto(fd, &port, sizeof(port), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&un, sizeof(un));
}

xenevtchn_handle *xenevtchn_open(xentoollog_logger *l, unsigned int flags)
{
	char buf[PATH_MAX];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	(void)l, (void)flags;
	if (!for_consoles() && listen_at(fd, in_host(buf, "daemon.sock")))
		return NULL;
	return handle(fd);
}

xenevtchn_handle *xenevtchn_fdopen(xentoollog_logger *l, int fd, unsigned int flags)
{
	(void)l, (void)flags;
	return handle(fd);
}

int xenevtchn_close(xenevtchn_handle *xce)
{
	int err = close(descriptor(xce));

	free(xce);
	return err;
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
	return descriptor(xce);
}

int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
	char buf[PATH_MAX];

	if (port >= PORT)
		send_to(descriptor(xce), of_domain(buf, port - PORT, for_consoles() ? "console.sock" : "sock"), port);
	return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid, evtchn_port_t remote)
{
	char buf[PATH_MAX];

	(void)remote;
	if (for_consoles()) {
		if (listen_at(descriptor(xce), of_domain(buf, domid, "console.daemon")))
			return -1;
		send_to(descriptor(xce), buf, PORT + domid); /* a port that was bound is pending once */
	}
	return PORT + domid;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq)
{
	char buf[PATH_MAX];

	(void)virq;
	if (for_consoles() && listen_at(descriptor(xce), in_host(buf, "xen.log.sock")))
		return -1;
	return VIRQ;
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
	(void)xce, (void)port;
	return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
	uint32_t port;

	return recv(descriptor(xce), &port, sizeof(port), 0) == sizeof(port) ? (xenevtchn_port_or_error_t)port : 0;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
	(void)xce, (void)port;
	return 0;
}
