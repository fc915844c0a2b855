package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/shirou/gopsutil/v4/load"

	"github.com/cdclab/cdclab/experiments/observe"
	"github.com/cdclab/cdclab/stack/nullmongo"
)

// NullServer is the name of the MongoDB that only acknowledges.
const NullServer = "null"

// Round is one drain of the whole topic by one sink.
type Round struct {
	// Round is 0 for the uncounted round that warms the worker's JVM up.
	Round int    `json:"round"`
	Sink  string `json:"sink"`
	// Server is NullServer or the kind of the real MongoDB.
	Server string `json:"server"`
	// Events are the events taken care of, Writes and Commands the null server's counts: the
	// consumer folds the events of a row that are in one batch.
	Events   int64 `json:"events"`
	Writes   int64 `json:"writes,omitempty"`
	Commands int64 `json:"commands,omitempty"`
	// StartSeconds is the time from the request to begin until the first write, DrainSeconds from
	// there to the last. On a real MongoDB StartSeconds ends when the sink runs, and DrainSeconds
	// when the offsets are committed.
	StartSeconds float64 `json:"startSeconds"`
	DrainSeconds float64 `json:"drainSeconds"`
	// CPUSeconds are user and system time of the sink's process, from being asked to begin until
	// all offsets were committed. The peer's is all of the worker.
	CPUSeconds float64 `json:"cpuSeconds"`
	// PeakRSSBytes is the largest value read, every 50 ms.
	PeakRSSBytes int64 `json:"peakRSSBytes"`
	// Load1 is the host's load average of a minute at the start, OthersCores what processes outside
	// this lab took meanwhile, StealPercent what the hypervisor gave to others.
	Load1        float64 `json:"load1"`
	OthersCores  float64 `json:"othersCores"`
	StealPercent float64 `json:"stealPercent"`
}

// PerSecond is in events per second of the drain.
func (r *Round) PerSecond() float64 { return perSecond(r.Events, r.DrainSeconds) }

// PerCore is in events per second of processor time.
func (r *Round) PerCore() float64 { return perSecond(r.Events, r.CPUSeconds) }

// perSecond is 0 of no time, because no JSON holds an infinite number.
func perSecond(events int64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(events) / seconds
}

// labPIDs returns this process and all processes of the stack.
func (p *comparison) labPIDs() []int {
	pids := []int{os.Getpid()}
	for _, c := range p.stack.Components() {
		pids = append(pids, c.PIDs()...)
	}
	return pids
}

// hostUsage is what the machine and the lab have used so far.
type hostUsage struct {
	at   time.Time
	host observe.CPUTimes
	lab  float64
}

// readUsage also takes the processes of a sink that is none of the stack's components.
func (p *comparison) readUsage(extra []int) hostUsage {
	lab := observe.CPUSeconds(p.labPIDs()) + observe.CPUSeconds(extra)
	return hostUsage{time.Now(), observe.ReadCPU(), lab}
}

// others returns the cores used by processes outside this lab.
func (l hostUsage) others(before hostUsage) float64 {
	busy := l.host.Busy() - before.host.Busy()
	return max(0, (busy-(l.lab-before.lab))/l.at.Sub(before.at).Seconds())
}

// drain has a sink drain the topic once.
func (p *comparison) drain(ctx context.Context, sink drainer,
	null *nullmongo.Server) (r Round, err error) {
	r = Round{Sink: sink.name()}
	if average, err := load.Avg(); err == nil {
		r.Load1 = average.Load1
	}
	before, began := p.readUsage(nil), time.Now()
	// The worker was there before; a consumer begins at 0.
	used := observe.CPUSeconds(sink.pids())
	watched, stopWatch := context.WithCancel(ctx)
	peak := make(chan int64, 1)
	go func() { peak <- watchRSS(watched, sink) }()
	defer func() {
		stopWatch()
		r.PeakRSSBytes = <-peak
	}()
	if err := sink.start(ctx); err != nil {
		return r, err
	}
	running := time.Now()
	defer func() { err = errors.Join(err, sink.stop(ctx)) }()
	if err := p.load.drained(ctx, sink, p.config.drainLimit()); err != nil {
		return r, err
	}
	r.CPUSeconds = observe.CPUSeconds(sink.pids()) - used
	after := p.readUsage(ownPIDs(sink))
	r.OthersCores = after.others(before)
	_, r.StealPercent = after.host.Since(before.host)
	if null == nil {
		r.StartSeconds, r.DrainSeconds = running.Sub(began).Seconds(), time.Since(running).Seconds()
	} else {
		counts := null.Counts()
		r.Writes, r.Commands = counts.Statements, counts.Commands
		r.StartSeconds = counts.First.Sub(began).Seconds()
		r.DrainSeconds = counts.Last.Sub(counts.First).Seconds()
	}
	if r.Events, err = sink.events(ctx, r.Writes); err != nil {
		return r, fmt.Errorf("%s drained %s, but: %w", sink.name(), p.load.name, err)
	}
	return r, nil
}

// ownPIDs returns the processes of a sink that is no component of the stack.
func ownPIDs(sink drainer) []int {
	if own, ok := sink.(*ownSink); ok {
		return own.pids()
	}
	return nil
}

func watchRSS(ctx context.Context, sink drainer) (peak int64) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		peak = max(peak, observe.RSS(sink.pids()))
		select {
		case <-ctx.Done():
			return peak
		case <-tick.C:
		}
	}
}

// drains are the rounds against one server, the two sinks in turns; round 0 only warms up.
func (p *comparison) drains(ctx context.Context, server string) error {
	for round := 0; round <= p.config.Rounds; round++ {
		for _, name := range []string{MongoSink, OwnSink} {
			if err := p.oneDrain(ctx, server, round, name); err != nil {
				return fmt.Errorf("round %d of %s into %s: %w", round, name, server, err)
			}
		}
	}
	return nil
}

func (p *comparison) oneDrain(ctx context.Context, server string, round int,
	name string) (err error) {
	target := sinkTarget{run: fmt.Sprintf("drain-%s-%d", server, round), topic: p.load.name}
	target.database = "cdclab_" + target.run
	var null *nullmongo.Server
	if server == NullServer {
		if null, err = nullmongo.Start(); err != nil {
			return err
		}
		defer null.Close()
		target.uri = null.URI()
	} else {
		target.uri = p.stack.Endpoints().MongoURI
		defer func() { err = errors.Join(err, p.drop(ctx, target)) }()
	}
	r, err := p.drain(ctx, p.sink(name, target), null)
	if err != nil {
		return err
	}
	r.Round, r.Server = round, server
	if server != NullServer && name == MongoSink {
		// The peer's writes are not counted there, and the peer's offsets are at the end.
		r.Events = int64(p.config.Events)
	}
	p.result.Rounds = append(p.result.Rounds, r)
	p.config.Say(fmt.Sprintf("round %d, %s into %s: %d events in %.1f s, %.1f CPU s",
		round, name, server, r.Events, r.DrainSeconds, r.CPUSeconds))
	return nil
}

// sink makes a sink by name.
func (p *comparison) sink(name string, t sinkTarget) drainer {
	if name == MongoSink {
		return newConnectSink(p, t)
	}
	return newOwnSink(p, t)
}
