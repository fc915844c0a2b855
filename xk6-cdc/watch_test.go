package cdc

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/types"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

func labOn(t testing.TB, s *server, change func(*Options)) (*Lab, *logtest.Hook) {
	t.Helper()
	options := DefaultOptions()
	options.Mongo, options.Database = s.uri(), "labtest"
	options.Ledger = filepath.Join(t.TempDir(), "ledger.jsonl")
	options.Timeout = types.Duration(20 * time.Second)
	if change != nil {
		change(&options)
	}
	logger, hook := logtest.NewNullLogger()
	logger.SetLevel(logrus.WarnLevel)
	return newLab(options, nil, logger), hook
}

func readLedger(t testing.TB, lab *Lab) (ledger.Header, []ledger.Write, ledger.End) {
	t.Helper()
	var writes []ledger.Write
	header, end, err := ledger.Read(lab.options.Ledger, func(w ledger.Write) error {
		writes = append(writes, w)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return header, writes, end
}

func TestSelftest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, tracker string
		flags         []string
		want          ledger.Header
		warns         bool
	}{
		{"change stream", TrackAuto, nil, ledger.Header{Tracker: TrackChangeStream}, false},
		{"poll", TrackPoll, nil, ledger.Header{Tracker: TrackPoll, ResolutionNs: 1e6}, false},
		{"no change streams", TrackAuto, []string{"--standalone"}, ledger.Header{Tracker: TrackPoll, ResolutionNs: 1e6}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			lab, logged := labOn(t, startServer(t, test.flags...), func(o *Options) { o.Tracker = test.tracker })
			if err := lab.Selftest(t.Context(), SelftestPlan{Writes: 20}, &lib.Options{}); err != nil {
				t.Fatal(err)
			}
			header, writes, end := readLedger(t, lab)
			if header.Tracker != test.want.Tracker || header.ResolutionNs != test.want.ResolutionNs || header.Seed != 1 {
				t.Errorf("header %+v", header)
			}
			if len(writes) != 20 || end.Outstanding != 0 || end.TrackerErrors != 0 {
				t.Errorf("%d writes, end %+v", len(writes), end)
			}
			// What either does is counted: a poll's finds, a stream's own reads.
			budget := map[string]float64{TrackPoll: pollBudget, TrackChangeStream: streamBudget}[header.Tracker]
			if end.BudgetAsked != budget || end.BudgetKept <= 0 || end.BudgetKept > 1 {
				t.Errorf("kept %v of a budget of %v, want one of %v", end.BudgetKept, end.BudgetAsked, budget)
			}
			if (end.SlowestLookNs > 0) != (header.Tracker == TrackPoll) {
				t.Errorf("slowest look %d ns", end.SlowestLookNs)
			}
			for _, w := range writes {
				if w.Scenario != "selftest" || w.Entity != "selftest" || w.Fate != ledger.Acked || w.SentNs <= 0 ||
					w.CommittedNs <= w.SentNs || w.VisibleNs <= w.SentNs || w.Superseded || w.TimedOut {
					t.Errorf("write %+v", w)
				}
			}
			if warned := len(logged.AllEntries()) > 0; warned != test.warns {
				t.Errorf("warned: %v", warned)
			}
		})
	}
}

