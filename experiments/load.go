package experiments

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/chaos/check"
	"github.com/cdclab/cdclab/experiments/k6files"
	"github.com/cdclab/cdclab/experiments/observe"
	"github.com/cdclab/cdclab/experiments/progress"
	"github.com/cdclab/cdclab/experiments/schedule"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/observers"
)

// load is a k6 in an environment, and the Run made from the k6.
type load struct {
	*environment
	k6      *generator
	run     *reports.Run
	sampler *observe.Sampler
	// pulse beats beside k6.
	pulse observe.Pulse
	// records is how many records Kafka had of the tables before the load, -1 while not known.
	records int64
	// began is when the measured load began, on the lab's monotonic clock; zero for never.
	began time.Time
	// before are the consumers' stages then.
	before []observe.ConsumerStages
	// crossed is true if k6 said by its exit code that a threshold of the script was crossed, and
	// failed if the script called test.fail().
	crossed, failed bool
	// test is the load that k6 makes.
	test schedule.Test
	// wasRead is true if the Run has the numbers of the ledger and of the samples.
	wasRead bool
}

// newLoad returns the load of the whole scenario, on a running stack.
func (e *environment) newLoad() *load {
	env, endpoints := e.config.variables(), e.stack.Endpoints()
	env["CDC_POSTGRES_DSN"] = endpoints.GeneratorDSN
	env["CDC_MONGO_URI"] = endpoints.MongoURI
	env["CDC_MONGO_DATABASE"] = endpoints.MongoDatabase
	env[ledger.MarkerVariable] = e.marker.String()
	l := &load{environment: e, test: e.test, k6: e.generator(e.out.Path, env)}
	l.run = &reports.Run{
		SchemaVersion: reports.SchemaVersion,
		TestRun: reports.TestRun{
			ID: e.id(), Scenario: e.name(), StartTime: e.started,
		},
		Provenance: e.provenance, Tracker: reports.Tracker{AskedShare: 1}, Notes: e.notes,
		Load: e.plannedLoad(e.test),
	}
	return l
}

// generate runs k6, the plan beside k6, and the sampler, until k6 ends.
func (l *load) generate(ctx context.Context) error {
	l.config.Say("load: " + l.run.TestRun.Scenario)
	var err error
	var prometheus []string // said while others write to the Run
	if l.sampler, err = observe.NewSampler(observe.Targets{
		Stack: l.stack, GeneratorPIDs: l.k6.pids,
		Prometheus: l.config.Prometheus, LagQuery: l.config.LagQuery, Say: func(text string) {
			l.config.Say(text)
			prometheus = append(prometheus, text)
		},
	}); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	beside, endBeside := context.WithCancel(ctx)
	cpu := observe.ReadCPU()
	if l.records, err = l.stack.Records(ctx); err != nil {
		l.records = -1
		l.warn("before the load: " + err.Error())
	}
	shown := progress.New(l.config.Terminal, l.config.JSON)
	shown.Status, shown.Total, shown.Lag = l.k6.statusPath(), l.test.End(), l.sampler.Lag
	var group sync.WaitGroup
	group.Go(func() { shown.Watch(beside) })
	group.Go(func() { l.sampler.Watch(beside) })
	group.Go(func() { l.pulse.Watch(beside) })
	group.Go(func() { l.watchForDeaths(beside, stop) })
	var unrolled error
	group.Go(func() { unrolled = l.faults(beside) })
	code, err := l.k6.run(ctx)
	l.crossed, l.failed = code == k6ThresholdsFailed, code == k6MarkedAsFailed
	ended := time.Now()
	endBeside()
	group.Wait()
	l.run.Warnings = append(l.run.Warnings, prometheus...)
	if unrolled != nil {
		l.warn(oneLine(unrolled))
	}
	l.run.Host.CPUBusyPercent, l.run.Host.CPUStealPercent = observe.ReadCPU().Since(cpu)
	return l.keepMeasured(err, ended)
}

