package cdc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"go.k6.io/k6/lib"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/source"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// Generator writes for all VUs of a k6 process: Start, then any number of requests, then Drain. A
// Generator is safe for concurrent use.
type Generator struct {
	options Options
	logger  logrus.FieldLogger
	// epoch is the zero of every stamp; time.Since reads the monotonic clock.
	epoch   time.Time
	samples *samples
	queue   *queue
	rows    *tables.Rows
	weights weights
	kinds   kinds
	origins origins
	turns   turns
	tracker *tracker.Tracker
	looks   looks
	phase   phase

	// mu guards the following fields, and makes Start, Selftest and Drain take turns.
	mu     sync.Mutex
	source *source.Source
	stripe tables.Stripe
	watch  *tracker.Watch
	ledger *ledger.Writer
	// drainNs is the stamp of the call of Drain.
	drainNs int64

	stopWorkers context.CancelFunc
	workers     sync.WaitGroup
	marked      sync.Once

	// told are the SQLSTATEs of logged failures; "" is a failure without an SQLSTATE.
	told sync.Map
	// fatal is the reason to abort the test; nil while there is no reason.
	fatal atomic.Pointer[string]
	// answeredNs is the last time at which PostgreSQL was known to be there.
	answeredNs atomic.Int64

	askerMu sync.Mutex
	asks    *mongo.Client

	seedMu      sync.Mutex
	seedFailure string
}

// phase is a generator's place in life: opened, started, drained.
type phase struct{ value atomic.Int32 }

const (
	opened int32 = iota
	started
	drained
)

func (p *phase) is(value int32) bool { return p.value.Load() == value }

func newGenerator(options Options, instruments *instruments, logger logrus.FieldLogger) *Generator {
	g := &Generator{
		options: options, logger: logger, epoch: time.Now(),
		samples: &samples{instruments: instruments, trends: options.Trends},
		queue:   newQueue(),
	}
	g.rows = tables.NewRows(options.Entities, options.shape(), options.Seed, g.epoch.UnixNano())
	g.rows.Mark(options.marker)
	g.weights.all = options.Mix
	g.tracker = tracker.New(time.Duration(options.Timeout), g.now, tracker.Observer{
		Settled: g.samples.settled, Visible: g.visible, Unseen: g.samples.unseen,
		Record: g.record,
	})
	g.stopWorkers = func() {}
	return g
}

// visible measures a visible write; the key of a deleted row is free for another row.
func (g *Generator) visible(p *tracker.Pending) {
	g.samples.visible(p)
	if p.Op == ledger.Delete && p.Fate == ledger.Acked {
		g.rows.End(p.Row)
	}
}

// now returns the stamp of this moment: nanoseconds since the epoch.
func (g *Generator) now() int64 { return time.Since(g.epoch).Nanoseconds() }

// Start connects to both ends, begins to watch MongoDB, starts the workers and seeds rows, and
// returns when MongoDB shows the seed rows. Without a pipeline, Start fails after the timeout. test
// are k6's options, which name the process's segment of the test.
func (g *Generator) Start(ctx context.Context, test *lib.Options) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.phase.is(opened) {
		return errors.New("the lab was started before: call start() once, in setup()")
	}
	err := checkThresholds(g.options, test)
	if err != nil {
		return err
	}
	if g.stripe, err = tables.ReadStripe(test); err != nil {
		return err
	}
	g.rows.BeIn(g.stripe)
	timeout := time.Duration(g.options.StatementTimeout)
	source, err := source.Open(ctx, g.options.Postgres, g.options.Workers, timeout)
	if err != nil {
		return err
	}
	g.source = source
	if err := g.openWatch(ctx); err != nil {
		source.Close()
		return err
	}
	g.tracker.Limit(true)
	g.answeredNs.Store(g.now())
	g.queue.open()
	work, stop := context.WithCancel(context.Background())
	g.stopWorkers = stop
	for range g.options.Workers {
		g.workers.Go(func() { g.work(work) })
	}
	g.phase.value.Store(started)
	if err := g.seed(ctx); err != nil {
		return errors.Join(err, g.end(false))
	}
	if g.options.Status != "" { // the load's progress, without the seed rows
		g.workers.Go(func() { g.reportStatus(work) })
	}
	return nil
}

// openWatch connects to MongoDB, creates the ledger and begins to watch. The caller holds mu.
func (g *Generator) openWatch(ctx context.Context) error {
	watch, err := g.tracker.Open(ctx, tracker.Target{
		URI: g.options.Mongo, Database: g.options.Database, Kind: g.options.Tracker,
		Budget: g.options.TrackerBudget,
	})
	if err != nil {
		return err
	}
	if watch.Fallback != nil {
		g.logger.Warnf("cdc: the server has no change streams, so the tracker polls every %v: %v",
			watch.Resolution, watch.Fallback)
	}
	if err := g.createLedger(watch); err != nil {
		watch.Stop()
		return err
	}
	g.watch = watch
	watch.Start()
	return nil
}

