package cdc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"go.k6.io/k6/lib"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// Lab is the one generator behind all VUs of a k6 process: Start, then any number of requests,
// then Drain. It is safe for concurrent use.
type Lab struct {
	options Options
	logger  logrus.FieldLogger
	// epoch is the zero of every stamp; time.Since reads the monotonic clock.
	epoch   time.Time
	samples *samples
	queue   *queue
	rows    *rows
	weights weights
	kinds   kinds
	origins origins
	tracker *tracker
	use     *use
	phase   phase

	// mu guards what follows, and makes Start, Selftest and Drain take turns.
	mu     sync.Mutex
	source *source
	stripe stripe
	client *mongo.Client
	ledger *ledger.Writer

	stopWorkers, stopWatching context.CancelFunc
	workers, watchers         sync.WaitGroup
	marked                    sync.Once

	// told are the SQLSTATEs of failures that were logged; "" is one without.
	told sync.Map
	// fatal is why the test should be aborted; nil while there is no reason.
	fatal atomic.Pointer[string]
	// answeredNs is when PostgreSQL was last known to be there.
	answeredNs atomic.Int64

	askerMu sync.Mutex
	asks    *mongo.Client

	seedMu      sync.Mutex
	seedFailure string
}

// phase is where in its life a lab is.
type phase struct{ value atomic.Int32 }

const (
	opened int32 = iota
	started
	drained
)

func (p *phase) is(value int32) bool { return p.value.Load() == value }

func newLab(options Options, instruments *instruments, logger logrus.FieldLogger) *Lab {
	l := &Lab{
		options: options, logger: logger, epoch: time.Now(),
		samples: &samples{instruments: instruments, trends: options.Trends},
		queue:   newQueue(),
	}
	l.rows = newRows(options.Entities, options.shape(), options.Seed, l.epoch.UnixNano())
	l.weights.all = options.Mix
	l.tracker = newTracker(time.Duration(options.Timeout), l.samples, l.record)
	l.use = newUse(pollBudget, l.now, func() int64 { return l.tracker.snapshot().acked })
	l.stopWorkers, l.stopWatching = func() {}, func() {}
	return l
}

// now is the stamp of this moment: nanoseconds since the epoch.
func (l *Lab) now() int64 { return time.Since(l.epoch).Nanoseconds() }

// Start connects to both ends, begins to watch MongoDB, starts the workers and seeds rows, and
// returns when the seed rows were seen in MongoDB. Without a pipeline it fails after the timeout. The
// options are k6's: they say which segment of the test this process is.
func (l *Lab) Start(ctx context.Context, test *lib.Options) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.phase.is(opened) {
		return errors.New("the lab was started before: call start() once, in setup()")
	}
	err := checkThresholds(l.options, test)
	if err != nil {
		return err
	}
	if l.stripe, err = readStripe(test); err != nil {
		return err
	}
	l.rows.beIn(l.stripe)
	timeout := time.Duration(l.options.StatementTimeout)
	source, err := openSource(ctx, l.options.Postgres, l.options.Workers, timeout)
	if err != nil {
		return err
	}
	l.source = source
	if err := l.watch(ctx); err != nil {
		source.close()
		return err
	}
	l.use.limited.Store(true)
	l.answeredNs.Store(l.now())
	l.queue.open()
	work, stop := context.WithCancel(context.Background())
	l.stopWorkers = stop
	for range l.options.Workers {
		l.workers.Go(func() { l.work(work) })
	}
	l.phase.value.Store(started)
	if err := l.seed(ctx); err != nil {
		return errors.Join(err, l.end(false))
	}
	if l.options.Status != "" { // how far the load is: the seed rows are none of it
		l.workers.Go(func() { l.reportStatus(work) })
	}
	return nil
}

