package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Bounds of the advice. The processor and its use are those of section 2.7.6 of the specification.
const (
	busyWarningPercent  = 70.0
	busyCriticalPercent = 90.0
	// fewTail: with fewer samples than this, fewer than ten lie beyond the p99.
	fewTail = 1000
	// longTail is the p99 in multiples of the p50 from which the tail is worth its own look.
	longTail = 10.0
)

// Recommendations are plain sentences that follow from the numbers of a Run: what dominates, what
// hides the pipeline, what to look at next. They decide nothing.
func Recommendations(r *Run) []string {
	var all []string
	for _, advise := range []func(*Run) string{
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

// parts are the stages that follow each other in a write, as fine as the Run knows them.
var parts = []string{ScheduleDelay, Commit, SourceToConnector, ConnectorToKafka, KafkaToConsumer, ConsumerToApplied}

func adviseStage(r *Run) string {
	split := waterfallParts(r, func(l Latency) float64 { return l.P50 })
	if len(split) < 2 {
		return ""
	}
	var sum float64
	for _, s := range split {
		sum += s.Ms
	}
	most := slices.MaxFunc(split, func(a, b part) int { return cmp.Compare(a.Ms, b.Ms) })
	if sum == 0 {
		return ""
	}
	return fmt.Sprintf("Most of a typical write's time is %s: %s ms at p50, %.0f %% of the stages "+
		"together.", most.Label, ms(most.Ms), 100*most.Ms/sum)
}

func adviseScheduleDelay(r *Run) string {
	delay, ok := r.StageOf(ScheduleDelay, "", "")
	commit, known := r.StageOf(Commit, "", "")
	if !ok || !known || delay.P99 <= 2*commit.P99 || delay.P99 <= maxLateMs {
		return ""
	}
	return fmt.Sprintf("Writes waited up to %s ms (p99) for a free connection to PostgreSQL, whose "+
		"commits took %s ms: offer less, or allow more connections.", ms(delay.P99), ms(commit.P99))
}

func adviseFloor(r *Run) string {
	if r.Floor.Writes == 0 || !r.measured() || r.Summary.Latency.P50 == 0 {
		return ""
	}
	part := r.Floor.P50 / r.Summary.Latency.P50
	if part < 0.5 {
		return ""
	}
	return fmt.Sprintf("The floor, a direct write to MongoDB until seen, is %s of the %s ms at p50: a "+
		"faster pipeline would hardly show here.", ms(r.Floor.P50), ms(r.Summary.Latency.P50))
}

func adviseStandIn(r *Run) string {
	kind := r.Provenance.MongoKind
	if !strings.HasPrefix(kind, "secantusd") {
		return ""
	}
	sentence := fmt.Sprintf("MongoDB is the stand-in %s, so the numbers are not those of a real "+
		"server; give a mongod for those.", kind)
	if kind == "secantusd-py" {
		sentence += " This one is slow; `./just fetch` installs the fast one."
	}
	return sentence
}

func adviseResolution(r *Run) string {
	resolution := max(r.Floor.ResolutionMs, r.Tracker.MedianLookMs)
	if resolution == 0 || !r.measured() || resolution < r.Summary.Latency.P50/2 {
		return ""
	}
	return fmt.Sprintf("The tracker polls every %s ms, which is coarse beside an e2e p50 of %s ms: "+
		"a server with change streams would tell more.",
		ms(resolution), ms(r.Summary.Latency.P50))
}

func adviseTail(r *Run) string {
	l := r.Summary.Latency
	if !r.measured() || len(r.Faults) > 0 || l.P50 == 0 || l.P99 < longTail*l.P50 {
		return ""
	}
	sentence := fmt.Sprintf("The tail is long: p99 is %.0f times p50.", l.P99/l.P50)
	if len(r.Series) == 0 {
		return sentence
	}
	worst := slices.MaxFunc(r.Series, func(a, b Second) int { return cmp.Compare(a.Max, b.Max) })
	return sentence + fmt.Sprintf(" The slowest write, %s ms, was intended in second %d.",
		ms(worst.Max), worst.Second)
}

func adviseSamples(r *Run) string {
	row, ok := r.StageOf(E2E, "", "")
	if !ok || row.Count >= fewTail {
		return ""
	}
	return fmt.Sprintf("Only %s measured, so the p99 rests on about %d of them: run longer or faster.",
		plural(row.Count, "write was", "writes were"), max(1, row.Count/100))
}

func adviseRecovery(r *Run) string {
	var sentences []string
	for _, f := range r.Faults {
		if f.Applied && f.RecoveredSeconds > 0 {
			sentences = append(sentences, fmt.Sprintf("After %s the pipeline needed %s s to "+
				"recover.", f.Name, number(f.RecoveredSeconds)))
		}
	}
	return strings.Join(sentences, " ")
}

func adviseFaultEffect(r *Run) string {
	for _, f := range r.Faults {
		if f.Applied && f.InsideP50 > 0 && f.OutsideP50 > 0 && f.InsideP50 < 1.1*f.OutsideP50 {
			return fmt.Sprintf("The fault %s was hardly felt: e2e p50 %s ms inside, %s ms outside. "+
				"The pipeline bears it, or the fault is too weak.", f.Name, ms(f.InsideP50), ms(f.OutsideP50))
		}
	}
	return ""
}

func adviseHost(r *Run) string {
	busy := r.Host.CPUBusyPercent
	switch {
	case busy > busyCriticalPercent:
		return fmt.Sprintf("The machine was %s %% busy, over the critical %s %%: it is a part of every "+
			"latency here.", number(busy), number(busyCriticalPercent))
	case busy > busyWarningPercent:
		return fmt.Sprintf("The machine was %s %% busy, over the warning level of %s %%.",
			number(busy), number(busyWarningPercent))
	}
	return ""
}

func adviseTmpfs(r *Run) string {
	if !r.Provenance.Tmpfs {
		return ""
	}
	return "The data was on a memory file system, where a sync costs nothing: on a disk the commit " +
		"is slower."
}

func adviseSubstituted(r *Run) string {
	if r.Generator.Substituted == 0 {
		return ""
	}
	return fmt.Sprintf("%s inserts because no row was free: the mix was not quite the one asked for.",
		capital(plural(r.Generator.Substituted, "update or delete became",
			"updates and deletes became")))
}

func adviseTracker(r *Run) string {
	if r.Tracker.Errors == 0 {
		return ""
	}
	return fmt.Sprintf("The tracker lost sight of MongoDB %s: what was written meanwhile may have been "+
		"visible earlier than measured.", plural(r.Tracker.Errors, "time", "times"))
}
