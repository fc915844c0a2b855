package matrix

import (
	"fmt"
	"slices"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/impact"
	"github.com/cdclab/cdclab/stack"
)

// Result is what a Cell's run showed.
type Result struct {
	Status reports.Status `json:"status"`
	// Expected is true if the fault loses data by itself, so that no better Status was to be had.
	Expected bool     `json:"expected,omitempty"`
	Reasons  []string `json:"reasons"`
	// DetectSeconds, SteadySeconds, WorstP99, Degradation and MaxLag are as in impact.Impact: of a
	// run whose seconds do not tell what is steady -1, -1, 0, 0 and 0.
	DetectSeconds float64 `json:"detectSeconds"`
	SteadySeconds float64 `json:"steadySeconds"`
	WorstP99      float64 `json:"worstP99"`
	Degradation   float64 `json:"degradation"`
	MaxLag        int64   `json:"maxLag"`
	// RecoveredSeconds is the time from the fault's end until every part served, the latency was
	// steady and what waited was seen; -1 is never.
	RecoveredSeconds float64            `json:"recoveredSeconds"`
	Deliveries       reports.Deliveries `json:"deliveries"`
	// Rows is the table check's number of rows and documents of each status.
	Rows   map[reports.RowStatus]int64 `json:"rows"`
	Commit string                      `json:"commit"`
	// TookSeconds is how long the Cell took, with the stack's start and end.
	TookSeconds float64 `json:"tookSeconds"`
}

// resultOf reads the Result of a run of a single fault.
func resultOf(kind faults.Kind, run *reports.Run) *Result {
	r := &Result{Status: run.Verdict.Status, Reasons: run.Verdict.Reasons, DetectSeconds: -1,
		SteadySeconds: -1, RecoveredSeconds: -1, Deliveries: run.Deliveries,
		Rows: run.Consistency.Counts, Commit: run.Provenance.Commit}
	for _, i := range impact.Of(run) {
		r.DetectSeconds, r.SteadySeconds = i.DetectSeconds, i.SteadySeconds
		r.WorstP99, r.Degradation, r.MaxLag = i.WorstP99, i.Degradation, i.MaxLag
	}
	for _, f := range run.Faults {
		r.RecoveredSeconds = f.RecoveredSeconds
	}
	if lost := r.bad(); kind.Loses != "" && lost > 0 && r.Status == reports.Fail {
		r.forgive(kind, run, lost)
	}
	return r
}

// forgive judges the run again without the rows that are not right, because a fault that loses data
// by itself makes such rows in a sound pipeline, too. The tracker sees no lost write: as many
// unseen writes are left out. The Status is at best unknown.
func (r *Result) forgive(kind faults.Kind, run *reports.Run, lost int64) {
	other := *run
	other.Consistency.Counts = map[reports.RowStatus]int64{}
	for status, n := range run.Consistency.Counts {
		if status.Bad() {
			status = reports.OK
		}
		other.Consistency.Counts[status] += n
	}
	other.Summary.Timeouts -= min(lost, other.Summary.Timeouts-other.Summary.Late)
	verdict := reports.Judge(&other)
	r.Expected = verdict.Status == reports.Pass
	verdict = verdict.Merge(reports.Verdict{Status: reports.Unknown, Reasons: []string{fmt.Sprintf(
		"Of %d rows that are not right nobody can tell whether the pipeline or the fault lost "+
			"them. The fault loses: %s.", lost, kind.Loses)}})
	r.Status, r.Reasons = verdict.Status, verdict.Reasons
}

// bad counts the rows and documents that are not right.
func (r *Result) bad() (n int64) {
	for status, count := range r.Rows {
		if status.Bad() {
			n += count
		}
	}
	return n
}

// Row is a fault on a target of a stack, with the Results of all seeds.
type Row struct {
	Stack, Family, Fault, Target string
	// Runs counts the cells with a Result.
	Runs int
	// Status is the worst of the Results, "" without a Result; Reason is the first reason of a
	// Result with that Status, or why there is no Result.
	Status   reports.Status
	Reason   string
	Expected bool
	// Detect is the median, -1 where the numbers showed nothing. Steady50 and SteadyMax are over
	// the Results with a known time; Unsteady counts the others.
	Detect, Steady50, SteadyMax float64
	Unsteady                    int
	// WorstP99, Degradation and MaxLag are the greatest values, Again is the sum.
	WorstP99, Degradation float64
	MaxLag, Again         int64
	// Lost, Stale and Wrong are sums; Wrong are the rows with any other bad status.
	Lost, Stale, Wrong int64
}

// title names the Row.
func (row *Row) title() string { return title(row.Fault, row.Target, row.Stack) }

func title(fault, target, stack string) string {
	return fmt.Sprintf("%s of %s on %s", fault, target, stack)
}

