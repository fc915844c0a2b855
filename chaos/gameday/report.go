package gameday

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/impact"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/shown"
)

// clockForm is the time of an observation.
const clockForm = "15:04:05"

// Markdown is the report of the Day, with a page for follow-ups at the end.
func (r *Record) Markdown() []byte {
	var b bytes.Buffer
	d := r.Day
	fmt.Fprintf(&b, "# Game day %s\n\n", shown.Markdown(d.Name))
	attended := "nobody at the terminal"
	if r.Attended {
		attended = "people at the terminal"
	}
	fmt.Fprintf(&b, "%s to %s UTC on the %s stack, load of %s, %s.\n",
		r.Began.UTC().Format("2006-01-02 15:04:05"), r.Ended.UTC().Format(clockForm), d.Stack,
		shown.Markdown(d.Scenario), attended)
	if d.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", shown.Markdown(d.Description))
	}
	if r.Aborted != "" {
		fmt.Fprintf(&b, "\n**The day was aborted: %s. Every fault was undone.**\n",
			shown.Markdown(r.Aborted))
	}
	if len(d.GuardRails) > 0 {
		fmt.Fprint(&b, "\n## Guard rails\n\n")
		for _, rail := range d.GuardRails {
			fmt.Fprintf(&b, "- %s\n", shown.Markdown(rail))
		}
	}
	fmt.Fprint(&b, "\n## Result\n\n| plan | the hypothesis | expected by | duplicates | lost | "+
		"stale | report |\n|---|---|---|---|---|---|---|\n")
	for i := range r.Rounds {
		r.Rounds[i].line(&b)
	}
	for i := range r.Rounds {
		r.Rounds[i].section(&b, i+1)
	}
	r.followUps(&b)
	return b.Bytes()
}

// line is the Round's line of the table.
func (r *Round) line(b *bytes.Buffer) {
	name := shown.Markdown(r.Plan)
	if r.Run == nil {
		fmt.Fprintf(b, "| %s | %s | %s | | | | |\n", name, outcome(r), votes(r.Votes))
		return
	}
	again := "not counted"
	if r.Run.Deliveries.Counted {
		again = fmt.Sprint(r.Run.Deliveries.Again)
	}
	c := &r.Run.Consistency
	lost, stale := fmt.Sprint(c.Count(reports.Lost)), fmt.Sprint(c.Count(reports.Stale))
	if !c.Checked {
		lost, stale = "not checked", "not checked"
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | [%s](%s/report.html) |\n", name, outcome(r),
		votes(r.Votes), again, lost, stale, r.Run.Verdict.Status, r.Folder)
}

func votes(v *Vote) string {
	if v == nil {
		return "no vote"
	}
	return fmt.Sprintf("%d of %d", v.Yes, v.Yes+v.No)
}

// section tells about the Round.
func (r *Round) section(b *bytes.Buffer, n int) {
	fmt.Fprintf(b, "\n## %d. %s\n\n", n, shown.Markdown(r.Plan))
	for _, line := range []struct{ what, text string }{{"Narration", r.Narration},
		{"Blast radius", r.BlastRadius}, {"Hypothesis", r.Hypothesis}} {
		fmt.Fprintf(b, "- %s: %s\n", line.what, shown.Markdown(line.text))
	}
	fmt.Fprintf(b, "- %s to %s UTC: the hypothesis %s.\n", r.Began.UTC().Format(clockForm),
		r.Ended.UTC().Format(clockForm), outcome(r))
	if r.Failed != "" {
		fmt.Fprintf(b, "- Not run to the end: %s.\n", shown.Markdown(r.Failed))
	}
	if r.Run != nil {
		for _, reason := range r.Run.Verdict.Reasons {
			fmt.Fprintf(b, "- %s\n", shown.Markdown(reason))
		}
		r.faults(b)
	}
	if len(r.Notes) > 0 {
		fmt.Fprint(b, "\n| UTC | after | observation |\n|---|---|---|\n")
		for _, note := range r.Notes {
			fmt.Fprintf(b, "| %s | %s | %s |\n", note.At.UTC().Format(clockForm),
				note.At.Sub(r.Began).Round(time.Second), shown.Markdown(note.Text))
		}
	}
}

