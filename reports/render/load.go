package render

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/shown"
)

// loadRow is the load of a k6 scenario: the plan, and what happened.
type loadRow struct {
	Name, Schedule              string
	Planned, Iterations, Writes string
	// Measured is false for a warmup, Short is true if fewer iterations wrote than planned.
	Measured, Short bool
}

// loadRows returns a row for each scenario, none for the Run of an older lab.
func loadRows(r *reports.Run) (rows []loadRow) {
	for _, s := range r.Load.Scenarios {
		planned := "?" // an iteration waits for the one before
		if s.Planned >= 0 {
			planned = fmt.Sprint(s.Planned)
		}
		rows = append(rows, loadRow{s.Name, s.Schedule, planned, fmt.Sprint(s.Iterations),
			fmt.Sprint(s.Writes), s.Measured, s.Iterations < s.Planned})
	}
	return rows
}

// loadLines say what of the load was asked for, beside what happened; none for the Run of an older
// lab.
func loadLines(r *reports.Run) []string {
	l := &r.Load
	if l.Model == "" {
		return nil
	}
	var asked []string
	for _, name := range slices.Sorted(maps.Keys(l.Asked)) {
		asked = append(asked, name+" "+l.Asked[name])
	}
	if len(asked) == 0 {
		asked = []string{"nothing, so the script's own load"}
	}
	length := unit.Number(r.TestRun.DurationSeconds) + " s"
	if l.PlannedSeconds > 0 {
		length += " of " + unit.Number(l.PlannedSeconds) + " s planned"
	}
	mix := func(o reports.Operations) string { return unit.Shares(o.Insert, o.Update, o.Delete) }
	return []string{
		"asked: " + strings.Join(asked, ", "),
		fmt.Sprintf("happened: %s model, %s/s for %s, seed %d", l.Model,
			unit.Number(r.Summary.Throughput.Offered), length, r.Provenance.Seed),
		fmt.Sprintf("mix of inserts/updates/deletes in %%: chosen %s, written %s",
			mix(l.AskedOperations), mix(l.Operations)),
		"iterations without a write: " + droppedText(l.SilentIterations),
	}
}

func textLoad(b *bytes.Buffer, r *reports.Run) {
	rows := loadRows(r)
	if len(rows) > 0 {
		fmt.Fprintf(b, "\n%s %12s %12s %12s\n", padded("Load in iterations", 56), "planned",
			"happened", "writes")
	}
	for _, row := range rows {
		text := shown.Line(row.Name + ": " + row.Schedule)
		if !row.Measured {
			text += " (not measured)"
		}
		fmt.Fprintf(b, "  %s %12s %12s %12s\n", padded(text, 54), row.Planned, row.Iterations,
			row.Writes)
	}
	for _, line := range loadLines(r) {
		fmt.Fprintf(b, "  %s\n", shown.Line(line))
	}
}
