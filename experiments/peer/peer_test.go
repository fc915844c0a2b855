package peer

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/gate"
)

// TestMix: the shares are exact, no event is of a missing row, and a seed draws the same.
func TestMix(t *testing.T) {
	t.Parallel()
	const events = 20_000
	m, again, other := newMix(1), newMix(1), newMix(2)
	ops, live, same := map[byte]int{}, map[int64]bool{}, 0
	for n := range events {
		op, row := m.next()
		if op2, row2 := again.next(); op2 != op || row2 != row {
			t.Fatalf("event %d of the same seed: %c %d and %c %d", n, op, row, op2, row2)
		}
		if op2, row2 := other.next(); op2 == op && row2 == row {
			same++
		}
		if live[row] == (op == 'c') {
			t.Fatalf("event %d: %c of row %d, which is there: %t", n, op, row, live[row])
		}
		live[row] = op != 'd'
		ops[op]++
	}
	if ops['c'] != events/4 || ops['u'] != events*60/100 || ops['d'] != events*15/100 {
		t.Errorf("%v operations of %d events", ops, events)
	}
	if same == events {
		t.Error("two seeds draw the same")
	}
}

// TestHistoryScript: each key is of the right case, and the history has every kind of change.
func TestHistoryScript(t *testing.T) {
	t.Parallel()
	seen := map[int64]bool{}
	for _, name := range caseNames {
		for _, key := range caseKeys(name) {
			for _, k := range []int64{key, key + caseNewOffset} {
				if seen[k] || caseOf(k) != name {
					t.Errorf("key %d of %q is of %q, or of two cases", k, name, caseOf(k))
				}
				seen[k] = true
			}
		}
	}
	for _, key := range []int64{0, 1, 1000, 1021, 1500, 1521, 7001, -1} {
		if name := caseOf(key); name != "" {
			t.Errorf("key %d is of %q", key, name)
		}
	}
	script := historyScript()
	// 120 inserts, 2000 updates; 20 deleted and inserted again (3 records each), 20 TOAST updates,
	// 40 updates, 40 key changes (3 records each), 20 deletes (2).
	if got, want := scriptRecords(script), int64(120+2000+60+20+40+120+40); got != want {
		t.Errorf("%d records, want %d", got, want)
	}
	if text := strings.Join(script, ";"); strings.Contains(text, "KEY)") ||
		strings.Contains(text, "TABLE") {
		t.Error("a statement has a placeholder left")
	}
}

