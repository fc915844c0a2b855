package gameday

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/reports"
)

// day is a Day of two plans without pauses.
const day = `
name: first
guard-rails: [Somebody watches.]
plans:
  - {plan: consumer-kill, narration: The consumer dies., blast-radius: Documents are late.,
     hypothesis: Nothing is lost., vote: {yes: 1, no: 2}}
  - {plan: mongo-latency, narration: MongoDB is slow., blast-radius: None., hypothesis: All hold.}
`

func mustParse(t *testing.T, text string) *Day {
	t.Helper()
	d, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func passed() *reports.Run {
	return &reports.Run{Verdict: reports.Verdict{Status: reports.Pass},
		Consistency: reports.Consistency{Checked: true},
		Deliveries:  reports.Deliveries{Counted: true, Events: 9, Again: 4}}
}

// people answers the Host's lines as people do.
type people struct {
	lines chan string
	heard []string
	// answers are typed when a line begins with the key.
	answers map[string][]string
	// typing are the answers of which the Host has not yet read every line.
	typing sync.WaitGroup
}

func (p *people) hear(line string) {
	p.heard = append(p.heard, line)
	for beginning, typed := range p.answers {
		if strings.HasPrefix(line, beginning) {
			p.typing.Go(func() {
				for _, line := range typed {
					p.lines <- line
				}
			})
		}
	}
}

// host is a Host whose clock goes on by a second with each look.
func (p *people) host(run Runner) *Host {
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	return &Host{Run: run, Lines: p.lines, Say: p.hear, Now: func() time.Time {
		at = at.Add(time.Second)
		return at
	}}
}

// TestUnattended: without people the file's votes count, and each plan is run.
func TestUnattended(t *testing.T) {
	t.Parallel()
	p := &people{}
	var ran []string
	r := p.host(func(_ context.Context, n int, s Step) (*reports.Run, string, error) {
		ran = append(ran, s.Plan)
		if n == 2 {
			return nil, "", errors.New("no stack\nat all")
		}
		return passed(), "1-consumer-kill", nil
	}).Hold(t.Context(), mustParse(t, day))
	if diff := cmp.Diff([]string{"consumer-kill", "mongo-latency"}, ran); diff != "" {
		t.Error(diff)
	}
	first, second := r.Rounds[0], r.Rounds[1]
	if r.Attended || r.Aborted != "" || *first.Votes != (Vote{1, 2}) || second.Votes != nil ||
		second.Failed != "no stack; at all" {
		t.Errorf("%+v", r)
	}
	want := []string{
		"consumer-kill: 2 of 3 expected another end. What did they not know?",
		"mongo-latency: not run: no stack; at all.",
	}
	if diff := cmp.Diff(want, r.questions()); diff != "" {
		t.Error(diff)
	}
}

// TestQuestionsComeOnce: an open end that comes again later in the day is one follow-up.
func TestQuestionsComeOnce(t *testing.T) {
	t.Parallel()
	round := func(plan string) Round { return Round{Step: Step{Plan: plan}, Failed: "no stack"} }
	r := &Record{Rounds: []Round{round("kill"), round("pause"), round("kill")}}
	want := []string{"kill: not run: no stack.", "pause: not run: no stack."}
	if diff := cmp.Diff(want, r.questions()); diff != "" {
		t.Error(diff)
	}
}

// TestPeople: people vote, begin each plan, and note what they see while the plan runs.
func TestPeople(t *testing.T) {
	t.Parallel()
	p := &people{lines: make(chan string), answers: map[string][]string{
		"vote: y or n": {"y Ana", "Y", "no", ""}, "Enter begins": {""},
		"begin of": {"", "lag rises", "! nobody was called"}}}
	r := p.host(func(_ context.Context, _ int, _ Step) (*reports.Run, string, error) {
		p.typing.Wait() // a line of this plan is no vote on the next
		return passed(), "x", nil
	}).Hold(t.Context(), mustParse(t, day))
	if got := r.Rounds[1].Votes; got == nil || *got != (Vote{2, 1}) {
		t.Errorf("votes %+v", got)
	}
	if !r.Attended {
		t.Error("nobody attended")
	}
	var texts []string
	last := time.Time{}
	for _, note := range r.Rounds[1].Notes {
		texts = append(texts, note.Text)
		if !note.At.After(last) {
			t.Errorf("%+v is not after %v", note, last)
		}
		last = note.At
	}
	want := []string{"y Ana", "Y", "no", "lag rises", "! nobody was called"}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Error(diff)
	}
}

