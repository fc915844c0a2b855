package cdc

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/types"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

func generatorOn(t testing.TB, s *servertest.Mongo, change func(*Options)) (*Generator,
	*logtest.Hook) {
	t.Helper()
	options := DefaultOptions()
	options.Mongo, options.Database = s.URI(), "labtest"
	options.Ledger = filepath.Join(t.TempDir(), "ledger.jsonl")
	options.Timeout = types.Duration(20 * time.Second)
	if change != nil {
		change(&options)
	}
	logger, hook := logtest.NewNullLogger()
	logger.SetLevel(logrus.WarnLevel)
	return newGenerator(options, nil, logger), hook
}

func readLedger(t testing.TB, g *Generator) (ledger.Header, []ledger.Write, ledger.End) {
	t.Helper()
	var writes []ledger.Write
	header, end, err := ledger.Read(g.options.Ledger, func(w ledger.Write) error {
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
		{"change stream", tracker.Auto, nil, ledger.Header{Tracker: tracker.ChangeStream}, false},
		{"poll", tracker.Poll, nil, ledger.Header{Tracker: tracker.Poll, ResolutionNs: 1e6}, false},
		{"no change streams", tracker.Auto, []string{"--standalone"},
			ledger.Header{Tracker: tracker.Poll, ResolutionNs: 1e6}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g, logged := generatorOn(t, servertest.StartMongo(t, test.flags...), func(o *Options) {
				o.Tracker = test.tracker
			})
			if err := g.Selftest(t.Context(), SelftestPlan{Writes: 20},
				&lib.Options{}); err != nil {
				t.Fatal(err)
			}
			header, writes, end := readLedger(t, g)
			if header.Tracker != test.want.Tracker ||
				header.ResolutionNs != test.want.ResolutionNs || header.Seed != 1 {
				t.Errorf("header %+v", header)
			}
			if len(writes) != 20 || end.Outstanding != 0 || end.TrackerErrors != 0 {
				t.Errorf("%d writes, end %+v", len(writes), end)
			}
			// The commands of both kinds count: a poll's finds, a stream's own reads.
			budget := map[string]float64{tracker.Poll: tracker.PollBudget,
				tracker.ChangeStream: tracker.StreamBudget}[header.Tracker]
			if end.BudgetAsked != budget || end.BudgetKept <= 0 || end.BudgetKept > 1 {
				t.Errorf("kept %v of a budget of %v, want one of %v", end.BudgetKept,
					end.BudgetAsked, budget)
			}
			if (end.SlowestLookNs > 0) != (header.Tracker == tracker.Poll) {
				t.Errorf("slowest look %d ns", end.SlowestLookNs)
			}
			for _, w := range writes {
				if w.Scenario != "selftest" || w.Entity != "selftest" || w.Fate != ledger.Acked ||
					w.SentNs <= 0 ||
					w.CommittedNs <= w.SentNs || w.VisibleNs <= w.SentNs || w.Superseded ||
					w.TimedOut {
					t.Errorf("write %+v", w)
				}
			}
			if warned := len(logged.AllEntries()) > 0; warned != test.warns {
				t.Errorf("warned: %v", warned)
			}
		})
	}
}

// At a rate the writes come at the due times, however slowly the tracker sees the writes, and each
// latency begins at the due time.
func TestSelftestAtARate(t *testing.T) {
	t.Parallel()
	g, _ := generatorOn(t, servertest.StartMongo(t), func(o *Options) { o.Tracker = tracker.Poll })
	const writes, rate = 100, 200
	if err := g.Selftest(t.Context(), SelftestPlan{writes, rate}, &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	_, all, end := readLedger(t, g)
	slices.SortFunc(all, func(a, b ledger.Write) int {
		return cmp.Compare(a.IntendedNs, b.IntendedNs)
	})
	overlap := false
	versions := map[string]int64{}
	for i, w := range all {
		if w.Fate != ledger.Acked || w.VisibleNs == 0 || w.SentNs < w.IntendedNs ||
			w.ID <= versions[w.Key] {
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
	// The budget lets a poll look 4 times a second at first: no write waits for a look.
	if len(all) != writes || end.Outstanding != 0 || !overlap {
		t.Errorf("%d writes, overlap %v, end %+v", len(all), overlap, end)
	}
}

func TestWatchErrors(t *testing.T) {
	t.Parallel()
	s := servertest.StartMongo(t, "--standalone")
	for want, change := range map[string]func(*Options){
		`option "tracker"`: func(o *Options) { o.Tracker = tracker.ChangeStream },
		`option "ledger"`:  func(o *Options) { o.Ledger = "/no/such/folder/ledger" },
		`option "mongo"`:   func(o *Options) { o.Mongo = "mongo://x" },
	} {
		g, _ := generatorOn(t, s, change)
		if err := g.Selftest(t.Context(), SelftestPlan{Writes: 1}, &lib.Options{}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A poll on a real server under load: the poll looks less often and reports the interval.
func TestPollKeepsItsBudget(t *testing.T) {
	t.Parallel()
	s := servertest.StartMongo(t)
	g, _ := generatorOn(t, s, func(o *Options) { o.Tracker = tracker.Poll })
	if err := g.openWatch(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.tracker.Limit(true)
	never := &tracker.Pending{Kind: &tracker.Kind{Op: ledger.Insert,
		Shelf: &tables.Shelves[tables.Customer]}, Row: &tables.Row{Key: "never"}, ID: 1,
		IntendedNs: g.now()}
	g.tracker.Expect(never)
	g.tracker.Settle(never, ledger.Acked, g.now(), nil)
	other := s.Client(t).Database("other").Collection("load")
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			_, _ = other.InsertOne(ctx, bson.D{{Key: "a", Value: 1}})
		}
	})
	g.await(t.Context(), 30*time.Second, func() bool { return g.tracker.Cost().Operations > 150 })
	stop()
	load.Wait()
	if err := g.end(true); err != nil {
		t.Fatal(err)
	}
	header, _, end := readLedger(t, g)
	if end.BudgetAsked != 0.1 || end.BudgetKept <= 0 || end.BudgetKept > 0.15 ||
		!end.ServerCounted ||
		end.TrackerOperations <= 100 || end.ServerOperations < end.TrackerOperations ||
		end.MedianLookNs < header.ResolutionNs/2 || end.SlowestLookNs < end.MedianLookNs ||
		end.SampleAsked != 1 {
		t.Errorf("end %+v", end)
	}
	t.Logf("kept %.3f of %.3f, %d of %d operations, median look %v, slowest %v", end.BudgetKept,
		end.BudgetAsked,
		end.TrackerOperations, end.ServerOperations, time.Duration(end.MedianLookNs),
		time.Duration(end.SlowestLookNs))
}