// keepMeasured makes a sentence in the Run of a k6 that ended by itself under the load, because
// what was measured until then counts. After the load the sentence is a warning, and before the
// load is over the Run is partial. A k6 that never came to the load stays an error, unless the
// script aborted itself.
func (l *load) keepMeasured(err error, ended time.Time) error {
	var k6 *endedByItself
	test := l.test.Only(ledger.Measured)
	switch {
	case !errors.As(err, &k6) || !l.hasBegun() && k6.code != k6ScriptAborted:
		return err
	case !l.began.IsZero() && test.Length() > 0 && test.HasFixedLength() &&
		ended.Sub(l.began) >= test.Length():
		l.warn(k6.sentence)
	default:
		l.partial(k6.sentence)
	}
	return nil
}

// hasBegun returns true if k6 has made a measured write.
func (l *load) hasBegun() bool {
	_, err := os.Stat(l.k6.startedPath())
	return err == nil
}

// readAgain says, of a run with faults, what the connector delivered again, and keeps whether each
// record that nobody can read has a dead letter.
func (l *load) readAgain(ctx context.Context) {
	if l.plan == nil {
		return
	}
	letters := stack.DeadLetterTopic
	if l.config.Stack.Kind == stack.External {
		letters = "" // the topic of others is not known
	}
	found, err := observe.ReadAgain(ctx, l.stack.Topics(), letters, l.stack.KafkaOptions()...)
	if err != nil {
		l.warn("the events that were delivered again, and the dead letters, were not counted: " +
			err.Error())
		return
	}
	l.run.Letters = found.Letters
	l.run.Deliveries = reports.Deliveries{Counted: true, Events: found.Events, Again: found.Again}
}

// measureClocks compares the clocks that stamp the stages with the lab's.
func (l *load) measureClocks(ctx context.Context) {
	clock, warnings := observe.CompareClocks(ctx, l.config.Stack.Kind, l.stack.Endpoints())
	l.run.Clock = clock
	l.run.Warnings = append(l.run.Warnings, warnings...)
}

// readStages reads the stages told by the consumers.
func (l *load) readStages(ctx context.Context) []observe.ConsumerStages {
	all, warnings := observe.ReadConsumers(ctx, l.stack.Endpoints().ConsumerMetricsURLs)
	l.run.Warnings = append(l.run.Warnings, warnings...)
	return all
}

// faults waits for the measured load to begin and runs the plan from there, with the plan's
// rollbacks. The error is of the rollbacks.
func (l *load) faults(ctx context.Context) error {
	started, err := waitForStart(ctx, l.k6.startedPath())
	if err != nil {
		return nil
	}
	l.began, l.before = started, l.readStages(ctx)
	if l.plan == nil {
		return nil
	}
	for _, window := range chaos.Run(ctx, l.plan, l.stack, started, l.config.Say) {
		l.run.Faults = append(l.run.Faults, reportFault(window, l.plan))
	}
	return l.plan.RollBack(ctx, l.stack, l.config.Say)
}

// keepAlerts keeps and says what the observers were told, each alert with the fault before.
func (l *load) keepAlerts() {
	var faults []observers.Fault
	for _, f := range l.run.Faults {
		if at := time.Duration(f.StartSeconds * float64(time.Second)); f.Applied {
			faults = append(faults, observers.Fault{Name: f.Name + " " + f.Target,
				Began: l.began.Add(at)})
		}
	}
	lines, err := l.stack.Observers().Save(l.out.Path, faults)
	if err != nil {
		l.warn(err.Error())
	}
	for _, line := range lines {
		l.config.Say(line)
	}
}

