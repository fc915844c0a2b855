package reports

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func encoded(t testing.TB, r *Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var update = flag.Bool("update", false, "write the example runs anew")

func examples(t *testing.T) map[string]*Run {
	return map[string]*Run{"good": goodRun(t), "chaos": chaosRun(t), "unmeasured": unmeasuredRun(t),
		"extreme": extremeRun(t)}
}

// TestExamples: testdata holds the example runs as files, drawn by the tests of package render.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, run := range examples(t) {
		path, text := filepath.Join("testdata", name+".json"), encoded(t, run)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		stored, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v (run go test -update to make it)", err)
		}
		if diff := cmp.Diff(string(stored), text); diff != "" {
			t.Errorf("%s (-stored +got):\n%s", path, diff)
		}
	}
}

func TestDecodeIsInverseOfEncode(t *testing.T) {
	t.Parallel()
	for name, run := range examples(t) {
		text := encoded(t, run)
		got, err := Decode(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(run, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
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

// mistake is a change of the stored good run: old is replaced by new.
type mistake struct{ name, old, new, want string }

var mistakes = []mistake{
	{"wrong version", `"schemaVersion": 3`, `"schemaVersion": 1`,
		"schemaVersion: got 1, want 2 or 3"},
	{"newer version", `"schemaVersion": 3`, `"schemaVersion": 4`,
		"schemaVersion: got 4, want 2 or 3"},
	{"histograms of an old version", `"schemaVersion": 3`, `"schemaVersion": 2`,
		"histograms: unknown in version 2"},
	{"wrong block", `"blockSeconds": 1`, `"blockSeconds": 3`, "histograms.blockSeconds: got 3"},
	{"broken blocks", `"blocks": "`, `"blocks": "!`, "histograms.series[0].blocks: block 0: "},
	{"more samples than the stage", `"entity": "address", "operation": "delete"`,
		`"entity": "nobody", "operation": "delete"`, "histograms.series[0].count: "},
	{"text version", `"schemaVersion": 3`, `"schemaVersion": "3"`,
		`schemaVersion: got "3", want 2 or 3`},
	{"no version", `"schemaVersion": 3,`, ``, "schemaVersion: missing"},
	{"missing member", `"dirty": false,`, ``, "provenance.dirty: missing"},
	{"missing in a list", `"second": 1,`, ``, "series[1].second: missing"},
	{"unknown member", `"dirty": false,`, `"dirty": false, "clean": true,`,
		"provenance.clean: unknown member"},
	{"other case", `"dirty": false,`, `"Dirty": false,`, "provenance.dirty: missing"},
	{"null", `"dirty": false,`, `"dirty": null,`, "provenance.dirty: null"},
	{"null list", `"faults": []`, `"faults": null`, "faults: null"},
	{"wrong type", `"dirty": false,`, `"dirty": "no",`, "provenance.dirty: got a string at byte"},
	{"object wanted", `"cpuStealPercent": 0.3`, `"cpuStealPercent": {}`,
		"host.cpuStealPercent: got a object"},
	{"fraction of a write", `"timeouts": 0`, `"timeouts": 0.5`,
		"summary.timeouts: got a number 0.5"},
	{"negative count", `"timeouts": 0`, `"timeouts": -1`, "summary.timeouts: got -1"},
	{"less than no drops", `"droppedIterations": 0`, `"droppedIterations": -2`,
		"summary.droppedIterations: got -2"},
	{"no memory at a look", `"values": [`, `"values": [-2,`, "looks.gauges[0].values[0]: got -2"},
	{"negative percent", `"cpuStealPercent": 0.3`, `"cpuStealPercent": -0.3`,
		"host.cpuStealPercent: got -0.3"},
	{"unbelievable count", `"timeouts": 0`, `"timeouts": 1000000000000001`,
		"summary.timeouts: got 1.000000000000001e+15"},
	{"unbelievable latency", `"max": 4.`, `"max": 9999999994.`, "latency.max: got 9.99"},
	{"second year", `"second": 59,`, `"second": 99999999,`, "series[59].second: 99999999 after 58"},
	{"negative memory", `"memoryBytes": 8589934592`, `"memoryBytes": -1`,
		"provenance.host.memoryBytes: got -1"},
	{"beyond a float", `"cpuStealPercent": 0.3`, `"cpuStealPercent": 1e999`,
		"host.cpuStealPercent: got a number 1e999"},
	{"more late than timeouts", `"late": 0`, `"late": 2`, "summary.late: 2 of 0 timeouts"},
	{"share above 1", `"trackedShare": 1`, `"trackedShare": 1.5`, "tracker.trackedShare: got 1.5"},
	{"asked share 0", `"askedShare": 1`, `"askedShare": 0`, "tracker.askedShare: 0"},
	{"error rate above 1", `"rate": 0`, `"rate": 3`, "summary.errors.rate: got 3"},
	{"empty id", `"id": "baseline-20261122-075547"`, `"id": ""`, "testRun.id: empty"},
	{"empty scenario", `"scenario": "baseline"`, `"scenario": ""`, "testRun.scenario: empty"},
	{"empty stack", `"stack": "embedded"`, `"stack": ""`, "provenance.stack: empty"},
	{"no start", `"startTime": "2026-11-22T07:55:47Z"`, `"startTime": "0001-01-01T00:00:00Z"`,
		"testRun.startTime: empty"},
	{"end before start", `"endTime": "2026-11-22T07:56:47Z"`, `"endTime": "2026-11-22T07:55:00Z"`,
		"testRun.endTime: "},
	{"bad time", `"endTime": "2026-11-22T07:56:47Z"`, `"endTime": "tomorrow"`, "tomorrow"},
	{"wrong status", `"status": "pass"`, `"status": "good"`, `verdict.status: got "good"`},
	{"fail for no reason", `"status": "pass"`, `"status": "fail"`,
		"verdict.reasons: fail without a reason"},
	{"passed with violations", `"violations": []`,
		`"violations": [{"name":"x","limit":"< 1","value":2}]`,
		"thresholds.passed: true with 1 violations"},
	{"unknown stage", `"stage": "commit"`, `"stage": "comit"`, `.stage: got "comit"`},
	{"stage twice", `"stage": "commit"`, `"stage": "e2e"`, "a second row for"},
	{"wrong count", `"count": 6000`, `"count": 5999`, "stages[0].histogram: has 6000 samples, " +
		"count is 5999"},
	{"broken histogram", `"histogram": "HIST`, `"histogram": "XXXX`, "stages[0].histogram: "},
	{"wrong consistency", `"ok": 4310`, `"fine": 4310`, `consistency.counts: got "fine"`},
	{"negative consistency", `"ok": 4310`, `"ok": -4310`, "consistency.counts.ok: got -4310"},
	{"checked with an error", `"error": ""`, `"error": "timeout"`,
		`consistency.checked: true with the error "timeout"`},
	{"seconds backwards", `"second": 5,`, `"second": 3,`, "series[5].second: 3 after 4"},
	{"member twice", `"dirty": false,`, `"dirty": false, "dirty": false,`,
		"provenance.dirty: twice"},
	{"unknown object", `"dirty": false,`, `"dirty": false, "x": {"y": [1]},`,
		"provenance.x: unknown member"},
	{"contradiction", `"p95": 2.977`, `"p95": 3.1`, "summary.latency: {P50:2.189 P95:3.1 "},
	{"endless load", `"durationSeconds": 60`, `"durationSeconds": 1e14`,
		"testRun.durationSeconds: got 1e+14"},
	{"not a number", `"durationSeconds": 60`, `"durationSeconds": NaN`, "bad JSON at byte"},
	{"endless list", `"notes": [`, `"notes": [` + strings.Repeat(`"",`, maxItems),
		"notes: more than 604801 items"},
	{"a look before all time", `"seconds": [`, `"seconds": [-1e300,`,
		"looks.seconds[0]: got -1e+300"},
	{"two runs", "}\n", "}{}", "something follows the run at byte"},
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := encoded(t, goodRun(t))
	whole := []mistake{
		{"not an object", good, `[]`, "want a JSON object"},
		{"nothing", good, ``, "JSON is truncated: it ends at byte 0"},
		{"truncated", good, good[:1000], "JSON is truncated: it ends at byte 1000"},
		{"not JSON", good, `{"schemaVersion": 1; }`, "bad JSON at byte 20"},
	}
	for _, c := range append(whole, mistakes...) {
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
	if run, err := Load(filepath.Join("testdata", "good.json")); err != nil ||
		run.Verdict.Status != Pass {
		t.Errorf("got %v, %v", run, err)
	}
}

// TestStoredPassIsNoEvidence: a loaded run is judged by what it holds.
func TestStoredPassIsNoEvidence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Run)
		status Status
		reason string
	}{
		"good":        {func(*Run) {}, Pass, ""},
		"nothing":     {func(r *Run) { r.Summary.TotalOperations = 0 }, Unknown, "Of 0 operations"},
		"lost":        {func(r *Run) { r.Consistency.Counts[Lost] = 37 }, Fail, "37 rows"},
		"not checked": {func(r *Run) { r.Consistency = Consistency{} }, Unknown, "not compared"},
		"slow": {func(r *Run) {
			for i := range r.Stages {
				r.Stages[i].P99, r.Stages[i].Max = 9000, 9000
			}
			r.Summary.Latency.P99, r.Summary.Latency.Max = 9000, 9000
		}, Fail, "E2e p99 is 9000"},
		"crossed": {func(r *Run) {
			r.Thresholds = Thresholds{false, []Violation{{"k6 checks", "rate>0.9", 0.5}}, nil}
		}, Fail, "K6 checks"},
		"a lag of no look": {func(r *Run) { r.Looks = Looks{} }, Unknown, "lag was not seen"},
		"a stored fail":    {func(r *Run) { r.Verdict = fail("It was so.") }, Fail, "It was so."},
	} {
		path, run := filepath.Join(t.TempDir(), "run.json"), goodRun(t)
		c.change(run)
		if run.Verdict.Status != Pass && name != "a stored fail" {
			t.Fatalf("%s: not stored as a pass", name)
		}
		if err := run.Save(path); err != nil {
			t.Fatal(err)
		}
		for range 2 { // as stored, and as stored again after it was judged
			got, err := Load(path)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if v := got.Verdict; v.Status != c.status ||
				(c.reason == "") != (len(v.Reasons) == 0) ||
				!strings.Contains(strings.Join(v.Reasons, "\n"), c.reason) {
				t.Errorf("%s: %+v, want %s %q", name, v, c.status, c.reason)
			}
			if n := len(got.Verdict.Reasons); n > 1 && name != "not checked" {
				t.Errorf("%s: a reason twice: %q", name, got.Verdict.Reasons)
			}
			if err := got.Save(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDecodeIsFrugal: reading hostile text takes a few times the text's own memory.
func TestDecodeIsFrugal(t *testing.T) {
	good := encoded(t, goodRun(t))
	for name, text := range map[string]string{
		"empty texts": strings.Replace(good, `"notes": [`,
			`"notes": [`+strings.Repeat(`"",`, 3e6), 1),
		"empty lists":   `{"schemaVersion": 3, "stages": [` + strings.Repeat(`[],`, 3e6) + `[]]}`,
		"empty objects": `{"schemaVersion": 3, "stages": [` + strings.Repeat(`{},`, 3e6) + `{}]}`,
		"depth": `{"schemaVersion": 3, "x": ` + strings.Repeat(`[`, 4e6) +
			strings.Repeat(`]`, 4e6) + `}`,
		"names": `{"schemaVersion": 3, "x": {` + strings.Repeat(`"":0,`, 2e6) + `"":0}}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Decode(strings.NewReader(text)); err == nil {
			t.Errorf("%s: decoded", name)
		}
		runtime.ReadMemStats(&after)
		if times := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(text)); times > 25 {
			t.Errorf("%s: took %.0f times its own %d bytes", name, times, len(text))
		}
	}
}

// TestOlderVersions: a Run stored by an older lab is read, judged and stored again.
func TestOlderVersions(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/version2/*.json")
	if err != nil || len(paths) != 4 {
		t.Fatalf("%v, %v", paths, err)
	}
	const baseline = "../baselines/embedded/baseline/e6c20aec9bca-secantusd-rs-2-1ec71455/" +
		"20261124-002638-baseline-20261124-002625.json"
	for _, path := range append(paths, baseline) {
		run, err := Load(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if run.SchemaVersion != 2 {
			t.Errorf("%s: version %d", path, run.SchemaVersion)
		}
		again, err := Decode(strings.NewReader(encoded(t, run)))
		if err != nil {
			t.Error(err)
			continue
		}
		run.SchemaVersion = SchemaVersion
		if diff := cmp.Diff(run, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

// TestLongRun: a Run of a day is written and read, and one of a week is within the bound of both.
func TestLongRun(t *testing.T) {
	t.Parallel()
	const day = 24 * 3600
	run := unmeasuredRun(nil)
	run.Series = make([]Second, day)
	recorder := NewRecorder()
	for i := range run.Series {
		run.Series[i] = Second{Second: i, Offered: 10_000, Committed: 10_000, Visible: 10_000,
			P50: 4004.123, P95: 16_016.023, P99: 18_118.207, Max: 18_629.963039,
			Outstanding: 10_000}
		recorder.Add(E2E, "order", "insert", i, time.Millisecond)
	}
	run.Histograms, run.Stages = recorder.Histograms(), recorder.Stages()
	run.Conclude()
	text := encoded(t, run)
	if week := len(text) / day * maxItems; week > maxEncodedBytes {
		t.Errorf("a week has %d bytes, of which %d are read", week, maxEncodedBytes)
	}
	again, err := Decode(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	h := again.Histograms
	if h.BlockSeconds != 32 || h.Series[0].Count != day || len(again.Series) != day {
		t.Errorf("%d seconds, %d samples in blocks of %d s", len(again.Series), h.Series[0].Count,
			h.BlockSeconds)
	}
	run.Series = append(run.Series, make([]Second, maxItems)...)
	for i := range run.Series {
		run.Series[i].Second = i
	}
	if err := run.Encode(new(bytes.Buffer)); err == nil {
		t.Error("more than a week was encoded")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schemaVersion": 3}`))
	f.Add([]byte(encoded(f, unmeasuredRun(nil))))
	small := unmeasuredRun(nil)
	recorder := NewRecorder()
	recorder.Add(E2E, "order", "insert", 3, 5*time.Millisecond)
	small.Stages, small.Series = recorder.Stages(), recorder.Seconds()
	small.Histograms = recorder.Histograms()
	small.Conclude()
	f.Add([]byte(encoded(f, small)))
	f.Add([]byte(encoded(f, extremeRun(nil))))
	f.Fuzz(func(t *testing.T, text []byte) {
		run, err := Decode(bytes.NewReader(text))
		if err != nil {
			return
		}
		run.SchemaVersion = SchemaVersion // the version in which it is stored again
		again, err := Decode(strings.NewReader(encoded(t, run)))
		if err != nil {
			t.Fatalf("a decoded run cannot be read back: %v", err)
		}
		if diff := cmp.Diff(run, again, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}
