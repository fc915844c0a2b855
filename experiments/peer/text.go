package peer

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/cdclab/cdclab/reports/wholefile"
)

// Write writes the result as tables for a terminal.
func Write(w io.Writer, r *Result) error {
	schemas := map[bool]string{false: "off", true: "on"}[r.Schemas]
	fmt.Fprintf(w, "%d events (%d records, %d bytes an event, schemas %s, %d partitions), "+
		"captured by %s\n", r.Events, r.Records,
		r.BytesPerEvent, schemas, r.Partitions, r.Versions["connector"])
	fmt.Fprintf(w, "%s, %s, %d cores, commit %.12s; the peer has tasks.max %s\n",
		r.StartTime.Format("2006-01-02 15:04 UTC"), r.Host.CPUModel,
		r.Host.Cores, r.Commit, r.Connector["tasks.max"])
	fmt.Fprintf(w, "The worker without a connector takes %.3f cores and %.0f MiB, "+
		"which are in the peer's numbers", r.IdleCores, mib(float64(r.IdleRSSBytes)))
	if s, ok := r.summary(MongoSink, NullServer); ok {
		fmt.Fprintf(w, "; without those cores its median per core is %.0f", s.PerCoreNet)
	}
	fmt.Fprint(w, ".\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "round\tsink\tinto\tevents\twrites\tstart s\tdrain s\tCPU s\t"+
		"events/s\tper core\tpeak MiB\tload\tothers\t")
	for _, round := range r.Rounds {
		name := fmt.Sprint(round.Round)
		if round.Round == 0 {
			name = "warm-up"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.1f\t%.2f\t\n",
			name, round.Sink, round.Server, round.Events,
			round.Writes, round.StartSeconds, round.DrainSeconds, round.CPUSeconds,
			round.PerSecond(), round.PerCore(), mib(float64(round.PeakRSSBytes)),
			round.Load1, round.OthersCores)
	}
	for _, s := range r.Summaries {
		fmt.Fprintf(t, "median\t%s\t%s\t\t\t\t\t\t%.0f\t%.0f\t%.0f\t\t\t\n",
			s.Sink, s.Server, s.PerSecond, s.PerCore, mib(s.PeakRSSBytes))
	}
	for _, s := range r.Summaries {
		if ratio, ok := r.Ratio(s.Server); ok && s.Sink == OwnSink {
			fmt.Fprintf(t, "ratio\t%s / peer\t%s\t\t\t\t\t\t%.2f\t%.2f\t%.3f\t\t\t\n",
				OwnSink, s.Server, ratio.PerSecond, ratio.PerCore, ratio.PeakRSS)
		}
	}
	fmt.Fprintln(t)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the comparison: %w", err)
	}
	return writeHistoryTables(w, r)
}

func mib(bytes float64) float64 { return bytes / (1 << 20) }

func writeHistoryTables(w io.Writer, r *Result) error {
	fmt.Fprintf(w, "A history of %d records into %s, the last %d of them produced again; "+
		"keys by status:\n", r.History.Records,
		r.Versions["mongo"], r.History.Duplicates)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "case\tsink")
	for _, status := range Statuses() {
		fmt.Fprintf(t, "\t%s", status)
	}
	fmt.Fprintln(t, "\texample")
	for _, name := range caseNames {
		for _, c := range r.History.Cases {
			if c.Name != name {
				continue
			}
			fmt.Fprintf(t, "%s\t%s", c.Name, c.Sink)
			for _, status := range Statuses() {
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
		fmt.Fprintf(w, "A reader of %s during the duplicates (%d looks): "+
			"%d of %d updated rows went back, %d of %d deleted rows reappeared. %s\n",
			seen.Sink, seen.Looks,
			seen.WentBack, keysOfCase, seen.Reappeared, keysOfCase, seen.Example)
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
	if err := wholefile.Write(path, append(text, '\n')); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
