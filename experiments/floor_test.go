package experiments

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
)

// directWrites is the ledger of a self-test at 100/s for ten seconds: every write is seen 2 ms
// after its due time, in the first two seconds 200 ms, and acknowledged as ackNs says.
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
		if err := writer.Append(&ledger.Write{ID: i + 1, Scenario: Selftest, Entity: Selftest,
			Op: ledger.Insert, Fate: ledger.Acked,
			IntendedNs: dueNs, EnqueuedNs: dueNs, SentNs: dueNs + 1, CommittedNs: ackNs(dueNs),
			VisibleNs: dueNs + took}); err != nil {
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
	if at.Problem != "" || at.Rate != 100 || at.Writes != 800 || at.P50 < 1.99 || at.P99 > 2.01 ||
		at.Tracker != "poll" {
		t.Errorf("got %+v", at)
	}
	// A server that falls behind by a tenth.
	at = readFloorAt(directWrites(t, func(dueNs int64) int64 {
		return 1e9 + (dueNs-1e9)*11/10 + 1e6
	}), 100)
	if at.Writes != 0 || !strings.Contains(at.Problem, "took only 91 writes a second") {
		t.Errorf("got %+v", at)
	}
	// A server that gives up ends the ledger too early.
	cut := filepath.Join(t.TempDir(), "ledger.jsonl")
	whole := readFile(t, directWrites(t, func(dueNs int64) int64 { return dueNs }))
	writeFile(t, cut, whole[:strings.LastIndex(strings.TrimSpace(whole), "\n")+1])
	if at = readFloorAt(cut, 100); at.Writes != 0 || !strings.Contains(at.Problem, "k6.log") {
		t.Errorf("got %+v", at)
	}
	if at = readFloorAt(filepath.Join(t.TempDir(), "none"), 100); at.Problem == "" ||
		at.Writes != 0 {
		t.Errorf("got %+v", at)
	}
}

func TestFloorOneAfterAnother(t *testing.T) {
	t.Parallel()
	floor, err := readFloor(directWrites(t, func(dueNs int64) int64 { return dueNs + 1e6 }), 0)
	if err != nil || floor.Writes != 1000 ||
		time.Duration(floor.ResolutionMs*1e6) != time.Millisecond || floor.P95 < 190 {
		t.Errorf("got %+v, %v", floor, err)
	}
}

// TestFloors: each tracker has a limit, and a rate too high for the server is said in words.
func TestFloors(t *testing.T) {
	t.Parallel()
	if got := new(Floors).Status(); got != reports.Unknown {
		t.Errorf("a floor of 0 writes: %s", got)
	}
	for _, test := range []struct {
		tracker string
		p50     float64
		want    reports.Status
	}{
		{"changestream", 0.9, reports.Pass}, {"changestream", 1.1, reports.Fail},
		{"poll", 1.9, reports.Pass}, {"poll", 2.1, reports.Fail},
	} {
		floors := Floors{Floor: reports.Floor{P50: test.p50, Writes: 300, Tracker: test.tracker},
			Notes: []string{"a note"}}
		floors.AtRates = []FloorAt{
			{Rate: 500, Floor: reports.Floor{P50: 3, P95: 4, P99: 5, Writes: 2500}},
			{Rate: 2000, Problem: "the server took only 7"},
		}
		if got := floors.Status(); got != test.want {
			t.Errorf("%+v: %s, want %s", test, got, test.want)
		}
		var out strings.Builder
		if err := floors.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"a note\n", strings.ToUpper(string(test.want)) +
			"  floor  p50 ",
			"error at 500/s  p50 3.000 ms  p95 4.000 ms  p99 5.000 ms  |  2500 direct writes",
			"error at 2000/s  the server took only 7\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%+v: want %q in\n%s", test, want, &out)
			}
		}
		want := fmt.Sprintf(`{"status":%q,"limitP50":%g,"p50":%g,"p95":0,"p99":0,`+
			`"writes":300,"tracker":%q,"resolutionMs":0,"atRates":[`+
			`{"rate":500,"p50":3,"p95":4,"p99":5,"writes":2500,"tracker":"","resolutionMs":0},`+
			`{"rate":2000,"problem":"the server took only 7"}],"notes":["a note"]}`+"\n", test.want,
			maxFloorMs[test.tracker], test.p50, test.tracker)
		out.Reset()
		if err := floors.WriteJSON(&out); err != nil || out.String() != want {
			t.Errorf("%+v: %v\n%swant\n%s", test, err, &out, want)
		}
	}
}
