package experiments

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestK6Exits: of k6's exit codes, 99 is a measurement whose thresholds were crossed; any other but 0 is no
// measurement, and told with the end of k6's log.
func TestK6Exits(t *testing.T) {
	program := filepath.Join(t.TempDir(), "k6")
	text := `#!/bin/sh
for argument; do case $argument in file=*) printf '%s' "$LOG" > "${argument#file=}";; esac; done
exit $CODE
`
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int]string{
		0: "", k6ThresholdsFailed: "", 107: "k6 smoke.js: exit status 107\nthe \"reason\"\n\tat script.js:7", 108: "k6 smoke.js: exit status 108\nthe \"reason\"\n\tat script.js:7",
	} {
		g := generator{program: program, scenario: "smoke.js", dir: t.TempDir(), env: map[string]string{
			"CODE": fmt.Sprint(code), "LOG": `time="2026-11-27T09:00:34Z" level=error msg="the \"reason\"\n\tat script.js:7\n" hint="script exception"`,
		}}
		got, err := g.run(t.Context())
		if want == "" && (err != nil || got != code) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("code %d: got %d, %v, want %q", code, got, err, want)
		}
	}
}

// TestComplaints: what a script throws in its iterations does not end k6, so the report must tell it.
func TestComplaints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k6.log")
	writeFile(t, path, `time="2026-11-27T09:00:33Z" level=warning msg="The \"legacy\" summary mode has been deprecated"
time="2026-11-27T09:00:34Z" level=error msg="GoError: lab.write(): no entity \"customers\": want one of customer\n\tat default (file:///s.js:4:84(3))\n" executor=per-vu-iterations
time="2026-11-27T09:00:34Z" level=warning msg="cdc: a write (insert of order) is failed: ERROR: it violates (SQLSTATE 23514)"
time="2026-11-27T09:00:35Z" level=error msg="GoError: lab.write(): no entity \"customers\": want one of customer\n\tat default (file:///s.js:4:84(3))\n" executor=per-vu-iterations
time="2026-11-27T09:00:36Z" level=error msg="thresholds on metrics 'cdc_e2e_latency_ms' have been crossed"
time="2026-11-27T09:00:37Z" level=error msg="test run was aborted because k6 received a 'interrupt' signal"
`)
	want := []string{
		`k6 logged 2 times: GoError: lab.write(): no entity "customers": want one of customer`,
		"k6 logged: cdc: a write (insert of order) is failed: ERROR: it violates (SQLSTATE 23514)",
	}
	if diff := cmp.Diff(want, complaints(path)); diff != "" {
		t.Error(diff)
	}
	if all := complaints(path + ".none"); all != nil {
		t.Errorf("%v", all)
	}
}
