package k6files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestComplaints: the report tells the script's exceptions, because an exception in an iteration
// does not end k6.
func TestComplaints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k6.log")
	write(t, path, `time="2026-11-27T09:00:33Z" level=warning `+
		`msg="The \"legacy\" summary mode has been deprecated"
time="2026-11-27T09:00:34Z" level=error `+
		`msg="GoError: lab.write(): no entity \"customers\": want one of customer`+
		`\n\tat default (file:///s.js:4:84(3))\n" executor=per-vu-iterations
time="2026-11-27T09:00:34Z" level=warning `+
		`msg="cdc: a write (insert of order) is failed: ERROR: it violates (SQLSTATE 23514)"
time="2026-11-27T09:00:35Z" level=error `+
		`msg="GoError: lab.write(): no entity \"customers\": want one of customer`+
		`\n\tat default (file:///s.js:4:84(3))\n" executor=per-vu-iterations
time="2026-11-27T09:00:36Z" level=error `+
		`msg="thresholds on metrics 'cdc_e2e_latency_ms' have been crossed"
time="2026-11-27T09:00:37Z" level=error `+
		`msg="test run was aborted because k6 received a 'interrupt' signal"
`)
	want := []string{
		`k6 logged 2 times: GoError: lab.write(): no entity "customers": want one of customer`,
		"k6 logged: cdc: a write (insert of order) is failed: ERROR: it violates (SQLSTATE 23514)",
	}
	if diff := cmp.Diff(want, Complaints(path)); diff != "" {
		t.Error(diff)
	}
	if all := Complaints(path + ".none"); all != nil {
		t.Errorf("%v", all)
	}
}
