// Package page tests stubdom's page of a host in a real browser, with the whole host in the simulator.
package page

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"morgana/tests/browser"
)

// host starts stubdom host --sim with a page, and returns where that is and what commands are typed to.
func host(t *testing.T) (url string, commands io.Writer) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "stubdom")
	if out, err := exec.Command("go", "build", "-o", program, "morgana/cmd/stubdom").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := exec.Command(program, "host", "--sim", "--http", "127.0.0.1:0")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	words, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	verdict := &strings.Builder{}
	c.Stdout = verdict
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	urls := make(chan string, 1)
	var log strings.Builder
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(words); lines.Scan(); {
			fmt.Fprintln(&log, lines.Text())
			if m := regexp.MustCompile(`http://\S+`).FindString(lines.Text()); m != "" {
				urls <- m
			}
		}
	}()
	t.Cleanup(func() {
		fmt.Fprintln(in, "quit")
		<-read
		if err := c.Wait(); err != nil || !strings.Contains(verdict.String(), "the volume group is whole") {
			t.Errorf("stubdom host --sim ended with %v\n%s%s", err, &log, verdict)
		}
	})
	select {
	case url = <-urls:
	case <-time.After(20 * time.Second):
		t.Fatal("no page is served")
	}
	return url, in
}

func open(t *testing.T, ctx context.Context, url string, width, height int) *browser.Page {
	t.Helper()
	b, err := browser.Start(ctx)
	if errors.Is(err, browser.ErrNotFound) {
		t.Fatal(err, "(.ci/setup installs it)")
	}
	check(t, err)
	t.Cleanup(func() { check(t, b.Close()) })
	p, err := b.Open(ctx, url, width, height)
	check(t, err)
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// quiet checks that the page's console said nothing.
func quiet(t *testing.T, p *browser.Page) {
	t.Helper()
	if said := p.Said(); len(said) > 0 {
		t.Errorf("the page says %q", said)
	}
}

// The page shows the host while it works: numbers move, domains, rings, volumes, xenstore and consoles are there, keys do
// all that a mouse does, and nothing is refused or fails. It fits a telephone. With SHOTS in the environment the pictures in
// docs are made anew.
func TestPage(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	url, commands := host(t)
	p := open(t, ctx, url, 1240, 900)
	is := func(expression, want string) {
		t.Helper()
		check(t, p.Wait(ctx, fmt.Sprintf("(%s) === %q", expression, want)))
	}

	is(`[...document.querySelectorAll(".box .name")].map(e => e.textContent).sort().join()`, "Domain-0,Xenstore,consoles,db,storage,web")
	check(t, p.Wait(ctx, `document.querySelectorAll("#lines g.block").length === 3`))
	check(t, p.Wait(ctx, `document.querySelectorAll("#lines g.xenstore").length >= 5 && document.querySelectorAll("#lines g.console").length >= 3`))
	check(t, p.Wait(ctx, `document.getElementById("link").textContent === "live"`))

	// Numbers move.
	const figure = `document.querySelector("#totals dd").textContent`
	check(t, p.Wait(ctx, figure+` !== "–" && `+figure+` !== "0"`))
	first, err := p.Text(ctx, figure)
	check(t, err)
	check(t, p.Wait(ctx, fmt.Sprintf("%s !== %q", figure, first)))
	check(t, p.Wait(ctx, `[...document.querySelectorAll("#lines g.block .label")].every(e => /^[1-9]/.test(e.textContent))`))

	// Volumes: what is made while we look appears.
	check(t, p.Wait(ctx, `document.querySelectorAll(".map i.v0").length > 0 && document.querySelectorAll(".volumes button").length === 4`))
	fmt.Fprintln(commands, "lvcreate -L100m -n logs vg0")
	check(t, p.Wait(ctx, `document.querySelectorAll(".volumes button").length === 5`))
	is(`[...document.querySelectorAll(".volumes b")].map(e => e.textContent).join()`, "db,logs,mlvm_log,more,web")
	check(t, p.Wait(ctx, `[...document.querySelectorAll("#story li")].some(e => e.textContent.includes("lvcreate -L100m -n logs vg0"))`))

	keys(t, ctx, p)

	// xenstore's program dies meanwhile, and nobody who looks on sees more than that it is told.
	check(t, p.Wait(ctx, `/requests/.test(document.getElementById("console").textContent)`))
	fmt.Fprintln(commands, "crash xenstore")
	check(t, p.Wait(ctx, `[...document.querySelectorAll("#story li")].some(e => e.textContent.includes("the next one answers after"))`))
	check(t, p.Wait(ctx, `document.getElementById("link").textContent === "live"`))
	quiet(t, p)

	check(t, p.Run(ctx, `document.activeElement.blur(), scrollTo(0, 0)`, nil))
	if os.Getenv("SHOTS") != "" {
		check(t, p.Wait(ctx, `document.querySelector("#totals polyline").points.length > 50`))
	}
	shot(t, ctx, p, "docs/host.png", 1240)
	check(t, p.Dark(ctx, true))
	shot(t, ctx, p, "docs/host-dark.png", 1240)
	check(t, p.Dark(ctx, false))
	narrow(t, ctx, p)
	shot(t, ctx, p, "docs/host-narrow.png", 360)
	quiet(t, p)
}

// keys does with keys what a mouse does.
func keys(t *testing.T, ctx context.Context, p *browser.Page) {
	t.Helper()
	press := func(all ...string) {
		t.Helper()
		for _, k := range all {
			check(t, p.Press(ctx, k))
		}
	}
	// Tab reaches the domains, after the link that skips to them; arrows move; Enter selects.
	press("Tab", "Tab")
	check(t, p.Wait(ctx, `document.activeElement.classList.contains("box")`))
	check(t, p.Run(ctx, `[...document.querySelectorAll(".box")].find(e => e.textContent.startsWith("web")).focus()`, nil))
	press("ArrowRight")
	check(t, p.Wait(ctx, `document.activeElement.textContent.startsWith("db")`))
	press("Enter")
	check(t, p.Wait(ctx, `document.getElementById("domain-title").textContent === "db"`))
	check(t, p.Wait(ctx, `document.querySelectorAll("#lines g.faded").length > 0`))
	check(t, p.Wait(ctx, `/^db: a guest/.test(document.getElementById("console").textContent)`))
	check(t, p.Wait(ctx, `[...document.querySelectorAll("#rings tr.block td")][0].textContent === "xvda, vg0/db"`))
	press("Escape")
	check(t, p.Wait(ctx, `document.querySelectorAll("#lines g.faded").length === 0`))

	// The tree: a node opens and closes with arrows.
	check(t, p.Wait(ctx, `document.querySelector("[data-path='/local/domain/4']")`))
	check(t, p.Run(ctx, `document.querySelector("#tree [role=treeitem]").focus()`, nil))
	press("End")
	press("Home", "ArrowDown")
	check(t, p.Wait(ctx, `document.activeElement.dataset.path === "/local"`))
	press("ArrowRight", "ArrowRight")
	check(t, p.Wait(ctx, `document.activeElement.dataset.path === "/local/domain/0"`))
	press("ArrowRight")
	check(t, p.Wait(ctx, `document.querySelector("[data-path='/local/domain/0/name']")?.textContent.includes("Domain-0")`))
	press("ArrowLeft")
	check(t, p.Wait(ctx, `!document.querySelector("[data-path='/local/domain/0/name']")`))

	// The search.
	press("/")
	check(t, p.Wait(ctx, `document.activeElement.id === "search"`))
	check(t, p.Type(ctx, "vg0/web"))
	check(t, p.Wait(ctx, `document.getElementById("found").textContent === "1 found"`))
	check(t, p.Wait(ctx, `document.querySelector("#tree .key").textContent === "/local/domain/2/backend/vbd/4/51712/params"`))
	press("Escape")
	check(t, p.Wait(ctx, `document.querySelector("[data-path='/local/domain/4']")`))
}

// narrow checks that a page of 360 pixels has no part that is wider.
func narrow(t *testing.T, ctx context.Context, p *browser.Page) {
	t.Helper()
	check(t, p.Resize(ctx, 360, 780))
	check(t, p.Wait(ctx, `innerWidth === 360`))
	time.Sleep(300 * time.Millisecond) // the picture is drawn anew
	var wide []string
	check(t, p.Run(ctx, `[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, .skip, svg") && e.getBoundingClientRect().right > 361)
		.map(e => e.tagName + "." + e.className + " " + e.getBoundingClientRect().right)`, &wide))
	if len(wide) > 0 {
		t.Errorf("on a screen of 360 pixels these go beyond its edge: %q", wide)
	}
	var small []string
	check(t, p.Run(ctx, `[...document.querySelectorAll(".box")].filter(e => e.offsetWidth < 88 || e.offsetHeight < 44).map(e => e.textContent)`, &small))
	if len(small) > 0 {
		t.Errorf("too small to be touched: %q", small)
	}
}

// shot makes a picture of the whole page, and keeps it in docs if SHOTS is set.
func shot(t *testing.T, ctx context.Context, p *browser.Page, name string, width int) {
	t.Helper()
	height := 0
	check(t, p.Run(ctx, `document.documentElement.scrollHeight`, &height))
	check(t, p.Resize(ctx, width, height))
	time.Sleep(300 * time.Millisecond)
	png, err := p.Screenshot(ctx, true)
	check(t, err)
	if len(png) < 10_000 {
		t.Errorf("the picture has %d bytes", len(png))
	}
	if os.Getenv("SHOTS") != "" {
		check(t, os.WriteFile(filepath.Join("../..", name), png, 0o644))
	}
}