// faults is the table of what the faults did.
func (r *Round) faults(b *bytes.Buffer) {
	impacts := impact.Of(r.Run)
	fmt.Fprint(b, "\n| fault | from s | to s | seen after | steady after | worst p95 | most lag | "+
		"evidence |\n|---|---|---|---|---|---|---|---|\n")
	for i, f := range r.Run.Faults {
		seen, steady, p95, lag := "not known", "not known", "", ""
		if i < len(impacts) {
			one := impacts[i]
			seen, steady = unit.SecondsOr("never", one.DetectSeconds),
				unit.SecondsOr(fmt.Sprintf("not for %d s", impact.SteadyFor), one.SteadySeconds)
			p95, lag = unit.Ms(one.WorstP95)+" ms", fmt.Sprint(one.MaxLag)
		}
		fmt.Fprintf(b, "| %s of %s | %s | %s | %s | %s | %s | %s | %s |\n",
			shown.Markdown(f.Name), shown.Markdown(f.Target), unit.Number(f.StartSeconds),
			unit.Number(f.EndSeconds), seen, steady, p95, lag, shown.Markdown(f.Detail))
	}
}

// followUps is the last page: the questions that the day leaves, and room for more.
func (r *Record) followUps(b *bytes.Buffer) {
	fmt.Fprint(b, "\n---\n\n## Follow-ups\n\n| done | what | owner | until |\n|---|---|---|---|\n")
	for _, what := range r.questions() {
		fmt.Fprintf(b, "| ☐ | %s | | |\n", shown.Markdown(what))
	}
	for range 3 {
		fmt.Fprint(b, "| ☐ | | | |\n")
	}
}

// questions are the Day's open ends, each once: a fault may come again and again in a plan.
func (r *Record) questions() (all []string) {
	if r.Aborted != "" {
		all = append(all, "The day was aborted: "+r.Aborted+". What has to change before the next?")
	}
	for i := range r.Rounds {
		all = append(all, r.Rounds[i].questions()...)
	}
	asked := map[string]bool{}
	return slices.DeleteFunc(all, func(what string) bool {
		before := asked[what]
		asked[what] = true
		return before
	})
}

func (r *Round) questions() (all []string) {
	ask := func(format string, args ...any) {
		all = append(all, r.Plan+": "+fmt.Sprintf(format, args...))
	}
	if r.Run == nil {
		ask("not run: %s.", r.Failed)
	} else {
		reason := strings.Join(r.Run.Verdict.Reasons, " ")
		switch r.Run.Verdict.Status {
		case reports.Fail:
			ask("the hypothesis was disproved. %s", reason)
		case reports.Unknown:
			ask("the run decides nothing. %s", reason)
		}
		if v := r.Votes; v != nil && r.Run.Verdict.Status != reports.Unknown {
			right, wrong := v.Yes, v.No
			if r.Run.Verdict.Status == reports.Fail {
				right, wrong = v.No, v.Yes
			}
			if wrong > right {
				ask("%d of %d expected another end. What did they not know?", wrong, v.Yes+v.No)
			}
		}
		for _, i := range impact.Of(r.Run) {
			of := i.Fault + " of " + i.Target
			switch {
			case i.DetectSeconds < 0 && i.Applied:
				ask("no number showed %s. Is there an alert for this fault?", of)
			case i.SteadySeconds < 0:
				ask("not steady again for %d s after %s.", impact.SteadyFor, of)
			case i.SteadySeconds > impact.GoalSeconds:
				ask("steady only %s s after %s; the goal is %d s.", unit.Number(i.SteadySeconds),
					of, impact.GoalSeconds)
			}
		}
	}
	for _, note := range r.Notes {
		if text, is := strings.CutPrefix(note.Text, "!"); is {
			ask("%s (%s UTC)", strings.TrimSpace(text), note.At.UTC().Format(clockForm))
		}
	}
	return all
}
