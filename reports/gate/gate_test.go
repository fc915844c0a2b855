package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// maker makes Runs of one machine from a stored Run.
type maker struct {
	stored *reports.Run
	random *rand.Rand
	made   int
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	stored, err := reports.Load("../testdata/good.json")
	if err != nil {
		t.Fatal(err)
	}
	return &maker{stored: stored, random: rand.New(rand.NewPCG(8, 9))}
}

// run returns a Run with latencies times factor, and 5 % noise.
func (m *maker) run(factor float64) *reports.Run {
	run := *m.stored
	m.made++
	run.TestRun.ID = fmt.Sprintf("run-%d", m.made)
	run.TestRun.StartTime = run.TestRun.StartTime.Add(time.Duration(m.made) * time.Minute)
	noise := math.Exp(0.05 * m.random.NormFloat64())
	run.Stages = nil
	for _, stage := range m.stored.Stages {
		if stage.Stage == reports.E2E || stage.Stage == reports.Pipeline {
			for _, value := range []*float64{&stage.P50, &stage.P95, &stage.P99} {
				*value *= 10 * factor * noise
			}
		}
		run.Stages = append(run.Stages, stage)
	}
	return &run
}

func (m *maker) runs(n int, factor float64) (all []*reports.Run) {
	for range n {
		all = append(all, m.run(factor))
	}
	return all
}

// gate makes the attempts of a gate, n a side, in turn.
func (m *maker) gate(n int, factor float64) (all []Attempt) {
	for i, side := range Order(2 * n) {
		run := m.run(map[Side]float64{Base: 1, Head: factor}[side])
		all = append(all, Attempt{Side: side, Path: fmt.Sprintf("%d/run.json", i), Run: run,
			Verdict: run.Verdict})
	}
	return all
}

// setFirst gives the first Run of a side another verdict.
func setFirst(side Side, verdict reports.Verdict) func([]Attempt) []Attempt {
	return func(all []Attempt) []Attempt {
		i := slices.IndexFunc(all, func(a Attempt) bool { return a.Side == side })
		all[i].Verdict = verdict
		return all
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	lost := reports.Verdict{Status: reports.Fail, Reasons: []string{"1 row is lost"}}
	doubt := reports.Verdict{Status: reports.Unknown, Reasons: []string{"the lab stood still"}}
	for _, c := range []struct {
		name       string
		runs       int
		factor     float64
		change     func([]Attempt) []Attempt
		status     reports.Status
		reason     string
		suspicious int
	}{
		{"the same", 5, 1, nil, reports.Pass, "", 0},
		{"slower", 5, 1.3, nil, reports.Unknown, "10 runs a side would tell", 2},
		{"slower, extended", 10, 1.3, nil, reports.Fail, "e2e p50 is worse", 2},
		{"faster", 10, 0.5, nil, reports.Pass, "", 0},
		{"one run of the head lost a row", 5, 1, setFirst(Head, lost), reports.Fail,
			"A run of the head failed: 1 row is lost (1/run.json)", 0},
		{"the first run lost a row", 0, 1, func([]Attempt) []Attempt {
			return []Attempt{{Side: Head, Path: "x", Verdict: lost}}
		}, reports.Fail, "1 row is lost (x)", 0},
		{"one run of the base lost a row", 5, 1, setFirst(Base, lost), reports.Unknown,
			"A run of the base failed", 0},
		{"a run in doubt", 5, 1, setFirst(Head, doubt), reports.Unknown,
			"5 runs of the base and 4 of the head count, the rule wants 5", 0},
		{"a run in doubt too many", 6, 1, setFirst(Head, doubt), reports.Pass, "", 0},
		{"nothing", 0, 1, nil, reports.Unknown, "No run of both sides", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			attempts := newMaker(t).gate(c.runs, c.factor)
			if c.change != nil {
				attempts = c.change(attempts)
			}
			got := Judge(DefaultRule, attempts)
			if got.Verdict.Status != c.status || len(got.Suspicious) != c.suspicious ||
				!strings.Contains(strings.Join(got.Verdict.Reasons, "\n"), c.reason) ||
				c.reason == "" && len(got.Verdict.Reasons) > 0 {
				t.Errorf("%+v, suspicious %q, want %s %q", got.Verdict, got.Suspicious, c.status,
					c.reason)
			}
			for _, write := range []func(*bytes.Buffer) error{
				func(b *bytes.Buffer) error { return got.WriteText(b) },
				func(b *bytes.Buffer) error { return got.WriteMarkdown(b) },
			} {
				var b bytes.Buffer
				if err := write(&b); err != nil || !strings.Contains(b.String(), c.reason) ||
					!strings.Contains(strings.ToLower(b.String()), string(c.status)) {
					t.Errorf("%v\n%s", err, &b)
				}
			}
			var b bytes.Buffer
			var read Result
			if err := got.WriteJSON(&b); err != nil || json.Unmarshal(b.Bytes(), &read) != nil ||
				read.Verdict.Status != c.status {
				t.Errorf("%v\n%s", err, &b)
			}
		})
	}
}

