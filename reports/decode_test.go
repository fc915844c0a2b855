package reports

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func encoded(t testing.TB, r *Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDecodeIsInverseOfEncode(t *testing.T) {
	t.Parallel()
	for _, run := range []*Run{goodRun(t), chaosRun(t), unmeasuredRun(t)} {
		text := encoded(t, run)
		got, err := Decode(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text, encoded(t, got)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestEncodeLeavesTheRunAlone: the empty lists are for the file only.
func TestEncodeLeavesTheRunAlone(t *testing.T) {
	t.Parallel()
	run := unmeasuredRun(nil)
	if text := encoded(t, run); strings.Contains(text, "null") {
		t.Errorf("the JSON holds null:\n%s", text)
	}
	if run.Notes != nil || run.Consistency.Counts != nil {
		t.Error("Encode changed the run")
	}
}

// TestDecodeRefuses has one mistake a row: in the stored good run, old is replaced by new.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := encoded(t, goodRun(t))
	for _, c := range []struct{ name, old, new, want string }{
		{"wrong version", `"schemaVersion": 2`, `"schemaVersion": 1`, "schemaVersion: got 1, want 2"},
		{"text version", `"schemaVersion": 2`, `"schemaVersion": "2"`, `schemaVersion: got "2", want 2`},
		{"no version", `"schemaVersion": 2,`, ``, "schemaVersion: missing"},
		{"missing member", `"dirty": false,`, ``, "provenance.dirty: missing"},
		{"missing in a list", `"second": 1,`, ``, "series[1].second: missing"},
		{"unknown member", `"dirty": false,`, `"dirty": false, "clean": true,`, "provenance.clean: unknown member"},
		{"other case", `"dirty": false,`, `"Dirty": false,`, "provenance.dirty: missing"},
		{"null", `"dirty": false,`, `"dirty": null,`, "provenance.dirty: null"},
		{"null list", `"faults": []`, `"faults": null`, "faults: null"},
		{"wrong type", `"dirty": false,`, `"dirty": "no",`, "provenance.dirty: got a string at byte"},
		{"object wanted", `"cpuStealPercent": 0.3`, `"cpuStealPercent": {}`, "host.cpuStealPercent: got a object"},
		{"fraction of a write", `"timeouts": 0`, `"timeouts": 0.5`, "summary.timeouts: got a number 0.5"},
		{"negative count", `"timeouts": 0`, `"timeouts": -1`, "summary.timeouts: got -1"},
		{"negative percent", `"cpuStealPercent": 0.3`, `"cpuStealPercent": -0.3`, "host.cpuStealPercent: got -0.3"},
		{"unbelievable count", `"timeouts": 0`, `"timeouts": 1000000000000001`, "summary.timeouts: got 1.000000000000001e+15"},
		{"unbelievable latency", `"max": 4.`, `"max": 9999999994.`, "latency.max: got 9.99"},
		{"second year", `"second": 59,`, `"second": 99999999,`, "series[59].second: 99999999 after 58"},
		{"negative memory", `"memoryBytes": 8589934592`, `"memoryBytes": -1`, "provenance.host.memoryBytes: got -1"},
		{"beyond a float", `"cpuStealPercent": 0.3`, `"cpuStealPercent": 1e999`, "host.cpuStealPercent: got a number 1e999"},
		{"more late than timeouts", `"late": 0`, `"late": 2`, "summary.late: 2 of 0 timeouts"},
		{"share above 1", `"trackedShare": 1`, `"trackedShare": 1.5`, "tracker.trackedShare: got 1.5"},
		{"asked share 0", `"askedShare": 1`, `"askedShare": 0`, "tracker.askedShare: 0"},
		{"error rate above 1", `"rate": 0`, `"rate": 3`, "summary.errors.rate: got 3"},
		{"empty id", `"id": "baseline-20261122-075547"`, `"id": ""`, "testRun.id: empty"},
		{"empty scenario", `"scenario": "baseline"`, `"scenario": ""`, "testRun.scenario: empty"},
		{"empty stack", `"stack": "embedded"`, `"stack": ""`, "provenance.stack: empty"},
		{"no start", `"startTime": "2026-11-22T07:55:47Z"`, `"startTime": "0001-01-01T00:00:00Z"`, "testRun.startTime: empty"},
		{"end before start", `"endTime": "2026-11-22T07:56:47Z"`, `"endTime": "2026-11-22T07:55:00Z"`, "testRun.endTime: "},
		{"bad time", `"endTime": "2026-11-22T07:56:47Z"`, `"endTime": "tomorrow"`, "tomorrow"},
		{"wrong status", `"status": "pass"`, `"status": "good"`, `verdict.status: got "good"`},
		{"fail for no reason", `"status": "pass"`, `"status": "fail"`, "verdict.reasons: fail without a reason"},
		{"passed with violations", `"violations": []`, `"violations": [{"name":"x","limit":"< 1","value":2}]`, "thresholds.passed: true with 1 violations"},
		{"unknown stage", `"stage": "commit"`, `"stage": "comit"`, `.stage: got "comit"`},
		{"stage twice", `"stage": "commit"`, `"stage": "e2e"`, "a second row for"},
		{"wrong count", `"count": 6000`, `"count": 5999`, "stages[0].histogram: has 6000 samples, count is 5999"},
		{"broken histogram", `"histogram": "HIST`, `"histogram": "XXXX`, "stages[0].histogram: "},
		{"wrong consistency", `"ok": 4310`, `"fine": 4310`, `consistency.counts: got "fine"`},
		{"negative consistency", `"ok": 4310`, `"ok": -4310`, "consistency.counts.ok: got -4310"},
		{"checked with an error", `"error": ""`, `"error": "timeout"`, `consistency.checked: true with the error "timeout"`},
		{"seconds backwards", `"second": 5,`, `"second": 3,`, "series[5].second: 3 after 4"},
		{"two runs", "}\n", "}{}", "something follows the run at byte"},
		{"not an object", good, `[]`, "want a JSON object"},
		{"nothing", good, ``, "JSON is truncated: it ends at byte 0"},
		{"truncated", good, good[:1000], "JSON is truncated: it ends at byte 1000"},
		{"not JSON", good, `{"schemaVersion": 1; }`, "bad JSON at byte 20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(good, c.old) {
				t.Fatalf("the good run does not hold %s", c.old)
			}
			at := strings.Index(good, c.old)
			if c.name == "two runs" {
				at = strings.LastIndex(good, c.old)
			}
			_, err := Decode(strings.NewReader(good[:at] + c.new + good[at+len(c.old):]))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestValidateFaults: the good run has none.
func TestValidateFaults(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*FaultWindow){
		"faults[0].name: empty":         func(f *FaultWindow) { f.Name = "" },
		"faults[0].endSeconds: 1 is":    func(f *FaultWindow) { f.EndSeconds = 1 },
		"faults[0].recoveredSeconds: ":  func(f *FaultWindow) { f.RecoveredSeconds = -2 },
		"faults[0].proxyBytes: got -1":  func(f *FaultWindow) { f.ProxyBytes = -1 },
		"faults[0].insideP50: got -0.5": func(f *FaultWindow) { f.InsideP50 = -0.5 },
	} {
		run := chaosRun(t)
		change(&run.Faults[0])
		if err := run.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if err := run.Encode(new(bytes.Buffer)); err == nil {
			t.Errorf("%s: encoded all the same", want)
		}
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run.json")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want one of fs.ErrNotExist", err)
	}
	if run, err := Load(filepath.Join("testdata", "good.json")); err != nil || run.Verdict.Status != Pass {
		t.Errorf("got %v, %v", run, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schemaVersion": 2}`))
	f.Add([]byte(encoded(f, unmeasuredRun(nil))))
	extreme := unmeasuredRun(nil)
	far := Latency{P50: 1e-300, P95: 1e-300, P99: maxLatencyMs, Max: maxLatencyMs}
	extreme.Summary.TotalOperations = maxNumber
	extreme.Stages = []Stage{{Stage: E2E, Count: 1, Latency: far}, {Stage: Commit, Count: 1},
		{Stage: E2E, Entity: "order", Count: 1, Latency: far}}
	extreme.Series = []Second{{Offered: maxNumber}, {Second: MaxSecond, P99: 1e-300, Max: maxLatencyMs}}
	extreme.Faults = []FaultWindow{{Name: "x", StartSeconds: 5, EndSeconds: maxNumber, Applied: true,
		RecoveredSeconds: maxNumber}}
	extreme.Conclude()
	f.Add([]byte(encoded(f, extreme)))
	f.Fuzz(func(t *testing.T, text []byte) {
		run, err := Decode(bytes.NewReader(text))
		if err != nil {
			return
		}
		again, err := Decode(strings.NewReader(encoded(t, run)))
		if err != nil {
			t.Fatalf("a decoded run cannot be read back: %v", err)
		}
		if diff := cmp.Diff(run, again); diff != "" {
			t.Error(diff)
		}
		var out bytes.Buffer
		if err := errors.Join(WriteText(&out, run, nil, "x"), WriteHTML(&out, run, Compare(run, again))); err != nil {
			t.Error(err)
		}
		for _, wrong := range []string{"NaN", "Inf"} {
			if strings.Contains(out.String(), wrong) && !bytes.Contains(text, []byte(wrong)) {
				t.Errorf("a report holds %s", wrong)
			}
		}
	})
}
