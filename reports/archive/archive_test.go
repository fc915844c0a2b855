package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// made returns a stored Run of another name and time, changed.
func made(t *testing.T, id string, start time.Time, change func(*reports.Run)) *reports.Run {
	t.Helper()
	run, err := reports.Load("../testdata/good.json")
	if err != nil {
		t.Fatal(err)
	}
	length := run.TestRun.EndTime.Sub(run.TestRun.StartTime)
	run.TestRun.ID, run.TestRun.StartTime, run.TestRun.EndTime = id, start, start.Add(length)
	if change != nil {
		change(run)
	}
	return run
}

var night = time.Date(2026, 11, 1, 2, 0, 0, 0, time.UTC)

func add(t *testing.T, dir string, run *reports.Run) string {
	t.Helper()
	path, err := Add(dir, run)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRead: Runs come back by key in the order of time, each once, with the numbers and the
// verdict; what is no Run is passed over, and a damaged Run costs no other.
func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, n := range []int{3, 1, 2} {
		add(t, dir, made(t, "n", night.AddDate(0, 0, n), nil))
	}
	first := add(t, dir, made(t, "n", night.AddDate(0, 0, 1), nil)) // again
	add(t, dir, made(t, "other", night, func(r *reports.Run) {
		r.Provenance.Config["rate"] = "200"
	}))
	for name, text := range map[string]string{
		"gate.json": `{"schemaVersion": 1}`, "notes.txt": `{"schemaVersion": 2, "testRun": {}}`,
		"broken.json": `{"schemaVersion": 2, "testRun": {`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	groups, err := Read(dir, time.Time{})
	if err == nil || !strings.Contains(err.Error(), "broken.json") ||
		strings.Contains(err.Error(), "notes") || strings.Contains(err.Error(), "gate.json") {
		t.Errorf("got %v, want an error about broken.json alone", err)
	}
	if len(groups) != 2 || len(groups[0].Entries)+len(groups[1].Entries) != 4 {
		t.Fatalf("got %d groups: %+v", len(groups), groups)
	}
	for _, group := range groups {
		for i, run := range group.Runs() {
			if run.Verdict.Status != reports.Pass || run.Summary.Latency.P50 == 0 {
				t.Errorf("%+v", run.Verdict)
			}
			if i > 0 && !run.TestRun.StartTime.After(group.Entries[i-1].Run.TestRun.StartTime) {
				t.Error("not in the order of time")
			}
		}
	}
	if info, err := os.Stat(first); err != nil || info.Size() > 80_000 {
		t.Errorf("%v, %d bytes: the histograms are there still", err, info.Size())
	}
	later, _ := Read(dir, night.AddDate(0, 0, 2))
	if len(later) != 1 || len(later[0].Entries) != 2 {
		t.Errorf("since the third night: %+v", later)
	}
}

// TestKeys: whatever forbids a comparison makes another key.
func TestKeys(t *testing.T) {
	t.Parallel()
	key := KeyOf(made(t, "a", night, nil))
	if other := KeyOf(made(t, "b", night.AddDate(0, 1, 0), func(r *reports.Run) {
		r.Provenance.Commit, r.Provenance.Dirty = "other", true
		r.Provenance.ConsumerSHA256 = "other"
	})); other != key {
		t.Errorf("another build has another key: %+v", other)
	}
	for name, change := range map[string]func(*reports.Run){
		"machine":  func(r *reports.Run) { r.Provenance.Host.Fingerprint = "other" },
		"stack":    func(r *reports.Run) { r.Provenance.Stack = "native" },
		"mongo":    func(r *reports.Run) { r.Provenance.MongoKind = "mongod" },
		"tmpfs":    func(r *reports.Run) { r.Provenance.Tmpfs = false },
		"tracker":  func(r *reports.Run) { r.Tracker.Kind = "poll" },
		"config":   func(r *reports.Run) { r.Provenance.Config["rate"] = "7" },
		"setting":  func(r *reports.Run) { r.Provenance.Config["x"] = "" },
		"scenario": func(r *reports.Run) { r.TestRun.Scenario = "spike" },
		"schema":   func(r *reports.Run) { r.SchemaVersion++ },
		"faults":   func(r *reports.Run) { r.Faults = []reports.FaultWindow{{Name: "kill"}} },
	} {
		if KeyOf(made(t, "a", night, change)) == key {
			t.Errorf("another %s has the same key", name)
		}
	}
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a [b]*")
	run := made(t, "now", night, nil)
	why := func(want string) {
		t.Helper()
		samples, why, err := Baseline(dir, run)
		if err != nil || len(samples) > 0 || !strings.Contains(why, want) ||
			want == "" && why != "" || strings.Contains(why, "\n") {
			t.Errorf("%d samples, %q, %v, want %q", len(samples), why, err, want)
		}
	}
	why("")
	save := func(runs ...*reports.Run) []string {
		t.Helper()
		paths, err := SaveBaseline(dir, runs...)
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	save(made(t, "foreign", night, func(r *reports.Run) {
		r.Provenance.Host.Fingerprint = "other"
	}))
	why("is of another machine; `cdclab baseline save RUN.json` stores one of this one " +
		"(5f2b6c01aa30)")
	save(made(t, "faster", night, func(r *reports.Run) { r.Provenance.Config["rate"] = "9" }))
	why("is of another load, server or schema")
	for n := range mostSamples + 3 {
		save(made(t, "old", night.AddDate(0, 0, n-200), nil))
	}
	why("Not compared: the newest of 20 samples of the baseline is 178 days old")
	save(made(t, "new", night.AddDate(0, 0, -1), nil))
	samples, reason, err := Baseline(dir, run)
	if err != nil || len(samples) != mostSamples || reason != "" ||
		samples[mostSamples-1].TestRun.ID != "new" {
		t.Errorf("%d samples, %q, %v", len(samples), reason, err)
	}
	accepted := made(t, "accepted", night, func(r *reports.Run) { r.Provenance.Commit = "meant" })
	paths, err := AcceptBaseline(dir, accepted, made(t, "too", night.Add(time.Hour), nil))
	samples, _, readErr := Baseline(dir, run)
	if errors.Join(err, readErr) != nil || len(paths) != 2 || len(samples) != 2 ||
		samples[0].Provenance.Commit != "meant" {
		t.Errorf("%v, %v: %d samples", err, readErr, len(samples))
	}
	if err := os.WriteFile(paths[0], []byte(`{"schemaVersion": 2, "testRun"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Baseline(dir, run); err == nil || !strings.Contains(err.Error(), paths[0]) {
		t.Errorf("got %v, want an error that names %s", err, paths[0])
	}
}

// TestBaselineRefuses: a Run that did not pass is no sample, and nothing is stored beside it.
func TestBaselineRefuses(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*reports.Run){
		"the verdict of run bad is unknown: x": func(r *reports.Run) {
			r.Verdict = reports.Verdict{Status: reports.Unknown, Reasons: []string{"x"}}
		},
		"schema version 2, this lab writes": func(r *reports.Run) { r.SchemaVersion = 2 },
		`"../x" cannot be a file name`:      func(r *reports.Run) { r.TestRun.Scenario = "../x" },
		`"" cannot be a file name`:          func(r *reports.Run) { r.Provenance.Stack = "" },
	} {
		dir := t.TempDir()
		_, err := SaveBaseline(dir, made(t, "bad", night, change))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if files, _ := os.ReadDir(dir); len(files) != 0 {
			t.Errorf("%s: it left %v", want, files)
		}
	}
}

// TestPrune: of old Runs the last of each week stays, and the newest Run always.
func TestPrune(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for n := range 60 {
		add(t, dir, made(t, "nightly", night.AddDate(0, 0, n), nil))
	}
	add(t, dir, made(t, "once", night.AddDate(-3, 0, 0), func(r *reports.Run) {
		r.TestRun.Scenario = "soak"
	}))
	now := night.AddDate(0, 0, 60)
	prune := func(policy Policy) (left int) {
		t.Helper()
		groups, err := Read(dir, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		removed, err := policy.Prune(groups, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range removed {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is there still", path)
			}
		}
		for _, group := range groups {
			left += len(group.Entries)
		}
		return left - len(removed)
	}
	// 14 nights, the last Runs of six weeks before and of the week that the nights begin in, soak.
	for _, c := range []struct {
		policy Policy
		left   int
	}{{Policy{90, 52}, 61}, {Policy{14, 52}, 14 + 7 + 1}, {Policy{14, 52}, 14 + 7 + 1},
		{Policy{7, 4}, 7 + 3 + 1}, {Policy{}, 2}} {
		if left := prune(c.policy); left < c.left-1 || left > c.left+1 {
			t.Errorf("%+v leaves %d runs, want about %d", c.policy, left, c.left)
		}
	}
}