// TestJudge: each planted difference has the right status.
func TestJudge(t *testing.T) {
	t.Parallel()
	row := func(version, name, note string) rowTexts {
		return rowTexts{"version": version, "name": name, "note": note}
	}
	now := row("7", "updated", "long")
	for name, c := range map[string]struct {
		row, document rowTexts
		status        reports.RowStatus
		why           string
	}{
		"equal":        {now, row("7", "updated", "long"), reports.OK, ""},
		"gone in both": {nil, nil, reports.OK, ""},
		"no document":  {now, nil, reports.Lost, "there is a row of version 7 and no document"},
		"no row": {nil, now, reports.Resurrected,
			"there is no such row, but a document of version 7"},
		"older": {now, row("6", "updated", "long"), reports.Stale, "version 6 of 7"},
		"newer": {now, row("8", "updated", "long"), reports.Corrupt,
			`version is "8", in the row "7"`},
		"placeholder": {now, row("7", "updated", "?"), reports.Corrupt,
			`note is "?", in the row "long"`},
		"member missing": {now, rowTexts{"version": "7", "name": "updated"}, reports.Corrupt,
			`note is "", in the row "long"`},
		"member too many": {rowTexts{"version": "7", "name": "updated"}, now, reports.Corrupt,
			`note is "long", in the row ""`},
		"without versions": {now, rowTexts{"name": "updated", "note": "long"}, reports.Corrupt,
			`version is "", in the row "7"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, why := judge(c.row, c.document); status != c.status || why != c.why {
				t.Errorf("%s (%s), want %s (%s)", status, why, c.status, c.why)
			}
		})
	}
	if got, want := inShort(strings.Repeat("é", 50)), `"éééééééé"... (50 characters)`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestJudgeCases: a difference planted in a case is counted there, and in no other.
func TestJudgeCases(t *testing.T) {
	t.Parallel()
	rows, documents := map[int64]rowTexts{}, map[int64]rowTexts{}
	for _, name := range caseNames {
		for _, key := range caseKeys(name) {
			switch name {
			case caseDeleted:
				continue
			case caseKey, caseKeyToast:
				key += caseNewOffset
			}
			rows[key] = rowTexts{"version": "2", "name": "n"}
			documents[key] = rowTexts{"version": "2", "name": "n"}
		}
	}
	for _, c := range judgeCases(OwnSink, rows, documents) {
		if !c.OK() || c.Sink != OwnSink || c.Example != "" {
			t.Errorf("equal, and yet %+v", c)
		}
	}
	documents[1001] = rowTexts{"version": "1", "name": "n"}    // stale
	delete(documents, 1002)                                    // lost
	documents[2003] = rowTexts{"version": "2", "name": "n"}    // resurrected
	documents[5001] = rowTexts{"version": "1", "name": "n"}    // the old key of a change
	documents[6501] = rowTexts{"version": "2", "name": "else"} // corrupt
	documents[9999] = rowTexts{"version": "1", "name": "n"}    // a key that nobody wrote
	got := map[string]map[reports.RowStatus]int{}
	for _, c := range judgeCases(MongoSink, rows, documents) {
		got[c.Name] = c.Keys
		if c.OK() != (c.Example == "") {
			t.Errorf("%s: ok %t with the example %q", c.Name, c.OK(), c.Example)
		}
	}
	want := map[string]map[reports.RowStatus]int{
		caseUpdated:  {reports.OK: 18, reports.Stale: 1, reports.Lost: 1, reports.Resurrected: 1},
		caseDeleted:  {reports.OK: 19, reports.Resurrected: 1},
		caseInserted: {reports.OK: 20},
		caseToast:    {reports.OK: 20},
		caseKey:      {reports.OK: 39, reports.Resurrected: 1},
		caseKeyToast: {reports.OK: 39, reports.Corrupt: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys by status (-want +got):\n%s", diff)
	}
}

// TestWatcher: a row going back or coming back is counted once, a row only going on is not.
func TestWatcher(t *testing.T) {
	t.Parallel()
	updated, deleted := caseKeys(caseUpdated), caseKeys(caseDeleted)
	read := func(change map[int64]string, gone ...int64) map[int64]rowTexts {
		rows := map[int64]rowTexts{}
		for _, key := range updated {
			rows[key] = rowTexts{"version": "50"}
		}
		for key, version := range change {
			rows[key] = rowTexts{"version": version}
		}
		for _, key := range gone {
			delete(rows, key)
		}
		return rows
	}
	w := newWatcher(MongoSink)
	w.check(read(nil))
	w.check(read(map[int64]string{updated[0]: "51"}))
	if w.seen.WentBack != 0 || w.seen.Reappeared != 0 || w.seen.Example != "" {
		t.Errorf("nothing went back, and yet %+v", w.seen)
	}
	w.check(read(nil)) // 51, then 50
	w.check(read(map[int64]string{updated[0]: "3", updated[1]: "9"}, updated[2]))
	w.check(read(map[int64]string{deleted[4]: "7"}))
	w.check(read(map[int64]string{updated[0]: "3", deleted[4]: "8"}))
	want := Watched{Sink: MongoSink, Looks: 6, WentBack: 3, Reappeared: 1,
		Example: fmt.Sprintf("key %d: version 50 after 51", updated[0])}
	if diff := cmp.Diff(want, w.seen); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

func testRounds() []Round {
	var rounds []Round
	for round, peerCPU := range []float64{99, 10, 40, 20} {
		rounds = append(rounds,
			Round{Round: round, Sink: MongoSink, Server: NullServer, Events: 1000,
				DrainSeconds: peerCPU / 2, CPUSeconds: peerCPU, PeakRSSBytes: 800 << 20},
			Round{Round: round, Sink: OwnSink, Server: NullServer, Events: 1000, DrainSeconds: 4,
				CPUSeconds: 5, PeakRSSBytes: int64(round) << 20})
	}
	return rounds
}

// TestSummarise: medians of the counted rounds, and the ratio of the medians.
func TestSummarise(t *testing.T) {
	t.Parallel()
	want := []Summary{
		{MongoSink, NullServer, 3, 50, 62.5, 100, 800 << 20},
		{OwnSink, NullServer, 3, 200, 200, 250, 2 << 20},
	}
	r := &Result{Events: 1000, Rounds: testRounds(), Summaries: summarise(testRounds(), 0.4)}
	if diff := cmp.Diff(want, r.Summaries); diff != "" {
		t.Errorf("medians (-want +got):\n%s", diff)
	}
	if got, ok := r.Ratio(NullServer); !ok || got != (Ratio{4, 2.5, 2.0 / 800}) {
		t.Errorf("ratio %+v, %t", got, ok)
	}
	if _, ok := r.Ratio("mongod"); ok {
		t.Error("a ratio of what was not measured")
	}
	if got := gate.Median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("the median of four is %g", got)
	}
	if faults := r.Faults(); faults != nil {
		t.Errorf("faults %q", faults)
	}
	r.Rounds[3].Events = 999
	fault := []string{"round 1: cdclab took care of 999 of 1000 events"}
	if got := r.Faults(); !slices.Equal(got, fault) {
		t.Errorf("faults %q, want %q", got, fault)
	}
}

// TestWarnings: a busy machine is said, but for the uncounted round.
func TestWarnings(t *testing.T) {
	t.Parallel()
	r := &Result{Rounds: testRounds()}
	r.Rounds[0].OthersCores, r.Rounds[2].OthersCores = 2, 0.2
	if warnings := r.Warnings(); warnings != nil {
		t.Errorf("warnings %q of a quiet machine", warnings)
	}
	r.Rounds[3].OthersCores, r.Rounds[4].OthersCores = 0.5, 1.25
	if got := r.Warnings(); len(got) != 1 ||
		!strings.Contains(got[0], "in 2 rounds other processes took up to 1.25 cores") {
		t.Errorf("warnings %q", got)
	}
}

// TestOwnFailures: the peer's faults are findings, the consumer's are failures.
func TestOwnFailures(t *testing.T) {
	t.Parallel()
	bad := map[reports.RowStatus]int{reports.OK: 19, reports.Corrupt: 1}
	r := &Result{History: History{
		Cases: []Case{{caseToast, MongoSink, bad, "key 1"},
			{caseToast, OwnSink, map[reports.RowStatus]int{reports.OK: 20}, ""}},
		Watched: []Watched{{MongoSink, 9, 20, 20, "back"}, {OwnSink, 9, 0, 0, ""}}}}
	if failures := r.OwnFailures(); failures != nil {
		t.Errorf("failures %q of the peer", failures)
	}
	r.History.Cases[1] = Case{caseToast, OwnSink, bad, "key 2"}
	r.History.Watched[1].Reappeared, r.History.Watched[1].Example = 1, "key 3"
	if got, want := r.OwnFailures(), []string{caseToast + ": key 2",
		"seen by a reader: key 3"}; !slices.Equal(got, want) {
		t.Errorf("failures %q, want %q", got, want)
	}
}

// TestVerdict: a failure of the consumer beats a round that nobody can trust.
func TestVerdict(t *testing.T) {
	t.Parallel()
	if v := new(Result).Verdict(); v.Status != reports.Unknown || len(v.Reasons) != 2 {
		t.Errorf("nothing compared: %+v", v)
	}
	speed := Summary{Server: NullServer, PerCore: 1, PerSecond: 1, PeakRSSBytes: 1}
	own, peer := speed, speed
	own.Sink, peer.Sink = OwnSink, MongoSink
	r := &Result{Events: 9, Rounds: []Round{{Sink: MongoSink, Events: 9}},
		Summaries: []Summary{own, peer}, History: History{Cases: []Case{
			{caseToast, OwnSink, map[reports.RowStatus]int{reports.OK: 20}, ""}}}}
	want := func(status reports.Status, reasons int) {
		t.Helper()
		if got := r.Verdict(); got.Status != status || len(got.Reasons) != reasons {
			t.Errorf("%+v, want %s with %d reasons", got, status, reasons)
		}
		if line := r.LastLine("x.json"); !strings.HasPrefix(line,
			strings.ToUpper(string(status))+"  ") {
			t.Error(line)
		}
	}
	want(reports.Pass, 0)
	r.Rounds[0].Events = 8
	want(reports.Unknown, 1)
	r.History.Watched = []Watched{{OwnSink, 9, 0, 1, "key 3"}}
	want(reports.Fail, 2)
}

// TestWrite: the tables hold every round, the medians, the ratio and each case.
func TestWrite(t *testing.T) {
	t.Parallel()
	r := &Result{Events: 1000, Records: 1150, BytesPerEvent: 876, Rounds: testRounds(),
		Summaries: summarise(testRounds(), 0.4),
		Connector: map[string]string{"tasks.max": "4"},
		Versions:  map[string]string{"connector": "Debezium X", "mongo": "mongod Y"}}
	r.History = History{Records: 2400, Duplicates: 2000,
		Cases: []Case{{caseToast, MongoSink, map[reports.RowStatus]int{reports.Corrupt: 20},
			"key 4001: lost"}},
		Watched: []Watched{{MongoSink, 9, 20, 19, "key 1"}}}
	var text bytes.Buffer
	if err := Write(&text, r); err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	for line := range strings.Lines(text.String()) {
		lines[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		"1000 events (1150 records, 876 bytes an event, schemas off, 0 partitions), " +
			"captured by Debezium X",
		"warm-up MongoDB sink null 1000 0 0.00 49.50 99.00 20 10 800 0.0 0.00",
		"2 cdclab null 1000 0 0.00 4.00 5.00 250 200 2 0.0 0.00",
		"median MongoDB sink null 100 50 800",
		"ratio cdclab / peer null 2.50 4.00 0.003",
		caseToast + " MongoDB sink 0 0 0 0 20 key 4001: lost",
		"A reader of MongoDB sink during the duplicates (9 looks): " +
			"20 of 20 updated rows went back, 19 of 20 deleted rows reappeared. key 1",
	} {
		if !lines[want] {
			t.Errorf("no line %q in\n%s", want, text.String())
		}
	}
}

// TestLastRecords: the last of all partitions by time, each partition's in order, byte for byte.
func TestLastRecords(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_800_000_000_000)
	record := func(partition int32, offset int64, after time.Duration) *kgo.Record {
		return &kgo.Record{Topic: "t", Partition: partition, Offset: offset,
			Timestamp: at.Add(after), Key: []byte{byte(offset)},
			Value: []byte{byte(partition), byte(offset)}, Headers: []kgo.RecordHeader{{Key: "h"}}}
	}
	all := map[int32][]*kgo.Record{
		0: {record(0, 0, 0), record(0, 1, 2*time.Second), record(0, 2, 4*time.Second)},
		1: {record(1, 0, time.Second), record(1, 1, 3*time.Second)},
	}
	var got [][]byte
	for _, r := range lastRecords(all, 3) {
		if r.Topic != "t" || len(r.Headers) != 1 || !r.Timestamp.IsZero() ||
			int32(r.Value[0]) != r.Partition {
			t.Errorf("%+v", r)
		}
		got = append(got, r.Value)
	}
	if diff := cmp.Diff([][]byte{{0, 1}, {1, 1}, {0, 2}}, got); diff != "" {
		t.Errorf("the last three (-want +got):\n%s", diff)
	}
	if n := len(lastRecords(all, 99)); n != 5 {
		t.Errorf("%d of 5 records", n)
	}
}

// TestValidate: a member that cannot run is refused before anything is started, by name.
func TestValidate(t *testing.T) {
	t.Parallel()
	sound := DefaultConfig()
	if err := sound.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"events 0":     func(c *Config) { c.Events = 0 },
		"rounds 0":     func(c *Config) { c.Rounds = 0 },
		"tasks 0":      func(c *Config) { c.Tasks = 0 },
		"duplicates 0": func(c *Config) { c.Duplicates = 0 },
		"embedded":     func(c *Config) { c.Stack.Kind = "embedded" },
		"profile x":    func(c *Config) { c.Stack.Profile = "x" },
	} {
		c := DefaultConfig()
		change(&c)
		if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error that names %q", err, want)
		}
	}
}
