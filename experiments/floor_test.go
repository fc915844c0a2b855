package experiments

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// directWrites is the ledger of a self-test at 100/s for ten seconds: every write is seen 2 ms after it
// was due, in the first two seconds 200 ms, and acknowledged as ackNs says.
func directWrites(t *testing.T, ackNs func(dueNs int64) int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	writer, err := ledger.Create(path, ledger.Header{Tracker: "poll", ResolutionNs: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(1000) {
		dueNs := 1e9 + i*1e7
		took := int64(2e6)
		if i < 200 {
			took = 2e8
		}
		if err := writer.Append(&ledger.Write{ID: i + 1, Scenario: Selftest, Entity: Selftest, Op: ledger.Insert, Fate: ledger.Acked,
			IntendedNs: dueNs, EnqueuedNs: dueNs, SentNs: dueNs + 1, CommittedNs: ackNs(dueNs), VisibleNs: dueNs + took}); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(ledger.End{}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFloorAtARate(t *testing.T) {
	t.Parallel()
	at := readFloorAt(directWrites(t, func(dueNs int64) int64 { return dueNs + 1e6 }), 100)
	if at.Problem != "" || at.Rate != 100 || at.Writes != 800 || at.P50 < 1.99 || at.P99 > 2.01 || at.Tracker != "poll" {
		t.Errorf("got %+v", at)
	}
	// A server that falls behind by a tenth.
	at = readFloorAt(directWrites(t, func(dueNs int64) int64 { return 1e9 + (dueNs-1e9)*11/10 + 1e6 }), 100)
	if at.Writes != 0 || !strings.Contains(at.Problem, "took only 91 writes a second") {
		t.Errorf("got %+v", at)
	}
	// A server that gives up, which ends the ledger before its time.
	cut := filepath.Join(t.TempDir(), "ledger.jsonl")
	whole := readFile(t, directWrites(t, func(dueNs int64) int64 { return dueNs }))
	writeFile(t, cut, whole[:strings.LastIndex(strings.TrimSpace(whole), "\n")+1])
	if at = readFloorAt(cut, 100); at.Writes != 0 || !strings.Contains(at.Problem, "k6.log") {
		t.Errorf("got %+v", at)
	}
	if at = readFloorAt(filepath.Join(t.TempDir(), "none"), 100); at.Problem == "" || at.Writes != 0 {
		t.Errorf("got %+v", at)
	}
}

func TestFloorOneAfterAnother(t *testing.T) {
	t.Parallel()
	floor, err := readFloor(directWrites(t, func(dueNs int64) int64 { return dueNs + 1e6 }), 0)
	if err != nil || floor.Writes != 1000 || time.Duration(floor.ResolutionMs*1e6) != time.Millisecond || floor.P95 < 190 {
		t.Errorf("got %+v, %v", floor, err)
	}
}
