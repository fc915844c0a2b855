package experiments

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// PeerSummary are the medians of the rounds of one sink into one server.
type PeerSummary struct {
	Sink    string  `json:"sink"`
	Server  string  `json:"server"`
	Rounds  int     `json:"rounds"`
	PerCore float64 `json:"eventsPerSecondPerCore"`
	// PerCoreNet is without what the idle worker would have taken, for the consumer the same as PerCore.
	PerCoreNet   float64 `json:"eventsPerSecondPerCoreNet"`
	PerSecond    float64 `json:"eventsPerSecond"`
	PeakRSSBytes float64 `json:"peakRSSBytes"`
}

// median of numbers, of which there is at least one.
func median(numbers []float64) float64 {
	sorted := slices.Sorted(slices.Values(numbers))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// summarise takes the medians of the rounds that count, in the order in which sinks and servers came.
func summarise(rounds []PeerRound, idleCores float64) []PeerSummary {
	var order []PeerSummary
	perCore, net, perSecond, rss := map[PeerSummary][]float64{}, map[PeerSummary][]float64{}, map[PeerSummary][]float64{}, map[PeerSummary][]float64{}
	for _, r := range rounds {
		if r.Round == 0 {
			continue
		}
		of := PeerSummary{Sink: r.Sink, Server: r.Server}
		if !slices.Contains(order, of) {
			order = append(order, of)
		}
		perCore[of] = append(perCore[of], r.PerCore())
		if r.Sink == PeerSink {
			r.CPUSeconds -= idleCores * r.DrainSeconds
		}
		net[of] = append(net[of], r.PerCore())
		perSecond[of] = append(perSecond[of], r.PerSecond())
		rss[of] = append(rss[of], float64(r.PeakRSSBytes))
	}
	summaries := make([]PeerSummary, len(order))
	for n, of := range order {
		summaries[n] = PeerSummary{of.Sink, of.Server, len(perCore[of]), median(perCore[of]), median(net[of]), median(perSecond[of]), median(rss[of])}
	}
	return summaries
}

// summary is that of a sink and a server.
func (r *PeerResult) summary(sink, server string) (PeerSummary, bool) {
	at := slices.IndexFunc(r.Summaries, func(s PeerSummary) bool { return s.Sink == sink && s.Server == server })
	if at < 0 {
		return PeerSummary{}, false
	}
	return r.Summaries[at], true
}

// PeerRatio is the consumer's median divided by the peer's, each number of its own kind.
type PeerRatio struct{ PerCore, PerSecond, PeakRSS float64 }

// Ratio compares the medians against one server; false when one of the sinks has none.
func (r *PeerResult) Ratio(server string) (PeerRatio, bool) {
	peer, one := r.summary(PeerSink, server)
	own, two := r.summary(OwnSink, server)
	if !one || !two {
		return PeerRatio{}, false
	}
	return PeerRatio{own.PerCore / peer.PerCore, own.PerSecond / peer.PerSecond, own.PeakRSSBytes / peer.PeakRSSBytes}, true
}

// Faults are what makes the comparison one that cannot be trusted: a sink that did not take care of
// every event; empty when there is none.
func (r *PeerResult) Faults() []string {
	var faults []string
	for _, round := range r.Rounds {
		if round.Events != int64(r.Events) {
			faults = append(faults, fmt.Sprintf("round %d: %s took care of %d of %d events", round.Round, round.Sink, round.Events, r.Events))
		}
	}
	return faults
}

// peerQuiet is how many cores others may take before the speed of a round is theirs as well.
const peerQuiet = 0.25

// Warnings are what a reader must know of the speeds: rounds in which the machine was not the lab's
// alone. Events per core suffer less from it.
func (r *PeerResult) Warnings() []string {
	var busy, most = 0, 0.0
	for _, round := range r.Rounds {
		if round.Round > 0 && round.OthersCores > peerQuiet {
			busy, most = busy+1, max(most, round.OthersCores)
		}
	}
	if busy == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the machine was not quiet: in %d rounds other processes took up to %.2f cores; events/s are too low, run it again", busy, most)}
}

// OwnFailures are the cases in which the consumer's documents are not the rows, and what a reader saw
// that it must not see; empty when there is none.
func (r *PeerResult) OwnFailures() []string {
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

// WritePeer writes the result as tables for a terminal.
func WritePeer(w io.Writer, r *PeerResult) error {
	schemas := map[bool]string{false: "off", true: "on"}[r.Schemas]
	fmt.Fprintf(w, "%d events (%d records, %d bytes an event, schemas %s, %d partitions), captured by %s\n", r.Events, r.Records,
		r.BytesPerEvent, schemas, r.Partitions, r.Versions["connector"])
	fmt.Fprintf(w, "%s, %s, %d cores, commit %.12s; the peer has tasks.max %s\n", r.StartTime.Format("2006-01-02 15:04 UTC"), r.Host.CPUModel,
		r.Host.Cores, r.Commit, r.Connector["tasks.max"])
	fmt.Fprintf(w, "The worker without a connector takes %.3f cores and %.0f MiB, which are in the peer's numbers", r.IdleCores, mib(float64(r.IdleRSSBytes)))
	if s, ok := r.summary(PeerSink, NullServer); ok {
		fmt.Fprintf(w, "; without those cores its median per core is %.0f", s.PerCoreNet)
	}
	fmt.Fprint(w, ".\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "round\tsink\tinto\tevents\twrites\tstart s\tdrain s\tCPU s\tevents/s\tper core\tpeak MiB\tload\tothers\t")
	for _, round := range r.Rounds {
		name := fmt.Sprint(round.Round)
		if round.Round == 0 {
			name = "warm-up"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.1f\t%.2f\t\n", name, round.Sink, round.Server, round.Events,
			round.Writes, round.StartSeconds, round.DrainSeconds, round.CPUSeconds, round.PerSecond(), round.PerCore(), mib(float64(round.PeakRSSBytes)),
			round.Load1, round.OthersCores)
	}
	for _, s := range r.Summaries {
		fmt.Fprintf(t, "median\t%s\t%s\t\t\t\t\t\t%.0f\t%.0f\t%.0f\t\t\t\n", s.Sink, s.Server, s.PerSecond, s.PerCore, mib(s.PeakRSSBytes))
	}
	for _, s := range r.Summaries {
		if ratio, ok := r.Ratio(s.Server); ok && s.Sink == OwnSink {
			fmt.Fprintf(t, "ratio\t%s / peer\t%s\t\t\t\t\t\t%.2f\t%.2f\t%.3f\t\t\t\n", OwnSink, s.Server, ratio.PerSecond, ratio.PerCore, ratio.PeakRSS)
		}
	}
	fmt.Fprintln(t)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the comparison: %w", err)
	}
	return writePeerHistory(w, r)
}

func mib(bytes float64) float64 { return bytes / (1 << 20) }

func writePeerHistory(w io.Writer, r *PeerResult) error {
	fmt.Fprintf(w, "A history of %d records into %s, the last %d of them produced again; keys by status:\n", r.History.Records,
		r.Versions["mongo"], r.History.Duplicates)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\tsink\t"+strings.Join(PeerStatuses(), "\t")+"\texample")
	for _, name := range peerCaseNames {
		for _, c := range r.History.Cases {
			if c.Name != name {
				continue
			}
			fmt.Fprintf(t, "%s\t%s", c.Name, c.Sink)
			for _, status := range PeerStatuses() {
				fmt.Fprintf(t, "\t%d", c.Keys[status])
			}
			fmt.Fprintln(t, "\t"+c.Example)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the comparison: %w", err)
	}
	fmt.Fprintln(w)
	for _, seen := range r.History.Watched {
		fmt.Fprintf(w, "A reader of %s during the duplicates (%d looks): %d of %d updated rows went back, %d of %d deleted rows reappeared. %s\n",
			seen.Sink, seen.Looks, seen.WentBack, peerKeys, seen.Reappeared, peerKeys, seen.Example)
	}
	for _, note := range append(r.Warnings(), r.Notes...) {
		fmt.Fprintln(w, note)
	}
	return nil
}

// writeJSON stores a value, indented.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
