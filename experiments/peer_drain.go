package experiments

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/stack/nullmongo"
)

// NullServer is the name of the MongoDB that only acknowledges.
const NullServer = "null"

// PeerRound is one drain of the whole topic by one sink.
type PeerRound struct {
	// Round is 0 for the one that warms the worker's JVM up, which counts for nothing.
	Round int    `json:"round"`
	Sink  string `json:"sink"`
	// Server is NullServer or the kind of the real MongoDB.
	Server string `json:"server"`
	// Events are those taken care of; Writes and Commands what the null server counted: the consumer
	// folds the events of a row that are in one batch.
	Events   int64 `json:"events"`
	Writes   int64 `json:"writes,omitempty"`
	Commands int64 `json:"commands,omitempty"`
	// StartSeconds from being asked to begin until the first write, DrainSeconds from there to the last.
	// On a real MongoDB the former is until it runs, and the latter ends when the offsets are committed.
	StartSeconds float64 `json:"startSeconds"`
	DrainSeconds float64 `json:"drainSeconds"`
	// CPUSeconds are user and system time of the sink's process, from being asked to begin until all
	// offsets were committed. The peer's is all of the worker.
	CPUSeconds float64 `json:"cpuSeconds"`
	// PeakRSSBytes is the largest of a look every 50 ms.
	PeakRSSBytes int64 `json:"peakRSSBytes"`
	// Load1 is the host's load average of a minute when it began, OthersCores what processes that are
	// not of this lab took meanwhile, StealPercent what the hypervisor gave to others.
	Load1        float64 `json:"load1"`
	OthersCores  float64 `json:"othersCores"`
	StealPercent float64 `json:"stealPercent"`
}

// PerSecond is in events per second of the drain.
func (r *PeerRound) PerSecond() float64 { return float64(r.Events) / r.DrainSeconds }

// PerCore is in events per second of processor time.
func (r *PeerRound) PerCore() float64 { return float64(r.Events) / r.CPUSeconds }

// cpuSecondsOf is the processor time of those processes since each began; one that is gone has none.
func cpuSecondsOf(pids []int) (seconds float64) {
	for _, pid := range pids {
		p, err := process.NewProcess(int32(pid))
		if err != nil {
			continue
		}
		if times, err := p.Times(); err == nil {
			seconds += times.User + times.System
		}
	}
	return seconds
}

func rssOf(pids []int) (bytes int64) {
	for _, pid := range pids {
		p, err := process.NewProcess(int32(pid))
		if err != nil {
			continue
		}
		if memory, err := p.MemoryInfo(); err == nil {
			bytes += int64(memory.RSS)
		}
	}
	return bytes
}

// labPIDs are this process and all that the stack runs.
func (p *peerRun) labPIDs() []int {
	pids := []int{os.Getpid()}
	for _, c := range p.stack.Components() {
		pids = append(pids, c.PIDs()...)
	}
	return pids
}

// hostLook is what the machine and the lab have used so far.
type hostLook struct {
	at   time.Time
	host cpuTimes
	lab  float64
}

// look also takes the processes of a sink that is none of the stack's components.
func (p *peerRun) look(extra []int) hostLook {
	return hostLook{time.Now(), readCPU(), cpuSecondsOf(p.labPIDs()) + cpuSecondsOf(extra)}
}

// others are the cores that processes took that are not of this lab.
func (l hostLook) others(before hostLook) float64 {
	busy := (l.host.total - l.host.idle) - (before.host.total - before.host.idle)
	return max(0, (busy-(l.lab-before.lab))/l.at.Sub(before.at).Seconds())
}

// drain has a sink drain the topic once.
func (p *peerRun) drain(ctx context.Context, sink peerSink, null *nullmongo.Server) (r PeerRound, err error) {
	r = PeerRound{Sink: sink.name()}
	if average, err := load.Avg(); err == nil {
		r.Load1 = average.Load1
	}
	before, began := p.look(nil), time.Now()
	// The worker was there before; a consumer begins at 0.
	used := cpuSecondsOf(sink.pids())
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
	r.CPUSeconds = cpuSecondsOf(sink.pids()) - used
	after := p.look(ownPIDs(sink))
	r.OthersCores = after.others(before)
	_, r.StealPercent = after.host.since(before.host)
	if null == nil {
		r.StartSeconds, r.DrainSeconds = running.Sub(began).Seconds(), time.Since(running).Seconds()
	} else {
		counts := null.Counts()
		r.Writes, r.Commands = counts.Statements, counts.Commands
		r.StartSeconds, r.DrainSeconds = counts.First.Sub(began).Seconds(), counts.Last.Sub(counts.First).Seconds()
	}
	if r.Events, err = sink.events(ctx, r.Writes); err != nil {
		return r, fmt.Errorf("%s drained %s, but: %w", sink.name(), p.load.name, err)
	}
	return r, nil
}

// ownPIDs are the processes of a sink that is no component of the stack.
func ownPIDs(sink peerSink) []int {
	if own, ok := sink.(*ownSink); ok {
		return own.pids()
	}
	return nil
}

func watchRSS(ctx context.Context, sink peerSink) (peak int64) {
	tick := time.NewTicker(peerLook)
	defer tick.Stop()
	for {
		peak = max(peak, rssOf(sink.pids()))
		select {
		case <-ctx.Done():
			return peak
		case <-tick.C:
		}
	}
}

// drains are the rounds against one server, the two sinks in turns; round 0 only warms up.
func (p *peerRun) drains(ctx context.Context, server string) error {
	for round := 0; round <= p.config.Rounds; round++ {
		for _, name := range []string{PeerSink, OwnSink} {
			if err := p.oneDrain(ctx, server, round, name); err != nil {
				return fmt.Errorf("round %d of %s into %s: %w", round, name, server, err)
			}
		}
	}
	return nil
}

func (p *peerRun) oneDrain(ctx context.Context, server string, round int, name string) (err error) {
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
		defer func() { err = errors.Join(err, p.mongo.Database(target.database).Drop(context.WithoutCancel(ctx))) }()
	}
	r, err := p.drain(ctx, p.sink(name, target), null)
	if err != nil {
		return err
	}
	r.Round, r.Server = round, server
	if server != NullServer && name == PeerSink {
		r.Events = int64(p.config.Events) // its writes are not counted there, and its offsets are at the end
	}
	p.result.Rounds = append(p.result.Rounds, r)
	p.config.Say(fmt.Sprintf("round %d, %s into %s: %d events in %.1f s, %.1f CPU s", round, name, server, r.Events, r.DrainSeconds, r.CPUSeconds))
	return nil
}

// sink makes one by its name.
func (p *peerRun) sink(name string, t sinkTarget) peerSink {
	if name == PeerSink {
		return newConnectSink(p, t)
	}
	return newOwnSink(p, t)
}
