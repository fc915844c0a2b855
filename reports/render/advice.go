package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// Bounds of the advice. The processor and its use follow section 2.7.6 of the specification.
const (
	busyWarningPercent  = 70.0
	busyCriticalPercent = 90.0
	// fewTail: with fewer samples than this, fewer than ten lie beyond the p99.
	fewTail = 1000
	// longTail is the p99 in multiples of the p50 from which the tail deserves a look.
	longTail = 10.0
)

// Recommendations says in plain sentences what follows from the numbers of a Run: the dominant
// stage, anything that hides the pipeline, the next thing to look at. The sentences decide nothing.
func Recommendations(r *reports.Run) []string {
	var all []string
	for _, advise := range []func(*reports.Run) string{
		adviseStage, adviseScheduleDelay, adviseFloor, adviseStandIn, adviseResolution, adviseTail,
		adviseSamples, adviseRecovery, adviseFaultEffect, adviseHost, adviseTmpfs,
		adviseSubstituted, adviseTracker,
	} {
		if sentence := advise(r); sentence != "" {
			all = append(all, sentence)
		}
	}
	return all
}

func adviseStage(r *reports.Run) string {
	split := reports.Waterfall(r, func(l reports.Latency) float64 { return l.P50 })
	if len(split) < 2 {
		return ""
	}
	var sum float64
	for _, s := range split {
		sum += s.Ms
	}
	most := slices.MaxFunc(split, func(a, b reports.Part) int { return cmp.Compare(a.Ms, b.Ms) })
	if sum == 0 {
		return ""
	}
	return fmt.Sprintf("Most of a typical write's time is %s: %s ms at p50, %.0f %% of the stages "+
		"together.", most.Label, unit.Ms(most.Ms), 100*most.Ms/sum)
}

func adviseScheduleDelay(r *reports.Run) string {
	delay, ok := r.StageOf(reports.ScheduleDelay, "", "")
	commit, known := r.StageOf(reports.Commit, "", "")
	if !ok || !known || delay.P99 <= 2*commit.P99 || delay.P99 <= reports.MaxLateMs {
		return ""
	}
	return fmt.Sprintf("Writes waited up to %s ms (p99) for a free connection to PostgreSQL, "+
		"whose commits took %s ms: offer less, or allow more connections.", unit.Ms(delay.P99),
		unit.Ms(commit.P99))
}

func adviseFloor(r *reports.Run) string {
	if r.Floor.Writes == 0 || !r.Measured() || r.Summary.Latency.P50 == 0 {
		return ""
	}
	part := r.Floor.P50 / r.Summary.Latency.P50
	if part < 0.5 {
		return ""
	}
	return fmt.Sprintf("The floor, a direct write to MongoDB until seen, is %s of the %s ms at "+
		"p50: a faster pipeline would hardly show here.", unit.Ms(r.Floor.P50),
		unit.Ms(r.Summary.Latency.P50))
}

func adviseStandIn(r *reports.Run) string {
	kind := r.Provenance.MongoKind
	if !strings.HasPrefix(kind, "secantusd") {
		return ""
	}
	sentence := fmt.Sprintf("MongoDB is the stand-in %s, so the numbers are not those of a real "+
		"server", kind)
	if r.Provenance.Stack != "compose" { // whose images are another fetch
		sentence += "; `./just fetch mongod` brings one, once"
	}
	sentence += "."
	if kind == "secantusd-py" {
		sentence += " This one is slow; `./just fetch` installs the fast one."
	}
	return sentence
}

func adviseResolution(r *reports.Run) string {
	resolution := max(r.Floor.ResolutionMs, r.Tracker.MedianLookMs)
	if resolution == 0 || !r.Measured() || resolution < r.Summary.Latency.P50/2 {
		return ""
	}
	return fmt.Sprintf("The tracker polls every %s ms, which is coarse beside an e2e p50 of %s "+
		"ms: a server with change streams would tell more.",
		unit.Ms(resolution), unit.Ms(r.Summary.Latency.P50))
}

func adviseTail(r *reports.Run) string {
	l := r.Summary.Latency
	if !r.Measured() || len(r.Faults) > 0 || l.P50 == 0 || l.P99 < longTail*l.P50 {
		return ""
	}
	sentence := fmt.Sprintf("The tail is long: p99 is %.0f times p50.", l.P99/l.P50)
	if len(r.Series) == 0 {
		return sentence
	}
	worst := slices.MaxFunc(r.Series,
		func(a, b reports.Second) int { return cmp.Compare(a.Max, b.Max) })
	return sentence + fmt.Sprintf(" The slowest write, %s ms, was intended in second %d.",
		unit.Ms(worst.Max), worst.Second)
}

func adviseSamples(r *reports.Run) string {
	row, ok := r.StageOf(reports.E2E, "", "")
	if !ok || row.Count >= fewTail {
		return ""
	}
	return fmt.Sprintf("Only %s measured, so the p99 rests on about %d of them: run longer or "+
		"faster.", unit.Plural(row.Count, "write was", "writes were"), max(1, row.Count/100))
}

func adviseRecovery(r *reports.Run) string {
	var sentences []string
	for _, f := range r.Faults {
		if f.Applied && f.RecoveredSeconds > 0 {
			sentences = append(sentences, fmt.Sprintf("After %s the pipeline needed %s s to "+
				"recover.", f.Name, unit.Number(f.RecoveredSeconds)))
		}
	}
	return strings.Join(sentences, " ")
}

func adviseFaultEffect(r *reports.Run) string {
	for _, f := range r.Faults {
		if f.Applied && f.InsideP50 > 0 && f.OutsideP50 > 0 && f.InsideP50 < 1.1*f.OutsideP50 {
			return fmt.Sprintf("The fault %s was hardly felt: e2e p50 %s ms inside, %s ms "+
				"outside. The pipeline bears it, or the fault is too weak.",
				f.Name, unit.Ms(f.InsideP50), unit.Ms(f.OutsideP50))
		}
	}
	return ""
}

func adviseHost(r *reports.Run) string {
	busy := r.Host.CPUBusyPercent
	switch {
	case busy > busyCriticalPercent:
		return fmt.Sprintf("The machine was %s %% busy, over the critical %s %%: it is a part of "+
			"every latency here.", unit.Number(busy), unit.Number(busyCriticalPercent))
	case busy > busyWarningPercent:
		return fmt.Sprintf("The machine was %s %% busy, over the warning level of %s %%.",
			unit.Number(busy), unit.Number(busyWarningPercent))
	}
	return ""
}

func adviseTmpfs(r *reports.Run) string {
	if !r.Provenance.Tmpfs {
		return ""
	}
	return "The data was on a memory file system, where a sync costs nothing: on a disk the " +
		"commit is slower."
}

func adviseSubstituted(r *reports.Run) string {
	if r.Generator.Substituted == 0 {
		return ""
	}
	return fmt.Sprintf("%s inserts because no row was free: the mix was not quite the one asked "+
		"for.",
		unit.Plural(r.Generator.Substituted, "update or delete became",
			"updates and deletes became"))
}

func adviseTracker(r *reports.Run) string {
	if r.Tracker.Errors == 0 {
		return ""
	}
	return fmt.Sprintf("The tracker lost sight of MongoDB %s: what was written meanwhile may have "+
		"been visible earlier than measured.", unit.Plural(r.Tracker.Errors, "time", "times"))
}