// waitForStart waits for the file written by k6 at the first measured write, and returns the start
// of that write's scenario on the lab's monotonic clock: a set wall clock shifts no fault.
func waitForStart(ctx context.Context, path string) (time.Time, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if start, err := ledger.ReadStart(path); err == nil {
			return start.Time(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// drain waits until every commit has gone through the pipeline, and keeps what is then still to do
// in the Run.
func (l *load) drain(ctx context.Context) {
	l.config.Say("waiting for the pipeline to drain")
	ctx, cancel := context.WithTimeout(ctx, l.config.DrainTimeout)
	defer cancel()
	rest := &l.run.Consistency.Undrained
	if err := l.stack.Drained(ctx); err != nil {
		*rest = fmt.Sprintf("within %v: %v", l.config.DrainTimeout, err)
		return
	}
	*rest = ""
	// A pipeline that drains without a record of the load is somebody else's.
	if records, err := l.stack.Records(ctx); err == nil && records == l.records {
		*rest = "Kafka got no record of the load in the topics " + l.stack.Topics()
	}
}

// check compares every row with the row's document; a failed check leaves "not checked" behind.
func (l *load) check(ctx context.Context) {
	l.config.Say("comparing every row with its document")
	endpoints := l.stack.Endpoints()
	config := check.DefaultConfig()
	config.PostgresDSN, config.MongoURI = endpoints.CheckDSN, endpoints.MongoURI
	config.Database = endpoints.MongoDatabase
	config.LedgerPath = l.k6.ledgerPath()
	config.OnlyLedger = l.config.Stack.Kind == stack.External
	found, err := check.Tables(ctx, config)
	if err != nil {
		l.run.Consistency.Error = err.Error()
		return
	}
	if rest := l.run.Consistency.Undrained; rest != "" {
		found.NotDrained(rest)
	}
	l.run.Consistency = found
}

// readStagesSince adds the consumers' stages since the measured load began: a consumer that is gone
// tells no more.
func (l *load) readStagesSince(ctx context.Context) {
	l.run.Stages = append(l.run.Stages, observe.StagesBetween(l.before, l.readStages(ctx))...)
}

// partial marks the Run as ended before its time; the first reason counts, any other is a warning.
func (l *load) partial(reason string) {
	if l.run.TestRun.Partial {
		l.warn(reason)
		return
	}
	l.run.TestRun.Partial, l.run.TestRun.EndedBy = true, reason
}

func (l *load) warn(text string) { l.run.Warnings = append(l.run.Warnings, text) }

// read fills in the measurements from k6's ledger and the samples, once, because a search has
// already read the chosen probe.
func (l *load) read() {
	if l.wasRead {
		return
	}
	l.wasRead = true
	l.run.TestRun.EndTime = time.Now().UTC() // unless the ledger knows better
	if err := l.readLedger(); err != nil {
		l.partial(err.Error())
	}
	if l.plan == nil { // a fault is meant to make writes fail
		for _, complaint := range k6files.Complaints(l.k6.logPath()) {
			l.warn(complaint)
		}
	}
	began := l.began
	if began.IsZero() {
		began = l.run.TestRun.StartTime
	}
	l.run.Lab = l.pulse.Lab(began)
	if l.sampler != nil {
		l.run.Looks = l.sampler.Looks(began)
		l.run.Resources = l.sampler.Resources()
	}
}

// reportFault is the report's account of a fault. A frozen part cuts the way from PostgreSQL to
// MongoDB; a frozen consumer may leave another.
func reportFault(w chaos.Window, plan *chaos.Plan) reports.FaultWindow {
	f := reports.FaultWindow{
		Name: w.Fault, Target: w.Target, Applied: w.Applied,
		ProxyBytes: w.ProxyBytes, Detail: w.Evidence, RecoveredSeconds: -1,
		StartSeconds: w.Start.Seconds(), EndSeconds: max(w.Start, w.End).Seconds(),
		RecoveryLimitSeconds: plan.SteadyState.Recovery.Seconds(),
	}
	f.Cut = w.Fault == "pause"
	for n := range stack.MaxConsumers {
		f.Cut = f.Cut && w.Target != stack.ConsumerName(n+1)
	}
	if w.Recovered > 0 {
		f.RecoveredSeconds = max(0, (w.Recovered - max(w.End, w.Clear)).Seconds())
	}
	if w.OnProxy {
		f.Proxy = w.Target
	}
	if w.Err != nil {
		f.Detail = w.Err.Error()
	}
	return f
}
