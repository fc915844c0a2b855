package experiments

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
)

// storable returns the least Run that can be stored.
func storable() *reports.Run {
	now := time.Unix(1_000, 0).UTC()
	run := &reports.Run{
		TestRun: reports.TestRun{ID: "x", Scenario: "smoke", StartTime: now, EndTime: now},
		Tracker: reports.Tracker{AskedShare: 1}, Provenance: reports.Provenance{Stack: "embedded"},
	}
	run.Conclude()
	return run
}

// prepareOut prepares a folder until the end of the test.
func prepareOut(t *testing.T, out, name string) *Folder {
	t.Helper()
	f, err := PrepareOut(out, name, time.Unix(1_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestFolderOfARun: a folder with any file of a run is refused before anything starts, whatever
// the folder is called; the files of others and the logs of a lab that could not run are no run.
func TestFolderOfARun(t *testing.T) {
	t.Parallel()
	for _, left := range []string{
		"run.json", "report.html", "ledger.jsonl", "started", "status", "k6-summary.json",
		"ramp/k6.log", "probe-12/ledger.jsonl", "sink-peer.json",
		"1-smoke/run.json", "12-my load/ledger.jsonl",
	} {
		out := filepath.Join(t.TempDir(), "odd [a-z]*, 100% = \n")
		if err := os.MkdirAll(filepath.Join(out, filepath.Dir(left)), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(out, left), "old")
		_, err := PrepareOut(out, "smoke", time.Now())
		first, _, _ := strings.Cut(left, "/")
		if err == nil || !strings.Contains(err.Error(), out) ||
			!strings.Contains(err.Error(), "holds a run already ("+first) {
			t.Errorf("%s: %v", left, err)
		}
		if got := readFile(t, filepath.Join(out, left)); got != "old" {
			t.Errorf("%s holds %q", left, got)
		}
	}
	other := t.TempDir()
	for _, name := range []string{"notes.txt", "stack.log", "k6.log"} {
		writeFile(t, filepath.Join(other, name), "mine")
	}
	earlier := filepath.Join(other, "2026-11-29-smoke")
	if err := os.Mkdir(earlier, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(earlier, "run.json"), "a folder of folders")
	prepareOut(t, other, "smoke")
}

// TestFolderIsForOneRun: a second run is refused until the first is over, by any path.
func TestFolderIsForOneRun(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	first := prepareOut(t, out, "smoke")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(out, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{out, link, out + "/./"} {
		if _, err := PrepareOut(path, "smoke", time.Now()); err == nil ||
			!strings.Contains(err.Error(), "in use by another run") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := prepareOut(t, link, "smoke")
	if entries, err := os.ReadDir(second.Path); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v: a folder not written to is not empty", entries, err)
	}
}

// TestFoldersOfOneSecond: runs that begin in the same second get a folder each, and the folder's
// name is fit for a path.
func TestFoldersOfOneSecond(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{"consumer/cmd/consumer", "runs"} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, "go.mod", "")
	var made []string
	for _, name := range []string{"smoke", "smoke", "smoke", "my load", "нагрузка",
		"a/b\n", strings.Repeat("ж", 120)} {
		made = append(made, filepath.Base(prepareOut(t, "", name).Path))
	}
	want := []string{"smoke-19700101-001640", "smoke-19700101-001640-2",
		"smoke-19700101-001640-3", "my load-19700101-001640", "нагрузка-19700101-001640",
		"a%2Fb%0A-19700101-001640"}
	got := made[len(made)-1]
	if !strings.HasPrefix(got, strings.Repeat("ж", 66)+"-") || len(got) > 180 {
		t.Errorf("%s: want the beginning of the name and a hash", got)
	}
	if diff := cmp.Diff(want[:6], made[:len(want)]); diff != "" {
		t.Error(diff)
	}
}

// TestFullDisk: the room kept in the folder is enough for the run where nothing else is left, and a
// run that cannot be stored there at all is stored elsewhere, and says where.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	f := prepareOut(t, t.TempDir(), "smoke")
	info, err := f.room.Stat()
	if err != nil || info.Size() != roomBytes {
		t.Errorf("%v: the folder keeps %d bytes, want %d", err, info.Size(), roomBytes)
	}
	if entries, err := os.ReadDir(f.Path); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v: the room has a name, and would be left by a killed lab", entries, err)
	}
	if err := os.Remove(f.Path); err != nil {
		t.Fatal(err)
	}
	run := storable()
	result, err := f.WriteResult(run, nil)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Dir(result.ReportPath)
	defer os.RemoveAll(elsewhere)
	stored, err := reports.Load(filepath.Join(elsewhere, "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(stored.Warnings, "\n"); !strings.Contains(all,
		"the run is in "+elsewhere) ||
		!strings.Contains(all, f.Path) {
		t.Errorf("warnings %q", stored.Warnings)
	}
}

// TestUnstorableMember: a number that no file can hold costs only its member. A refused run leaves
// the old run.json alone.
func TestUnstorableMember(t *testing.T) {
	t.Parallel()
	f := prepareOut(t, t.TempDir(), "smoke")
	path := filepath.Join(f.Path, "run.json")
	if err := f.saveRun(storable()); err != nil {
		t.Fatal(err)
	}
	before := readFile(t, path)
	run := storable()
	var zero float64
	run.Summary.Throughput.Offered, run.Summary.TotalOperations = 1/zero, 7
	if err := f.saveRun(run); err == nil || readFile(t, path) != before {
		t.Errorf("%v; run.json holds %.40q", err, readFile(t, path))
	}
	if _, err := f.WriteResult(run, nil); err != nil {
		t.Fatal(err)
	}
	stored, err := reports.Load(path)
	if err != nil || stored.Summary.TotalOperations != 7 ||
		!strings.Contains(strings.Join(stored.Verdict.Reasons, " "),
			"throughput.offered: got +Inf") {
		t.Errorf("%v, %+v", err, stored)
	}
}

// TestRecover: the run of a lab killed under the load, or in the ramp of a search, gets its numbers
// from the ledger, and stays unknown; any other run stays as stored.
func TestRecover(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", "ramp"} {
		f := prepareOut(t, t.TempDir(), "smoke")
		l := &load{environment: &environment{out: f},
			k6: &generator{dir: filepath.Join(f.Path, dir)}, run: storable()}
		l.keepBeforeLoad()
		if err := os.MkdirAll(l.k6.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeLedger(t, l.k6.ledgerPath(),
			[]ledger.Write{due(1, 0), due(2, second), due(3, 2*second)})
		text := readFile(t, l.k6.ledgerPath())
		writeFile(t, l.k6.ledgerPath(), text[:strings.LastIndex(text[:len(text)-1], "\n")+1])
		run, err := LoadRun(filepath.Join(f.Path, runName))
		if err != nil {
			t.Fatal(err)
		}
		e2e, _ := run.StageOf(reports.E2E, "", "")
		reasons := strings.Join(run.Verdict.Reasons, "\n")
		if run.Summary.TotalOperations != 3 || e2e.Count != 3 || !run.Ledger.Truncated ||
			run.Verdict.Status != reports.Unknown || !strings.Contains(reasons, endedUnderLoad) ||
			run.Ledger.Path != filepath.Join(dir, "ledger.jsonl") {
			t.Errorf("%d operations, %+v, %+v, %s for\n%s", run.Summary.TotalOperations, e2e,
				run.Ledger, run.Verdict.Status, reasons)
		}
		if err := run.Encode(io.Discard); err != nil {
			t.Error(err)
		}
		for _, other := range []func(*reports.Run){
			func(run *reports.Run) { run.TestRun.EndedBy = "" },
			func(run *reports.Run) { run.Ledger.Path = "../" + filepath.Base(f.Path) + "/x" },
		} {
			run, err := reports.Load(filepath.Join(f.Path, runName))
			if err != nil {
				t.Fatal(err)
			}
			other(run)
			path := filepath.Join(f.Path, "other.json")
			if err := run.Save(path); err != nil {
				t.Fatal(err)
			}
			if run, err := LoadRun(path); err != nil || run.Summary.TotalOperations != 0 {
				t.Errorf("%v: another run was changed: %+v", err, run)
			}
		}
	}
}