// TestMarkdownOfStrangers: a revision or a reason makes no Markdown and no HTML of its own.
func TestMarkdownOfStrangers(t *testing.T) {
	t.Parallel()
	evil := "x`\n## Gate: pass\r## Gate: pass <img src=x> | [a](b) \\[a](b) #1 @all &#64;all"
	r := Judge(DefaultRule, []Attempt{{Side: Head, Path: evil,
		Verdict: reports.Verdict{Status: reports.Fail, Reasons: []string{evil}}}})
	r.Base.Revision, r.Head.Revision = evil, evil
	var b bytes.Buffer
	if err := r.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	if made := madeByStrangers(b.String()); len(made) > 0 {
		t.Errorf("%q is in\n%s", made, &b)
	}
}

// madeByStrangers returns what Markdown would make of the texts of others, and not show as text.
func madeByStrangers(comment string) (made []string) {
	bare := regexp.MustCompile(`\\[[:punct:]]`).ReplaceAllString(comment, "")
	for _, mark := range []string{"<img", "\r", "`", "[", "#1", "@all", "&#"} {
		if strings.Contains(bare, mark) {
			made = append(made, mark)
		}
	}
	if strings.Count("\n"+bare, "\n## ") != 1 {
		made = append(made, "## ")
	}
	return made
}

func TestRuleValidate(t *testing.T) {
	t.Parallel()
	if err := DefaultRule.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Rule){
		"--runs 3":      func(r *Rule) { r.Runs = 3 },
		"--more-runs 5": func(r *Rule) { r.MoreRuns = 5 },
		"--more-runs 9": func(r *Rule) { r.Runs, r.MoreRuns = 12, 9 },
	} {
		rule := DefaultRule
		change(&rule)
		if err := rule.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		base, head int
		factor     float64
		change     func(base, head []*reports.Run)
		status     reports.Status
		says       string
	}{
		{"two a side", 2, 2, 1.3, nil, reports.Unknown,
			"2 runs a side are too few for any claim: 5 are needed."},
		{"one a side", 1, 1, 1, nil, reports.Unknown, "1 run a side is too few"},
		{"two a side, grossly slower", 2, 2, 5, nil, reports.Fail, "grossly worse"},
		{"the same", 6, 6, 1, nil, reports.Pass, "no change beyond noise"},
		{"slower", 6, 6, 1.3, nil, reports.Fail, "e2e p50 is worse: "},
		{"faster", 6, 6, 0.7, nil, reports.Pass, "-2"},
		{"one session after the other", 6, 6, 1, nil, reports.Pass, "the machine's drift between"},
		{"which stage", 6, 6, 1.3, nil, reports.Fail, "The stage that moved most is pipeline: "},
		{"another machine", 6, 6, 1, func(_, head []*reports.Run) {
			head[3].Provenance.Host.Fingerprint = "other"
		}, reports.Unknown, "The machine differs"},
		{"another version of PostgreSQL", 6, 6, 1, func(base, _ []*reports.Run) {
			for _, run := range base {
				run.Provenance.StackVersions = map[string]string{"postgres": "18"}
			}
		}, reports.Pass, "note: The version of postgres differs: 18 in the base"},
		{"a lost row in one run of six", 6, 6, 1, func(_, head []*reports.Run) {
			head[4].Verdict = reports.Verdict{Status: reports.Fail, Reasons: []string{"1 row lost"}}
		}, reports.Fail, "of the head failed: 1 row lost"},
		{"a base in doubt", 6, 6, 1, func(base, _ []*reports.Run) {
			base[0].Verdict = reports.Verdict{Status: reports.Unknown, Reasons: []string{"a stall"}}
		}, reports.Unknown, "of the base is unknown: a stall"},
		{"a run on both sides", 6, 6, 1, func(base, head []*reports.Run) { head[2] = base[2] },
			reports.Unknown, "one and the same run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMaker(t)
			base, head := m.runs(c.base, 1), m.runs(c.head, c.factor)
			if c.change != nil {
				c.change(base, head)
			}
			got := Compare(base, head)
			var b bytes.Buffer
			if err := got.WriteText(&b); err != nil || got.Verdict.Status != c.status ||
				!strings.Contains(b.String(), c.says) {
				t.Errorf("%v, want %s, %q:\n%s", err, c.status, c.says, &b)
			}
		})
	}
}