// At a rate the writes come when they are due, however long the tracker takes to see them, and each
// latency begins then.
func TestSelftestAtARate(t *testing.T) {
	t.Parallel()
	lab, _ := labOn(t, startServer(t), func(o *Options) { o.Tracker = TrackPoll })
	const writes, rate = 100, 200
	if err := lab.Selftest(t.Context(), SelftestPlan{writes, rate}, &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	_, all, end := readLedger(t, lab)
	slices.SortFunc(all, func(a, b ledger.Write) int { return cmp.Compare(a.IntendedNs, b.IntendedNs) })
	overlap := false
	versions := map[string]int64{}
	for i, w := range all {
		if w.Fate != ledger.Acked || w.VisibleNs == 0 || w.SentNs < w.IntendedNs || w.ID <= versions[w.Key] {
			t.Errorf("write %+v", w)
		}
		versions[w.Key] = w.ID
		if i == 0 {
			continue
		}
		if gap := w.IntendedNs - all[i-1].IntendedNs; gap != int64(time.Second)/rate {
			t.Errorf("write %d is due %d ns after the one before", i, gap)
		}
		overlap = overlap || w.SentNs < all[i-1].VisibleNs
	}
	// The budget lets a poll look 4 times a second at first: no write waits for that.
	if len(all) != writes || end.Outstanding != 0 || !overlap {
		t.Errorf("%d writes, overlap %v, end %+v", len(all), overlap, end)
	}
}

func TestWatchErrors(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--standalone")
	for want, change := range map[string]func(*Options){
		`option "tracker"`: func(o *Options) { o.Tracker = TrackChangeStream },
		`option "ledger"`:  func(o *Options) { o.Ledger = "/no/such/folder/ledger" },
		`option "mongo"`:   func(o *Options) { o.Mongo = "mongo://x" },
	} {
		lab, _ := labOn(t, s, change)
		if err := lab.Selftest(t.Context(), SelftestPlan{Writes: 1}, &lib.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// The consumer's ways to write, as both trackers see them.
func TestTrackersSeeTheConsumersWrites(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, tracker := range []string{TrackChangeStream, TrackPoll} {
		t.Run(tracker, func(t *testing.T) {
			t.Parallel()
			lab, _ := labOn(t, s, func(o *Options) { o.Tracker, o.Database = tracker, "as"+tracker })
			if err := lab.watch(t.Context()); err != nil {
				t.Fatal(err)
			}
			database := s.client(t).Database(lab.options.Database)
			set := func(collection, id string, fields bson.D) {
				t.Helper()
				if _, err := database.Collection(collection).UpdateByID(t.Context(), id,
					bson.D{{Key: "$set", Value: fields}}, options.UpdateOne().SetUpsert(true)); err != nil {
					t.Fatal(err)
				}
			}
			item := func(version int64) bson.D {
				return bson.D{{Key: versionMember, Value: version}, {Key: "quantity", Value: 1}}
			}
			orders := func(key string) place {
				if key == "o" {
					return place{"orders", "o", ""}
				}
				return place{"orders", "o", "items"}
			}
			for id, step := range []struct {
				op    ledger.Op
				key   string
				place place
				do    func(id int64)
			}{
				{ledger.Insert, "c", place{collection: "customers", document: "c"}, func(id int64) { set("customers", "c", bson.D{{Key: versionMember, Value: id}}) }},
				{ledger.Update, "c", place{collection: "customers", document: "c"}, func(id int64) { set("customers", "c", bson.D{{Key: versionMember, Value: id}}) }},
				{ledger.Delete, "c", place{collection: "customers", document: "c"}, func(int64) { set("customers", "c", bson.D{{Key: deletedMember, Value: true}}) }},
				{ledger.Insert, "i", orders("i"), func(id int64) {
					set("orders", "o", bson.D{{Key: metadataMember + ".shell", Value: true}, {Key: "items.i", Value: item(id)}})
				}},
				{ledger.Insert, "o", orders("o"), func(id int64) { set("orders", "o", bson.D{{Key: versionMember, Value: id}}) }},
				{ledger.Update, "i", orders("i"), func(id int64) { set("orders", "o", bson.D{{Key: "items.i", Value: item(id)}}) }},
				{ledger.Update, "i", orders("i"), func(id int64) { set("orders", "o", bson.D{{Key: "items.i." + versionMember, Value: id}}) }},
				{ledger.Insert, "j", orders("j"), func(id int64) { set("orders", "o", bson.D{{Key: "items.j", Value: item(id)}}) }},
				{ledger.Delete, "i", orders("i"), func(int64) {
					set("orders", "o", bson.D{{Key: "items.i", Value: bson.D{{Key: metadataMember, Value: bson.D{{Key: "deleted", Value: true}}}}}})
				}},
				{ledger.Delete, "j", orders("j"), func(int64) { set("orders", "o", bson.D{{Key: "items.j." + deletedMember, Value: true}}) }},
			} {
				p := awaited(lab, int64(id)+1, step.op, step.key, step.place)
				lab.tracker.expect(p)
				step.do(p.id)
				waitSeen(t, p)
				lab.tracker.settle(p, ledger.Acked, lab.now(), nil)
			}
			if err := lab.end(true); err != nil {
				t.Fatal(err)
			}
			if _, writes, _ := readLedger(t, lab); len(writes) != 10 {
				t.Errorf("%d writes", len(writes))
			}
		})
	}
}

// awaited is a write whose row shows at a place.
func awaited(lab *Lab, id int64, op ledger.Op, key string, at place) *pending {
	return &pending{
		kind: &kind{op: op, shelf: &shelf{collection: at.collection, field: at.field}},
		row:  &row{key: key, parent: &row{key: at.document}}, id: id, intendedNs: lab.now(), seen: make(chan struct{}),
	}
}

func waitSeen(t *testing.T, p *pending) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case <-p.seen:
	case <-ctx.Done():
		t.Fatalf("%s %s %d was never seen", p.op, p.row.key, p.id)
	}
}

// A crash of the server in the middle: the stream comes back and nothing is missed.
func TestStreamSurvivesACrash(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	lab, _ := labOn(t, s, nil)
	if err := lab.watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	customers := s.client(t).Database(lab.options.Database).Collection("customers")
	for id, crash := range []bool{false, true, false} {
		p := awaited(lab, int64(id)+1, ledger.Update, "c", place{collection: "customers", document: "c"})
		lab.tracker.expect(p)
		if crash {
			s.kill()
			s.start(t)
		}
		if _, err := customers.UpdateByID(t.Context(), "c", bson.D{{Key: "$set", Value: bson.D{{Key: versionMember, Value: p.id}}}},
			options.UpdateOne().SetUpsert(true)); err != nil {
			t.Fatal(err)
		}
		waitSeen(t, p)
		lab.tracker.settle(p, ledger.Acked, lab.now(), nil)
	}
	if err := lab.end(true); err != nil {
		t.Fatal(err)
	}
	_, writes, end := readLedger(t, lab)
	if len(writes) != 3 || end.TrackerErrors < 1 {
		t.Errorf("%d writes, end %+v", len(writes), end)
	}
}
