package render

import (
	"bytes"
	"fmt"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/impact"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/shown"
)

func textFaults(b *bytes.Buffer, r *reports.Run) {
	if len(r.Faults) == 0 {
		return
	}
	fmt.Fprintf(b, "\nFaults\n")
	for _, f := range r.Faults {
		fmt.Fprintf(b, "  %s on %s: %s to %s s, %s; %s\n", f.Name, f.Target,
			unit.Number(f.StartSeconds),
			unit.Number(f.EndSeconds), appliedText(f), recoveryText(f))
		if f.InsideP50 > 0 || f.OutsideP50 > 0 {
			fmt.Fprintf(b, "    e2e p50 inside %s ms, outside %s ms\n", unit.Ms(f.InsideP50),
				unit.Ms(f.OutsideP50))
		}
		if f.Detail != "" {
			fmt.Fprintf(b, "    %s\n", shown.Line(f.Detail))
		}
	}
	textImpacts(b, impact.Of(r))
	fmt.Fprintf(b, "  %s\n", outcomeText(r))
}

// outcomeText is the outcome of all faults together: what came twice, and what did not come.
func outcomeText(r *reports.Run) string {
	duplicates := "the duplicates were not counted"
	if d := r.Deliveries; d.Counted {
		duplicates = fmt.Sprintf("%d of %s came again from the connector", d.Again,
			unit.Plural(d.Events, "event", "events"))
	}
	return duplicates + "; " + r.Consistency.Sentence()
}

// textImpacts is one table of all faults.
func textImpacts(b *bytes.Buffer, all []impact.Impact) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s %10s %12s %10s %8s %9s  %s\n", padded("What the faults did", 34),
		"seen after", "steady after", "worst p95", "x steady", "most lag", "seen by")
	for _, i := range all {
		fmt.Fprintf(b, "  %s %10s %12s %10s %8s %9d  %s\n", padded(i.Fault+" on "+i.Target, 32),
			seenText(i), steadyText(i), unit.Ms(i.WorstP95)+" ms", unit.Number(i.Degradation),
			i.MaxLag, signText(i))
	}
}

// signText is the sign by which the numbers show the fault.
func signText(i impact.Impact) string {
	switch {
	case !i.Applied:
		return "NOT applied"
	case i.By == "":
		return "nothing"
	}
	return i.By
}

// seenText is the time until the numbers show the fault.
func seenText(i impact.Impact) string { return unit.SecondsOr("never", i.DetectSeconds) }

// steadyText is the time from the fault's end until the steady state.
func steadyText(i impact.Impact) string {
	return unit.SecondsOr(fmt.Sprintf("not for %d s", impact.SteadyFor), i.SteadySeconds)
}
