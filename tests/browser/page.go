package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Page is a page that is open. Safe for concurrent use.
type Page struct {
	b       *Browser
	target  string
	session string

	mu   sync.Mutex
	said []string
}

// Open opens a page in a window of a size in pixels, and waits until it is loaded.
func (b *Browser) Open(ctx context.Context, url string, width, height int) (*Page, error) {
	var target struct {
		ID string `json:"targetId"`
	}
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var session struct {
		ID string `json:"sessionId"`
	}
	if err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &session); err != nil {
		return nil, err
	}
	p := &Page{b: b, target: target.ID, session: session.ID}
	b.mu.Lock()
	b.pages[session.ID] = p
	b.mu.Unlock()
	for _, domain := range []string{"Runtime.enable", "Log.enable", "Network.enable", "Page.enable"} {
		if err := p.call(ctx, domain, nil, nil); err != nil {
			return nil, err
		}
	}
	if err := p.Resize(ctx, width, height); err != nil {
		return nil, err
	}
	if err := p.call(ctx, "Page.navigate", map[string]any{"url": url}, nil); err != nil {
		return nil, err
	}
	return p, p.Wait(ctx, `document.readyState === "complete" && location.href !== "about:blank"`)
}

func (p *Page) call(ctx context.Context, method string, params, result any) error {
	return p.b.call(ctx, p.session, method, params, result)
}

// Resize gives the window another size. One that is narrower than 600 pixels is a telephone's.
func (p *Page) Resize(ctx context.Context, width, height int) error {
	return p.call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
	}, nil)
}

// Dark has the page shown as for a reader who prefers dark pages, or light ones.
func (p *Page) Dark(ctx context.Context, dark bool) error {
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	return p.call(ctx, "Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	}, nil)
}

// event notes what goes wrong.
func (p *Page) event(m message) {
	var e struct {
		Type    string `json:"type"`
		Args    []struct{ Value, Description any }
		Entry   struct{ Level, Text, URL string }
		Details struct {
			Text      string
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	if json.Unmarshal(m.Params, &e) != nil {
		return
	}
	line := ""
	switch m.Method {
	case "Runtime.consoleAPICalled":
		if e.Type != "error" && e.Type != "warning" {
			return
		}
		for _, a := range e.Args {
			line += fmt.Sprint(a.Value, a.Description, " ")
		}
	case "Runtime.exceptionThrown":
		line = e.Details.Text + " " + e.Details.Exception.Description
	case "Log.entryAdded":
		if e.Entry.Level != "error" && e.Entry.Level != "warning" {
			return
		}
		line = e.Entry.Text + " " + e.Entry.URL
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, m.Method+": "+strings.TrimSpace(line))
}

// Said is what went wrong: errors and warnings of the page's console, exceptions, what could not be loaded or was refused.
func (p *Page) Said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.said...)
}

// Run runs an expression and reads its value, which JSON can have, into v; nil for none. Promises are waited for.
func (p *Page) Run(ctx context.Context, expression string, v any) error {
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	if err := p.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r); err != nil {
		return err
	}
	if r.Exception != nil {
		return fmt.Errorf("%s: %s", expression, r.Exception.Exception.Description)
	}
	if v == nil || len(r.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(r.Result.Value, v)
}

// Text is the value of an expression, as text.
func (p *Page) Text(ctx context.Context, expression string) (s string, err error) {
	err = p.Run(ctx, "String("+expression+")", &s)
	return s, err
}

// Wait waits until an expression is true.
func (p *Page) Wait(ctx context.Context, expression string) error {
	for {
		is := false
		if err := p.Run(ctx, "Boolean("+expression+")", &is); err != nil && ctx.Err() == nil {
			return err
		}
		if is {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s does not become true: %w", expression, context.Cause(ctx))
		}
	}
}

// keys are those that are not characters, by their names in KeyboardEvent.key: their codes.
var keys = map[string]int{
	"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35,
}

// Press presses a key and lets it go: one of keys, or a character.
func (p *Page) Press(ctx context.Context, key string) error {
	down := map[string]any{"type": "keyDown", "key": key}
	switch code, named := keys[key]; {
	case key == "Enter":
		down["text"] = "\r"
		fallthrough
	case named:
		down["code"], down["windowsVirtualKeyCode"] = key, code
	default:
		down["text"] = key
	}
	if err := p.call(ctx, "Input.dispatchKeyEvent", down, nil); err != nil {
		return err
	}
	delete(down, "text")
	down["type"] = "keyUp"
	return p.call(ctx, "Input.dispatchKeyEvent", down, nil)
}

// Type types text, a key after the other.
func (p *Page) Type(ctx context.Context, text string) error {
	for _, r := range text {
		if err := p.Press(ctx, string(r)); err != nil {
			return err
		}
	}
	return nil
}

// Screenshot is the window as a PNG; whole is the whole page instead.
func (p *Page) Screenshot(ctx context.Context, whole bool) ([]byte, error) {
	var r struct {
		Data []byte `json:"data"`
	}
	err := p.call(ctx, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": whole}, &r)
	return r.Data, err
}
