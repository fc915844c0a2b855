// Package gate decides between two groups of Runs with known error rates: which differences are
// more than noise, which Runs a claim needs, and how often the rule is wrong. The package runs
// nothing and reads no files. Start reading at Judge; statistics.go has the tests beneath, and
// calibration.go how often Judge is wrong on a machine.
package gate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// Side says of which build a Run is.
type Side string

// The two sides of every decision: the head is on trial.
const (
	Base Side = "base"
	Head Side = "head"
)

// Order returns the sides of the next Runs in turn, from the first Run on: ABBA, then BAAB, and so
// on. Each two Runs in turn have a Run of both sides, and a drift of the machine, straight or bent,
// hits both sides alike.
func Order(runs int) []Side {
	order := make([]Side, runs)
	for i := range order {
		order[i] = Base
		for n := i; n > 0; n &= n - 1 { // a side for an odd number of ones: Thue and Morse
			order[i] = other(order[i])
		}
	}
	return order
}

func other(side Side) Side {
	if side == Base {
		return Head
	}
	return Base
}

// Rule is fixed before the first Run, so that no Run chooses the rule.
type Rule struct {
	// Runs are first made a side, and MoreRuns in all where a metric is suspicious.
	Runs     int `json:"runs"`
	MoreRuns int `json:"moreRuns"`
	// A metric is suspicious with a p below Suspicion, and fails with a p below Alpha among
	// MoreRuns, adjusted for the number of metrics. Either needs a median worse by LeastPercent.
	Suspicion    float64 `json:"suspicion"`
	Alpha        float64 `json:"alpha"`
	LeastPercent float64 `json:"leastPercent"`
}

// DefaultRule is the rule of a pull request.
var DefaultRule = Rule{Runs: 5, MoreRuns: 10, Suspicion: 0.10, Alpha: 0.01, LeastPercent: 5}

// Validate returns an error for a rule that cannot find anything; the error names the flag.
func (r Rule) Validate() error {
	if least := LeastRuns(r.Suspicion, 1); r.Runs < least {
		return fmt.Errorf("--runs %d: with less than %d runs a side no difference is suspicious",
			r.Runs, least)
	}
	if least := LeastRuns(r.Alpha, len(Primary)); r.MoreRuns < max(least, r.Runs) {
		return fmt.Errorf("--more-runs %d: want at least %d, and at least --runs", r.MoreRuns,
			max(least, r.Runs))
	}
	return nil
}

// Metric is a number of a Run, in a unit; less is better.
type Metric struct {
	Name, Unit string
	Read       func(*reports.Run) (value float64, known bool)
}

// Primary are the metrics that decide. The list is fixed beforehand, because the worst of many
// numbers is always bad.
var Primary = []Metric{
	{"e2e p50", "ms", stageMetric(reports.E2E, medianOf)},
	{"e2e p95", "ms", stageMetric(reports.E2E, func(l reports.Latency) float64 { return l.P95 })},
	{"consumer CPU", "ms per event", consumerCPU},
}

func medianOf(l reports.Latency) float64 { return l.P50 }

func stageMetric(stage string,
	of func(reports.Latency) float64) func(*reports.Run) (float64, bool) {
	return func(r *reports.Run) (float64, bool) {
		row, known := r.StageOf(stage, "", "")
		return of(row.Latency), known
	}
}

// consumerCPU is the processor time of all consumers: seconds per 1,000 events, which is
// milliseconds per event.
func consumerCPU(r *reports.Run) (ms float64, known bool) {
	for _, c := range r.Resources {
		name := c.Component
		if name == "consumer" || len(name) > 9 && name[:9] == "consumer-" {
			ms += 1000 * c.CPUSeconds
		}
	}
	return ms / float64(max(1, r.Summary.TotalOperations)),
		ms > 0 && r.Summary.TotalOperations > 0
}

// Finding is what a gate knows of a metric.
type Finding struct {
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	Difference
	// AdjustedP is P for all metrics of the family at once.
	AdjustedP float64 `json:"adjustedP"`
	// Noise is the scatter of single Runs of one build, in per cent.
	Noise float64 `json:"noisePercent"`
	// Base and Head are the values of the Runs in their order.
	Base []float64 `json:"base"`
	Head []float64 `json:"head"`
}

// Attempt is a Run of a gate: of a side, with the path of run.json.
type Attempt struct {
	Side Side         `json:"side"`
	Path string       `json:"path"`
	Run  *reports.Run `json:"-"`
	// Verdict is the Run's own. A Run in doubt is no evidence, and does not count.
	Verdict reports.Verdict `json:"verdict"`
	Seconds float64         `json:"seconds"`
}

// Result is a decided gate, and the content of gate.json.
type Result struct {
	SchemaVersion int             `json:"schemaVersion"`
	Verdict       reports.Verdict `json:"verdict"`
	Rule          Rule            `json:"rule"`
	Findings      []Finding       `json:"findings"`
	// Suspicious names the metrics suspected after the first Runs.
	Suspicious []string  `json:"suspicious"`
	Attempts   []Attempt `json:"attempts"`
	// Base and Head are the two builds.
	Base Build `json:"base"`
	Head Build `json:"head"`
	// Host is the machine, and Conditions the rest of a Run's key.
	Host       reports.Host `json:"host"`
	Conditions string       `json:"conditions"`
	StartTime  time.Time    `json:"startTime"`
	Minutes    float64      `json:"minutes"`
	Budget     float64      `json:"budgetMinutes"`
	// Rates are the error rates measured on this machine, nil where nobody calibrated.
	Rates *Rates `json:"rates"`
}