// Rows makes a Row of the cells with the same stack, fault and target, in the order of the table of
// faults within each stack.
func Rows(cells []*Cell) []Row {
	var rows []Row
	for _, g := range groupsOf(cells) {
		rows = append(rows, g.Row)
	}
	return rows
}

// group is a Row with the Row's cells.
type group struct {
	Row
	Cells []*Cell
}

// groupsOf is Rows, with the cells.
func groupsOf(cells []*Cell) []group {
	byName := map[string][]*Cell{}
	var names []string
	for _, name := range stack.Started {
		for _, kind := range faults.Table() {
			for _, target := range kind.TargetsOf(1) {
				id := (&Cell{Stack: name, Fault: kind.Name, Target: target}).name()
				names = append(names, id)
			}
		}
	}
	for _, c := range cells {
		one := *c
		one.Seed = 0
		byName[one.name()] = append(byName[one.name()], c)
	}
	var groups []group
	for _, id := range names {
		if of := byName[id]; len(of) > 0 {
			groups = append(groups, group{rowOf(of), of})
		}
	}
	return groups
}

func rowOf(cells []*Cell) Row {
	first := cells[0]
	row := Row{Stack: first.Stack, Family: first.Family, Fault: first.Fault,
		Target: first.Target, Detect: -1, Steady50: -1, SteadyMax: -1,
		Reason: first.Impossible}
	var detected, steady []float64
	for _, c := range cells {
		r := c.Result
		if r == nil {
			row.failed(c.Failed)
			continue
		}
		row.Runs++
		row.take(r)
		if r.DetectSeconds >= 0 {
			detected = append(detected, r.DetectSeconds)
		}
		if r.SteadySeconds < 0 {
			row.Unsteady++
			continue
		}
		steady = append(steady, r.SteadySeconds)
	}
	if len(detected) > 0 {
		row.Detect = reports.Middle(detected)
	}
	if len(steady) > 0 {
		row.Steady50, row.SteadyMax = reports.Middle(steady), slices.Max(steady)
	}
	return row
}

// failed keeps the reason of a cell without a Result, where no Result has a reason.
func (row *Row) failed(reason string) {
	if row.Reason == "" {
		row.Reason = reason
	}
}

// take adds a Result to the greatest values, the sums and the Status.
func (row *Row) take(r *Result) {
	row.WorstP99 = max(row.WorstP99, r.WorstP99)
	row.Degradation = max(row.Degradation, r.Degradation)
	row.MaxLag = max(row.MaxLag, r.MaxLag)
	row.Again += r.Deliveries.Again
	lost, stale := r.Rows[reports.Lost], r.Rows[reports.Stale]
	row.Lost, row.Stale = row.Lost+lost, row.Stale+stale
	row.Wrong += r.bad() - lost - stale
	if row.Status == "" || severity(r) > severity(&Result{Status: row.Status,
		Expected: row.Expected}) {
		row.Status, row.Expected = r.Status, r.Expected
		if len(r.Reasons) > 0 {
			row.Reason = r.Reasons[0]
		}
	}
}

// severity orders Results from the best to the worst.
func severity(r *Result) int {
	switch {
	case r.Status == reports.Pass:
		return 0
	case r.Status == reports.Unknown && r.Expected:
		return 1
	case r.Status == reports.Unknown:
		return 2
	}
	return 3
}

// Summary counts cells.
type Summary struct {
	Pass, Fail, Unknown, Expected int
	// Missing cells could be run and have no Result; Impossible cells cannot be run.
	Missing, Impossible int
	// Slow names the rows with a recovery above the goal of ten seconds, or without one.
	Slow []string
}

// Summarize counts cells.
func Summarize(cells []*Cell) Summary {
	var s Summary
	for _, c := range cells {
		switch r := c.Result; {
		case c.Impossible != "":
			s.Impossible++
		case r == nil:
			s.Missing++
		case r.Status == reports.Pass:
			s.Pass++
		case r.Status == reports.Fail:
			s.Fail++
		case r.Expected:
			s.Expected++
		default:
			s.Unknown++
		}
	}
	for _, row := range Rows(cells) {
		if row.SteadyMax > impact.GoalSeconds || row.Unsteady > 0 {
			s.Slow = append(s.Slow, row.title())
		}
	}
	return s
}

// Status is fail with a failed cell, else unknown with a cell that is unknown or missing. Cells
// that are impossible, or unknown as expected, do not count.
func (s Summary) Status() reports.Status {
	switch {
	case s.Fail > 0:
		return reports.Fail
	case s.Unknown+s.Missing > 0 || s.Pass+s.Expected == 0:
		return reports.Unknown
	}
	return reports.Pass
}
