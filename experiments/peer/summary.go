package peer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/gate"
)

// Result is a finished comparison, as sink-peer.json holds it.
type Result struct {
	StartTime  time.Time         `json:"startTime"`
	Command    []string          `json:"command"`
	Commit     string            `json:"commit"`
	Dirty      bool              `json:"dirty"`
	Host       reports.Host      `json:"host"`
	Versions   map[string]string `json:"versions"`
	MongoKind  string            `json:"mongoKind"`
	Seed       int64             `json:"seed"`
	Schemas    bool              `json:"schemas"`
	Partitions int               `json:"partitions"`
	// Connector is the peer's configuration.
	Connector map[string]string `json:"connector"`
	// Events of the load's topic, and its Records: a delete's tombstone is a record, and no event.
	Events        int   `json:"events"`
	Records       int64 `json:"records"`
	BytesPerEvent int   `json:"bytesPerEvent"`
	// IdleCores and IdleRSSBytes are the worker's without any connector, before the first drain.
	IdleCores    float64 `json:"idleCores"`
	IdleRSSBytes int64   `json:"idleRSSBytes"`

	Rounds    []Round   `json:"rounds"`
	Summaries []Summary `json:"summaries"`
	History   History   `json:"history"`
	Notes     []string  `json:"notes"`
	// EndedBy says why rounds are missing, "" for a whole comparison.
	EndedBy string `json:"endedBy,omitempty"`
	// Path of the JSON.
	Path string `json:"-"`
}

// Summary are the medians of a sink's rounds into a server.
type Summary struct {
	Sink    string  `json:"sink"`
	Server  string  `json:"server"`
	Rounds  int     `json:"rounds"`
	PerCore float64 `json:"eventsPerSecondPerCore"`
	// PerCoreNet is without what the idle worker would have taken, for the consumer the same as
	// PerCore.
	PerCoreNet   float64 `json:"eventsPerSecondPerCoreNet"`
	PerSecond    float64 `json:"eventsPerSecond"`
	PeakRSSBytes float64 `json:"peakRSSBytes"`
}

// summarise takes the medians of the counted rounds, in the order of the first round of each sink
// and server.
func summarise(rounds []Round, idleCores float64) []Summary {
	type numbers struct{ perCore, net, perSecond, rss []float64 }
	var order []Summary
	all := map[Summary]*numbers{}
	for _, r := range rounds {
		if r.Round == 0 {
			continue
		}
		of := Summary{Sink: r.Sink, Server: r.Server}
		if all[of] == nil {
			all[of], order = new(numbers), append(order, of)
		}
		n := all[of]
		n.perCore = append(n.perCore, r.PerCore())
		if r.Sink == MongoSink {
			r.CPUSeconds -= idleCores * r.DrainSeconds
		}
		n.net = append(n.net, r.PerCore())
		n.perSecond = append(n.perSecond, r.PerSecond())
		n.rss = append(n.rss, float64(r.PeakRSSBytes))
	}
	summaries := make([]Summary, len(order))
	for i, of := range order {
		n := all[of]
		summaries[i] = Summary{
			of.Sink, of.Server, len(n.perCore),
			gate.Median(n.perCore), gate.Median(n.net), gate.Median(n.perSecond),
			gate.Median(n.rss),
		}
	}
	return summaries
}

// summary returns the summary of a sink and a server.
func (r *Result) summary(sink, server string) (Summary, bool) {
	at := slices.IndexFunc(r.Summaries, func(s Summary) bool {
		return s.Sink == sink && s.Server == server
	})
	if at < 0 {
		return Summary{}, false
	}
	return r.Summaries[at], true
}

// Ratio is the consumer's median divided by the peer's, each number of the same kind.
type Ratio struct{ PerCore, PerSecond, PeakRSS float64 }

// Ratio compares the medians against a server; false when a sink has no median.
func (r *Result) Ratio(server string) (Ratio, bool) {
	peer, one := r.summary(MongoSink, server)
	own, two := r.summary(OwnSink, server)
	if !one || !two {
		return Ratio{}, false
	}
	return Ratio{
		own.PerCore / peer.PerCore, own.PerSecond / peer.PerSecond,
		own.PeakRSSBytes / peer.PeakRSSBytes,
	}, true
}

// Faults are the reasons not to trust the comparison: an early end, or a sink that did not take
// care of every event; empty when there is none.
func (r *Result) Faults() []string {
	var faults []string
	if r.EndedBy != "" {
		faults = append(faults, "the comparison was ended before its time: "+r.EndedBy)
	}
	for _, round := range r.Rounds {
		if round.Events != int64(r.Events) {
			faults = append(faults, fmt.Sprintf("round %d: %s took care of %d of %d events",
				round.Round, round.Sink, round.Events, r.Events))
		}
	}
	return faults
}

// quietCores is how many cores others may take before the speed of a round is theirs as well.
const quietCores = 0.25

// Warnings are what a reader must know of the speeds: rounds in which the machine was not the lab's
// alone. Events per core suffer less from other processes.
func (r *Result) Warnings() []string {
	var busy, most = 0, 0.0
	for _, round := range r.Rounds {
		if round.Round > 0 && round.OthersCores > quietCores {
			busy, most = busy+1, max(most, round.OthersCores)
		}
	}
	if busy == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the machine was not quiet: in %d rounds other processes took "+
		"up to %.2f cores; events/s are too low, run it again", busy, most)}
}

// OwnFailures are the cases in which the consumer's documents are not the rows, and forbidden
// states seen by a reader; empty when there is none.
func (r *Result) OwnFailures() []string {
	var failures []string
	for _, c := range r.History.Cases {
		if c.Sink == OwnSink && !c.OK() {
			failures = append(failures, c.Name+": "+c.Example)
		}
	}
	for _, w := range r.History.Watched {
		if w.Sink == OwnSink && w.WentBack+w.Reappeared > 0 {
			failures = append(failures, "seen by a reader: "+w.Example)
		}
	}
	return failures
}

// unmeasured names the parts of a comparison without a measurement; an early end says enough.
func (r *Result) unmeasured() (missing []string) {
	if r.EndedBy != "" {
		return nil
	}
	if ratio, ok := r.Ratio(NullServer); !ok || !(ratio.PerCore > 0 && ratio.PerSecond > 0) {
		missing = append(missing, "the speeds of both sinks were not measured")
	}
	if !slices.ContainsFunc(r.History.Cases, func(c Case) bool { return c.Sink == OwnSink }) {
		missing = append(missing, "no document of the consumer was compared with its row")
	}
	return missing
}

// Verdict fails where a document of the consumer is not its row, and is unknown where a sink did
// not take care of every event, or nothing was measured. What the peer gets wrong is a finding.
func (r *Result) Verdict() reports.Verdict {
	failures, faults := r.OwnFailures(), append(r.Faults(), r.unmeasured()...)
	switch {
	case len(failures) > 0:
		return reports.Verdict{Status: reports.Fail, Reasons: append(failures, faults...)}
	case len(faults) > 0:
		return reports.Verdict{Status: reports.Unknown, Reasons: faults}
	}
	return reports.Verdict{Status: reports.Pass}
}

// LastLine is the comparison on a line: verdict, the consumer's speed and memory as multiples of
// the peer's, and path.
func (r *Result) LastLine(path string) string {
	ratio, _ := r.Ratio(NullServer)
	return fmt.Sprintf("%s  %.1f times the peer's events/s per core, %.3f of its memory  |  %s",
		strings.ToUpper(string(r.Verdict().Status)), ratio.PerCore, ratio.PeakRSS, path)
}
