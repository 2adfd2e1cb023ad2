package system

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// TestYourOwnDomain: what docs/your-own-domain.md shows works as it says, as a process and as a domain.
func TestYourOwnDomain(t *testing.T) {
	doc, err := os.ReadFile("../../docs/your-own-domain.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)`(stubdoms/[^`]+\\.go)`:\n\n```go\n(.*?)```").FindSubmatch(doc)
	if m == nil {
		t.Fatal("the document has no program")
	}
	code := 0
	for l := range strings.Lines(string(m[2])) {
		if strings.TrimSpace(l) != "" {
			code++
		}
	}
	if code > 50 {
		t.Errorf("the program has %d lines", code)
	}
	// To the compiler the program is where the document has it.
	dir := t.TempDir()
	source, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	place, err := filepath.Abs(filepath.Join("../..", string(m[1])))
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{place: source}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{source: m[2], overlay: replace} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := host(t)
	name := filepath.Base(filepath.Dir(string(m[1])))
	program, err := image.BuildProgram(filepath.Join(h.Share, name), "morgana/stubdoms/"+name, "-overlay="+overlay)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 2*time.Minute)
	ask := func(domain int, text, answer string) {
		t.Helper()
		dir := fmt.Sprintf("/local/domain/%d/data", domain)
		out, err := h.Script(ctx, fmt.Sprintf(`
			xenstore-write %[1]s/text '%[2]s'
			for _ in $(seq 100); do [ "$(xenstore-read %[1]s/answer 2>/dev/null)" = '%[3]s' ] && exit 0; sleep 0.1; done
			xenstore-ls %[1]s; exit 1`, dir, text, answer))
		if err != nil {
			t.Errorf("domain %d: %v\n%s", domain, err, out)
		}
	}
	d, err := h.StartDomain(ctx, testbed.DomainConfig{Name: name, Kernel: join(t, h, name, program), MemoryMiB: 32})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Console.WaitFor(ctx, "words: serving"); err != nil {
		t.Fatal(err)
	}
	ask(d.ID, "how many are these", "4")
	ask(d.ID, "two words", "2")
	if err := d.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if _, err := h.Script(ctx, fmt.Sprintf("%s >/dev/null 2>&1 & echo $! >/tmp/words.pid", h.Path(name))); err != nil {
		t.Fatal(err)
	}
	ask(0, "as a process in dom0", "5")
	if _, err := h.Script(ctx, "kill $(cat /tmp/words.pid); xenstore-rm /local/domain/0/data"); err != nil {
		t.Error(err)
	}
}