// createLedger creates the ledger, where the options name one. The caller holds mu.
func (g *Generator) createLedger(watch *tracker.Watch) (err error) {
	if g.options.Ledger == "" {
		return nil
	}
	g.ledger, err = ledger.Create(g.options.Ledger, ledger.Header{
		Marker:  g.options.marker.String(),
		Tracker: watch.Kind, ResolutionNs: watch.Resolution.Nanoseconds(),
		StartUnixNs: g.epoch.UnixNano(), Seed: g.options.Seed, Segment: g.stripe.Segment,
		Overridden: strings.FieldsFunc(g.options.overridden, isComma),
	})
	if err != nil {
		return fmt.Errorf("option %q: %w", "ledger", err)
	}
	return nil
}

func isComma(r rune) bool { return r == ',' }

// enqueue takes a request and never blocks.
func (g *Generator) enqueue(r request) error {
	if g.queue.push(r) {
		return nil
	}
	if g.phase.is(opened) {
		return errors.New("the lab was not started: call start() in setup()")
	}
	return errors.New("the lab was drained: nothing can be written any more")
}

// work is one worker: it executes requests until the queue is closed and empty.
func (g *Generator) work(ctx context.Context) {
	var taken []request
	for {
		clear(taken)
		if taken = g.queue.pop(taken[:0], g.options.Batch); len(taken) == 0 {
			return
		}
		g.execute(ctx, taken)
		g.queue.done(len(taken))
	}
}

// markStarted writes the measured load's beginning, once, into Options.Started.
func (g *Generator) markStarted(began time.Time) (err error) {
	if g.options.Started == "" {
		return nil
	}
	g.marked.Do(func() {
		if err = ledger.StartedAt(began).Store(g.options.Started); err != nil {
			err = fmt.Errorf("option %q: %w", "started", err)
		}
	})
	return err
}

// Drain refuses further writes, waits at most limit until every request was executed and every
// acknowledged write was seen, and ends the generator. The ledger's End line counts the writes
// still missing. When ctx ends first, there is no End line, and an error.
func (g *Generator) Drain(ctx context.Context, limit time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.phase.is(opened):
		return errors.New("drain(): the lab was not started: call start() in setup()")
	case g.phase.is(drained):
		return errors.New("drain(): the lab was drained before")
	}
	g.drainNs = g.now()
	g.queue.close()
	g.await(ctx, limit, func() bool {
		waiting, taken, _ := g.queue.depth()
		return waiting+taken == 0 && g.tracker.Counts().Outstanding == 0
	})
	err := g.end(ctx.Err() == nil)
	if ctx.Err() != nil {
		return errors.Join(fmt.Errorf("drain(): interrupted, the ledger has no end: %w "+
			"(is k6's teardownTimeout longer than the limit of %v?)", ctx.Err(), limit), err)
	}
	return err
}

// end stops everything and closes the ledger, with an End line when finished.
func (g *Generator) end(finished bool) error {
	g.phase.value.Store(drained)
	g.queue.close()
	g.stopWorkers()
	g.workers.Wait()
	if g.watch != nil {
		g.watch.Stop()
	}
	if g.source != nil {
		g.source.Close()
	}
	outstanding := g.tracker.Counts().Outstanding
	g.tracker.Abandon()
	switch {
	case g.ledger == nil:
		return nil
	case !finished:
		return g.ledger.Break()
	}
	_, _, longest := g.queue.depth()
	_, substituted := g.rows.Counts()
	cost := g.tracker.Cost()
	wentBack, firstBack := g.tracker.Backward()
	gcPause, schedulerDelay := runtimeUse()
	end := ledger.End{
		Outstanding: outstanding, QueueMax: int64(longest), Substituted: substituted,
		TrackerErrors: g.tracker.Errors(), WentBack: wentBack, FirstBack: firstBack,
		SlowestLookNs:     max(cost.RoundMaxNs, g.looks.slowestNs.Load()),
		MedianLookNs:      cost.RoundMedianNs,
		TrackerOperations: cost.Operations,
		ServerOperations:  cost.Server, ServerCounted: cost.ServerCounted,
		BudgetAsked: cost.Asked, BudgetKept: cost.Kept,
		SampleAsked: g.options.Sample, SampleKept: g.tracker.Counts().SampleKept(),
		Scenarios: g.turns.scenarios(), DrainNs: g.drainNs, ClosedNs: g.now(),
		GCPauseMaxNs: gcPause.Nanoseconds(), SchedulerDelayP99Ns: schedulerDelay.Nanoseconds(),
	}
	return g.ledger.Close(end)
}

// await waits until done returns true, the limit is over, or ctx ends; true in the first case.
func (g *Generator) await(ctx context.Context, limit time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