// Build is a consumer on trial.
type Build struct {
	// Revision is the name asked for, Commit its commit, and SHA256 the program's checksum. Of a
	// program that somebody gave, Revision is the path, and Commit is empty.
	Revision string `json:"revision"`
	Commit   string `json:"commit"`
	SHA256   string `json:"sha256"`
}

// SchemaVersion is the version of gate.json.
const SchemaVersion = 1

// Judge decides from the Runs so far. A failed Run of the head fails, at any number of Runs; a
// failed Run of the base, or too few Runs, is unknown; a metric that is worse by more than noise
// fails. Suspicious names the metrics for which the rule wants more Runs.
func Judge(rule Rule, attempts []Attempt) *Result {
	r := &Result{SchemaVersion: SchemaVersion, Rule: rule, Attempts: attempts,
		Verdict: reports.Verdict{Status: reports.Pass, Reasons: []string{}}, Suspicious: []string{}}
	counted := r.judgeRuns()
	if r.Findings = findings(Primary, counted[Base], counted[Head]); len(r.Findings) == 0 {
		r.add(reports.Unknown, "No run of both sides can be compared.")
		return r
	}
	runs := min(len(counted[Base]), len(counted[Head]))
	if runs < rule.Runs {
		r.add(reports.Unknown, "%d runs of the base and %d of the head count, the rule wants %d.",
			len(counted[Base]), len(counted[Head]), rule.Runs)
		return r
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		first := differWithoutInterval(f.Base[:rule.Runs], f.Head[:rule.Runs])
		if rule.worse(first.Percent, first.P, rule.Suspicion) {
			r.Suspicious = append(r.Suspicious, f.Metric)
		}
	}
	if len(r.Suspicious) > 0 {
		r.judgeSuspicion(runs)
	}
	r.Verdict.RestsOn = []string{fmt.Sprintf("%d + %d runs of %s, %d metrics fixed beforehand.",
		len(counted[Base]), len(counted[Head]), counted[Head][0].TestRun.Scenario, len(Primary))}
	return r
}

func (r *Result) judgeSuspicion(runs int) {
	if runs < r.Rule.MoreRuns {
		r.add(reports.Unknown, "%s worse, perhaps by noise: %d runs a side would tell.",
			unit.Plural(int64(len(r.Suspicious)), "A metric looks", "Several metrics look"),
			r.Rule.MoreRuns)
		return
	}
	for i := range r.Findings {
		if f := &r.Findings[i]; r.Rule.worse(f.Percent, f.AdjustedP, r.Rule.Alpha) {
			r.add(reports.Fail, "%s is worse: %s.", f.Metric, f.words())
		}
	}
}

func (r *Result) add(status reports.Status, format string, args ...any) {
	r.Verdict = r.Verdict.Merge(reports.Verdict{Status: status,
		Reasons: []string{fmt.Sprintf(format, args...)}})
}

// words is "45 -> 54 ms, +20 % (95 % interval +12 to +29 %), p = 0.0004".
func (f *Finding) words() string {
	return fmt.Sprintf("%s -> %s %s, %+.1f %% (%g %% interval %+.1f to %+.1f %%), p = %.2g",
		unit.Number(f.BaseMedian), unit.Number(f.HeadMedian), f.Unit, f.Percent, 100*Confidence,
		f.Low, f.High, f.AdjustedP)
}

// judgeRuns returns the Runs that count, and takes the verdicts of the others into the gate's.
func (r *Result) judgeRuns() map[Side][]*reports.Run {
	counted := map[Side][]*reports.Run{}
	for _, a := range r.Attempts {
		why := cmp.Or(append(slices.Clone(a.Verdict.Reasons), "no reason was stored")...)
		switch {
		case a.Verdict.Status == reports.Pass && a.Run != nil:
			counted[a.Side] = append(counted[a.Side], a.Run)
		case a.Verdict.Status == reports.Fail && a.Side == Head:
			r.add(reports.Fail, "A run of the head failed: %s (%s)", why, a.Path)
		case a.Verdict.Status == reports.Fail:
			r.add(reports.Unknown, "A run of the base failed: %s (%s)", why, a.Path)
		}
	}
	return counted
}

// Void is the number of Runs in doubt.
func (r *Result) Void() (void int) {
	for _, a := range r.Attempts {
		if a.Verdict.Status == reports.Unknown {
			void++
		}
	}
	return void
}

// findings compares every metric known of all Runs of both sides.
func findings(metrics []Metric, base, head []*reports.Run) (all []Finding) {
	var p []float64
	for _, m := range metrics {
		b, baseKnown := m.readAll(base)
		h, headKnown := m.readAll(head)
		if !baseKnown || !headKnown {
			continue
		}
		f := Finding{Metric: m.Name, Unit: m.Unit, Base: b, Head: h, Difference: Differ(b, h)}
		f.Noise = max(noisePercent(b), noisePercent(h))
		all, p = append(all, f), append(p, f.P)
	}
	for i, adjusted := range adjustHolm(p) {
		all[i].AdjustedP = adjusted
	}
	return all
}

func (m *Metric) readAll(runs []*reports.Run) (values []float64, known bool) {
	for _, run := range runs {
		value, ok := m.Read(run)
		if !ok {
			return nil, false
		}
		values = append(values, value)
	}
	return values, len(values) > 0
}