// enqueue takes a request; it never blocks.
func (l *Lab) enqueue(r request) error {
	if l.queue.push(r) {
		return nil
	}
	if l.phase.is(opened) {
		return errors.New("the lab was not started: call start() in setup()")
	}
	return errors.New("the lab was drained: nothing can be written any more")
}

// work is one worker: it executes requests until the queue is closed and empty.
func (l *Lab) work(ctx context.Context) {
	var taken []request
	for {
		clear(taken)
		if taken = l.queue.pop(taken[:0], l.options.Batch); len(taken) == 0 {
			return
		}
		l.execute(ctx, taken)
		l.queue.done(len(taken))
	}
}

// markStarted writes, once, the wall clock of the measured load's beginning into Options.Started:
// nanoseconds since 1970, in a file that appears whole.
func (l *Lab) markStarted(at time.Time) (err error) {
	if l.options.Started == "" {
		return nil
	}
	l.marked.Do(func() {
		temporary := l.options.Started + ".new"
		text := strconv.FormatInt(at.UnixNano(), 10) + "\n"
		if err = os.WriteFile(filepath.Clean(temporary), []byte(text), 0o644); err == nil {
			err = os.Rename(temporary, l.options.Started)
		}
		if err != nil {
			err = fmt.Errorf("option %q: %w", "started", err)
		}
	})
	return err
}

// Drain refuses further writes, waits until every request was executed and every acknowledged write
// was seen, at most limit, and ends the lab. The ledger's End line says what was still missing; when
// ctx ends first there is none, and an error.
func (l *Lab) Drain(ctx context.Context, limit time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.phase.is(opened):
		return errors.New("drain(): the lab was not started: call start() in setup()")
	case l.phase.is(drained):
		return errors.New("drain(): the lab was drained before")
	}
	l.queue.close()
	l.await(ctx, limit, func() bool {
		waiting, taken, _ := l.queue.depth()
		return waiting+taken == 0 && l.tracker.snapshot().outstanding == 0
	})
	err := l.end(ctx.Err() == nil)
	if ctx.Err() != nil {
		return errors.Join(fmt.Errorf("drain(): interrupted, the ledger has no end: %w (is k6's teardownTimeout "+
			"longer than the limit of %v?)", ctx.Err(), limit), err)
	}
	return err
}

// end stops everything and closes the ledger, with its End line when finished.
func (l *Lab) end(finished bool) error {
	l.phase.value.Store(drained)
	l.queue.close()
	l.stopWorkers()
	l.workers.Wait()
	l.stopWatching()
	l.watchers.Wait()
	closing, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.client.Disconnect(closing) // nothing was being written through it
	if l.source != nil {
		l.source.close()
	}
	outstanding := l.tracker.snapshot().outstanding
	l.tracker.abandon()
	switch {
	case l.ledger == nil:
		return nil
	case !finished:
		return l.ledger.Break()
	}
	_, _, longest := l.queue.depth()
	_, substituted := l.rows.counts()
	u := l.use.summary()
	gcPause, schedulerDelay := runtimeUse()
	end := ledger.End{
		Outstanding: outstanding, QueueMax: int64(longest), Substituted: substituted,
		TrackerErrors: l.tracker.errors.Load(), SlowestLookNs: u.LookMaxNs, MedianLookNs: u.LookMedianNs,
		TrackerOperations: u.Operations, ServerOperations: u.Server, ServerCounted: u.ServerCounted,
		BudgetAsked: u.BudgetAsked, BudgetKept: u.BudgetKept,
		SampleAsked: l.options.Sample, SampleKept: l.tracker.snapshot().sampleKept(), ClosedNs: l.now(),
		GCPauseMaxNs: gcPause.Nanoseconds(), SchedulerDelayP99Ns: schedulerDelay.Nanoseconds(),
	}
	return l.ledger.Close(end)
}

// await waits until done says so, the limit is over, or ctx ends; it is true in the first case.
func (l *Lab) await(ctx context.Context, limit time.Duration, done func() bool) bool {
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
