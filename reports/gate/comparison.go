package gate

import (
	"fmt"
	"math"
	"slices"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// compareAlpha is the level of a comparison of stored Runs: of the same build, at most so many
// comparisons fail. Such Runs are mostly of two sessions, and no extension is possible.
const compareAlpha = 0.05

// soughtPercent is the change for which a comparison says how many Runs would find the change.
const soughtPercent = 10

// Comparison holds two groups of stored Runs against each other.
type Comparison struct {
	Verdict reports.Verdict `json:"verdict"`
	// Base and Head are the ids of the Runs.
	Base []string `json:"base"`
	Head []string `json:"head"`
	// Findings are of the metrics that decide, Stages of the medians of the stages of a write.
	Findings []Finding `json:"findings"`
	Stages   []Finding `json:"stages"`
	// Moved is the sentence about the stage with the greatest change in milliseconds.
	Moved string `json:"moved"`
	// Differences are what else differs between the Runs, Warnings what else to know.
	Differences []string `json:"differences"`
	Warnings    []string `json:"warnings"`
	// Needs says how many Runs a claim needs, empty where there are enough.
	Needs string `json:"needs"`
}

// Compare holds the head's Runs against the base's; each side has a Run or more. Compare never
// fails: the verdict says what cannot be compared. A defect of the head fails at any number of
// Runs.
func Compare(base, head []*reports.Run) *Comparison {
	c := &Comparison{Verdict: reports.Verdict{Status: reports.Pass, Reasons: []string{}},
		Base: ids(base), Head: ids(head), Differences: []string{}, Warnings: []string{}}
	gross := c.compareEach(base, head)
	c.Findings = findings(Primary, base, head)
	c.Stages = findings(stageMetrics(), base, head)
	c.Moved = moved(c.Stages)
	if len(c.Findings) == 0 {
		c.add(reports.Unknown, "A run has none of the metrics that decide.")
		return c
	}
	if apart(base, head) {
		c.Warnings = append(c.Warnings, "All runs of one side were made before the other side's: "+
			"the machine's drift between is part of every change (gate alternates the sides).")
	}
	c.judge(min(len(base), len(head)), gross)
	return c
}

func ids(runs []*reports.Run) []string {
	all := make([]string, len(runs))
	for i, run := range runs {
		all[i] = run.TestRun.ID
	}
	return all
}

func (c *Comparison) add(status reports.Status, format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	if !slices.Contains(c.Verdict.Reasons, reason) {
		c.Verdict = c.Verdict.Merge(reports.Verdict{Status: status, Reasons: []string{reason}})
	}
}

// compareEach compares every two Runs: for conditions that differ, and for defects of single Runs.
// gross is true if every Run of the head is grossly worse than every Run of the base.
func (c *Comparison) compareEach(base, head []*reports.Run) (gross bool) {
	gross = true
	for i, b := range base {
		for _, h := range head {
			single := reports.Compare(b, h)
			gross = gross && single.Verdict.Status == reports.Fail && single.Comparable
			for _, reason := range single.Reasons {
				c.add(reports.Unknown, "%s", reason)
			}
			for _, warning := range single.Warnings {
				if !slices.Contains(c.Differences, warning) {
					c.Differences = append(c.Differences, warning)
				}
			}
			if i == 0 {
				c.addVerdict(Head, h)
			}
		}
		c.addVerdict(Base, b)
	}
	return gross
}

// addVerdict takes over the verdict of a Run, which is judged by what is in the file.
func (c *Comparison) addVerdict(side Side, run *reports.Run) {
	for _, reason := range run.Verdict.Reasons {
		switch {
		case run.Verdict.Status == reports.Fail && side == Head:
			c.add(reports.Fail, "Run %s of the head failed: %s", run.TestRun.ID, reason)
		case run.Verdict.Status != reports.Pass:
			c.add(reports.Unknown, "Run %s of the %s is %s: %s", run.TestRun.ID, side,
				run.Verdict.Status, reason)
		}
	}
}

// judge judges the metrics of Runs that may be compared.
func (c *Comparison) judge(runs int, gross bool) {
	c.Needs = c.runsNeeded(runs)
	if c.Verdict.Status != reports.Pass {
		return
	}
	rule := DefaultRule
	for i := range c.Findings {
		if f := &c.Findings[i]; rule.worse(f.Percent, f.AdjustedP, compareAlpha) {
			c.add(reports.Fail, "%s is worse: %s.", f.Metric, f.words())
		}
	}
	least := LeastRuns(compareAlpha, len(c.Findings))
	switch {
	case c.Verdict.Status == reports.Fail:
	case gross:
		c.add(reports.Fail, "Every run of the head is grossly worse than every run of the base.")
	case runs < least:
		c.add(reports.Unknown, "%s a side %s too few for any claim: %d are needed.",
			unit.Plural(int64(runs), "run", "runs"), isOrAre(runs), least)
	}
	c.Verdict.RestsOn = []string{fmt.Sprintf("%d + %d runs; of the same build at most %g %% of "+
		"such comparisons fail.", len(c.Base), len(c.Head), 100*compareAlpha)}
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// runsNeeded is the sentence about the Runs that a change of soughtPercent needs.
func (c *Comparison) runsNeeded(runs int) string {
	need, by := LeastRuns(compareAlpha, len(c.Findings)), ""
	for _, f := range c.Findings {
		n := RunsFor(soughtPercent, f.Noise, compareAlpha, len(c.Findings))
		if n > need {
			need, by = n, fmt.Sprintf(" (%s scatters by %s %%)", f.Metric, unit.Number(f.Noise))
		}
	}
	if runs >= need {
		return ""
	}
	known := ""
	if runs < 3 { // two values tell no scatter
		known = "at least "
	}
	return fmt.Sprintf("To find a change of %d %%, %s%d runs a side are needed%s; these are %d.",
		soughtPercent, known, need, by, runs)
}

// stageMetrics are the medians of the stages, which attribute a change and decide nothing.
func stageMetrics() (all []Metric) {
	for _, stage := range append(slices.Clone(reports.PartStages), reports.Pipeline) {
		all = append(all, Metric{reports.StageLabel(stage), "ms", stageMetric(stage, medianOf)})
	}
	return all
}

// moved names the stage that moved most, in milliseconds. The pipeline is the sum of the stages
// after the commit, and named only where no finer stage moved.
func moved(stages []Finding) string {
	most := func(f Finding) float64 { return math.Abs(f.HeadMedian - f.BaseMedian) }
	var found *Finding
	for i := range stages {
		f := &stages[i]
		whole := f.Metric == reports.StageLabel(reports.Pipeline)
		if found == nil || most(*f) > most(*found) && !whole || whole && most(*f) > 2*most(*found) {
			found = f
		}
	}
	if found == nil || most(*found) == 0 {
		return ""
	}
	certain := ", which may be noise"
	if found.AdjustedP < compareAlpha {
		certain = ""
	}
	return fmt.Sprintf("The stage that moved most is %s: %s -> %s ms (p = %.2g)%s.", found.Metric,
		unit.Ms(found.BaseMedian), unit.Ms(found.HeadMedian), found.AdjustedP, certain)
}

// apart returns true if all Runs of one side began before all Runs of the other.
func apart(base, head []*reports.Run) bool {
	begin := func(r *reports.Run) int64 { return r.TestRun.StartTime.UnixNano() }
	ends := func(runs []*reports.Run) (first, last int64) {
		first, last = begin(runs[0]), begin(runs[0])
		for _, r := range runs {
			first, last = min(first, begin(r)), max(last, begin(r))
		}
		return first, last
	}
	firstBase, lastBase := ends(base)
	firstHead, lastHead := ends(head)
	return len(base)+len(head) > 2 && (lastBase < firstHead || lastHead < firstBase)
}