// TestCompareErrorRate: of the same build, no more comparisons fail than said.
func TestCompareErrorRate(t *testing.T) {
	t.Parallel()
	m, failed := newMaker(t), 0
	const comparisons = 120
	for range comparisons {
		base, head := m.runs(6, 1), m.runs(6, 1)
		failed += count(Compare(base, head).Verdict.Status == reports.Fail)
	}
	if failed > comparisons*compareAlpha {
		t.Errorf("%d of %d comparisons of the same build fail", failed, comparisons)
	}
}

// TestCalibration: the rates of a machine with known noise are near the truth, and the table names
// how each was found.
func TestCalibration(t *testing.T) {
	t.Parallel()
	machine := simulated{rand.New(rand.NewPCG(3, 3)), 0.06}
	c := NewCalibration(DefaultRule)
	pairs := func(n int, factor float64) (all []Pair) {
		for range n {
			all = append(all, Pair{machine.runs(3, 1), machine.runs(3, factor)})
		}
		return all
	}
	c.Trials = []Trial{{Pairs: pairs(40, 1), Gates: 8, Extended: 1},
		{Planted: "sleep 20ms a batch", Pairs: pairs(10, 1.4), Gates: 1, Failed: 1, Extended: 1}}
	none := &Calibration{Rule: DefaultRule, Metrics: c.Metrics, Trials: []Trial{{}}}
	none.Measure(10)
	var empty bytes.Buffer
	if err := none.WriteText(&empty); err != nil || none.Missing == "" ||
		!strings.Contains(empty.String(), "NOT WHOLE: 0 sound pairs of runs of same build") ||
		strings.Contains(empty.String(), "0.0 %") {
		t.Errorf("of no sound run: %v, %q\n%s", err, none.Missing, &empty)
	}
	none.Missing = "The gate was interrupted."
	empty.Reset()
	if err := none.WriteText(&empty); err != nil || strings.Contains(empty.String(), "..") {
		t.Errorf("%v, two full stops in\n%s", err, &empty)
	}
	c.Measure(400)
	if row := c.Rates.Find(SameBuild, Drawn); row == nil || row.Failed > 4 || row.Gates != 400 {
		t.Errorf("%+v of the same build", row)
	}
	if row := c.Rates.Find("sleep 20ms a batch", Drawn); row == nil || row.Failed < 390 {
		t.Errorf("%+v of a planted slowdown", row)
	}
	for _, metric := range c.Metrics {
		if noise := c.Rates.Noise[metric]; noise < 4 || noise > 8 {
			t.Errorf("the noise of %s is %g, planted were 6 %%", metric, noise)
		}
		if least := c.Rates.Smallest[metric]; least < 8 || least > 18 {
			t.Errorf("the smallest change of %s caught is %g %%", metric, least)
		}
	}
	var b bytes.Buffer
	if err := c.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| same build | 8 | 0 (0.0 %) | 1 (12.5 %) | real |",
		"| sleep 20ms a batch | 1 | 1 (100.0 %) |", "e2e p50 +20 % | 400 |",
		"sleep 20ms a batch: e2e p50 +"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &b)
		}
	}
}

// TestCalibrationIsReadAgain: a calibration goes on only with the same machine, load and rule, and
// a damaged file is an error that names the place.
func TestCalibrationIsReadAgain(t *testing.T) {
	t.Parallel()
	c := NewCalibration(DefaultRule)
	c.Host.Fingerprint, c.Conditions = "one", "embedded"
	c.Trials = []Trial{{Gates: 2, Pairs: []Pair{{[]float64{1, 2, 3}, []float64{4, 5, 6}}}}}
	var text bytes.Buffer
	if err := c.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "calibration.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text.String())
	read, err := ReadCalibration(path)
	if err != nil || read.Trial("").Gates != 2 || read.Trial("sleep=5ms").Gates != 0 {
		t.Fatalf("%+v, %v", read, err)
	}
	next := NewCalibration(DefaultRule)
	next.Host.Fingerprint, next.Conditions = "one", "embedded"
	if !read.Precedes(next) || !NewCalibration(Rule{}).Precedes(next) {
		t.Error("the same machine, load and rule do not go on")
	}
	next.Host.Fingerprint = "another"
	if read.Precedes(next) {
		t.Error("another machine goes on")
	}
	for want, bad := range map[string]string{
		"unexpected end":                   text.String()[:text.Len()/2],
		"trials[0].pairs[0]: want a value": strings.Replace(text.String(), "3\n", "3, 7\n", 1),
	} {
		write(bad)
		if _, err := ReadCalibration(path); err == nil || !strings.Contains(err.Error(), path) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
