package xentest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"morgana/xen/xentest"
)

func TestReport(t *testing.T) {
	rep := xentest.Report{Results: []xentest.Result{
		{Case: "grant/map", Took: 1500000},
		{Case: "event/bind", Err: "event did not come"},
		{Case: "death/idle", NotRun: "this harness cannot kill the peer"},
		{Case: "measure/events", Figures: []xentest.Figure{{Name: "event round trip", Value: 12.5, Unit: "µs"}}},
	}}
	var text bytes.Buffer
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1.5ms  pass", "FAIL event did not come", "not run: this harness", "event round trip 12.5 µs", "2 passed, 1 failed, 1 not run"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, text.String())
		}
	}
	var js bytes.Buffer
	if err := rep.WriteJSON(&js); err != nil {
		t.Fatal(err)
	}
	var back xentest.Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || len(back.Results) != 4 || len(back.Failed()) != 1 {
		t.Errorf("JSON does not come back: %v, %+v", err, back)
	}
	if err := rep.Err(); err == nil || !strings.Contains(err.Error(), "1 of 4 cases failed: event/bind") {
		t.Errorf("Err: %v", err)
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range xentest.Cases() {
		if seen[c.Name] || c.Initiator == nil || c.Responder == nil {
			t.Errorf("case %q is there twice or lacks a role", c.Name)
		}
		seen[c.Name] = true
	}
}

func TestRelativePathIsRefused(t *testing.T) {
	if _, err := xentest.Run(context.Background(), &xentest.Env{Path: "data/x"}, nil); err == nil {
		t.Error("a rendezvous that each side would look for in its own home was accepted")
	}
}