// TestAbort: the abort key ends the running plan at once; the rest is not run, and the report says
// so. So does a terminal that is closed, and the end of the lab.
func TestAbort(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(p *people, end context.CancelFunc)
		want string
	}{
		"key": {func(p *people, _ context.CancelFunc) { p.lines <- " A " }, errAborted.Error()},
		"closed": {func(p *people, _ context.CancelFunc) { close(p.lines) },
			"the terminal was closed"},
		"signal": {func(_ *people, end context.CancelFunc) { end() }, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &people{lines: make(chan string), answers: map[string][]string{
				"Enter begins": {""}}}
			d := mustParse(t, day)
			d.Plans[1].Vote = d.Plans[0].Vote
			ctx, end := context.WithCancel(t.Context())
			defer end()
			undone := false
			r := p.host(func(ctx context.Context, _ int, _ Step) (*reports.Run, string, error) {
				go c.end(p, end)
				<-ctx.Done()
				undone = true
				run := passed()
				run.Verdict = reports.Verdict{Status: reports.Unknown,
					Reasons: []string{"Interrupted."}}
				return run, "1-consumer-kill", nil
			}).Hold(ctx, d)
			if !undone || r.Aborted != c.want || r.Rounds[1].Run != nil ||
				r.Rounds[1].Failed == "" {
				t.Errorf("%+v", r)
			}
			text := string(r.Markdown())
			for _, want := range []string{"The day was aborted: " + c.want, "was not decided",
				"the day was ended before"} {
				if !strings.Contains(text, want) {
					t.Errorf("the report lacks %q:\n%s", want, text)
				}
			}
		})
	}
}

// TestReport: the report has the votes, the losses, the observations with their times, and a page
// of follow-ups; text is no Markdown.
func TestReport(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	run := passed()
	run.Verdict = reports.Verdict{Status: reports.Fail, Reasons: []string{"2 rows are lost."}}
	run.Consistency.Counts = map[reports.RowStatus]int64{reports.Lost: 2, reports.Stale: 1}
	run.Faults = []reports.FaultWindow{{Name: "kill", Target: "consumer", Applied: true,
		StartSeconds: 5, EndSeconds: 7, Detail: "pid 7 is gone"}}
	for n := range 40 {
		s := reports.Second{Second: n, Offered: 9, Committed: 9, Visible: 9, P95: 20}
		if n >= 5 && n < 20 {
			s.P95 = 900
		}
		run.Series = append(run.Series, s)
	}
	d := mustParse(t, day)
	r := &Record{Day: d, Began: at, Ended: at.Add(time.Hour), Attended: true, Rounds: []Round{{
		Step: d.Plans[0], Began: at, Ended: at.Add(time.Minute), Votes: &Vote{3, 1}, Run: run,
		Folder: "1-consumer-kill", Notes: []Note{{at.Add(90 * time.Second), "lag | rises"},
			{at.Add(2 * time.Minute), "! call <b>somebody</b>"}}}}}
	run.Faults = append(run.Faults, run.Faults[0])
	text := string(r.Markdown())
	if again := "steady only 13 s after kill of consumer"; strings.Count(text, again) != 1 {
		t.Errorf("a follow-up comes twice:\n%s", text)
	}
	for _, want := range []string{
		"| consumer-kill | was disproved | 3 of 4 | 4 | 2 | 1 | " +
			"[fail](1-consumer-kill/report.html) |",
		"| kill of consumer | 5 | 7 | 1 s | 13 s | 900 ms | 0 | pid 7 is gone |",
		`| 12:01:30 | 1m30s | lag \| rises |`,
		"\n---\n\n## Follow-ups\n",
		"| ☐ | consumer-kill: the hypothesis was disproved. 2 rows are lost. | | |",
		"3 of 4 expected another end",
		"steady only 13 s after kill of consumer; the goal is 10 s.",
		"call &lt;b&gt;somebody&lt;/b&gt; (12:02:00 UTC)",
		"- Somebody watches.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

// TestLoadExamples: each game day of the project can be held.
func TestLoadExamples(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../gamedays/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		d, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		unattended := !slices.ContainsFunc(d.Plans, func(s Step) bool { return s.Vote == nil })
		if !unattended || len(d.GuardRails) == 0 {
			t.Errorf("%s: want votes and guard rails in an example", path)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const plan = "{plan: consumer-kill, narration: n, blast-radius: b, hypothesis: h"
	none := strings.Replace(plan, "consumer-kill", "none", 1)
	for text, want := range map[string]string{
		"":                     "want name",
		"name: x":              "want at least one of plans",
		"name: x\nwhen: now":   "[2:1] unknown field \"when\"",
		"name: x\nstack: moon": `"moon" is none of embedded, native, compose, external`,
		"name: x\nstack: external\nplans: [" + plan + "}]": "the lab applies kill to the stacks " +
			"embedded, native, compose, and not to external",
		"name: x\nplans: [{plan: a}]":                      "plans[0]: want narration",
		"name: x\nplans: [" + plan + ", pause: -1s}]":      "plans[0]: a pause or",
		"name: x\nplans: [" + plan + ", vote: {yes: -1}}]": "plans[0]: a pause or",
		"name: x\nplans: [" + none + "}]":                  "plans[0]: load plan",
	} {
		d, err := parse([]byte(text))
		if err == nil || d != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
