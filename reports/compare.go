package reports

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports/unit"
)

// A single Run on each side says little: the same build twice differs by tens of per cent in the
// tail. So only gross regressions fail: p50 AND p95 grossly worse, because noise rarely moves both;
// a single number beyond every noise; a gross loss of throughput. A single number that is far worse
// may be a stall or a regression, which is unknown, and so is the p99 however far. Everything
// smaller passes undecided.
const (
	// grossFactor is how many times worse a number must be to be grossly worse, farFactor to be far
	// worse, and noiseFactor to be beyond noise.
	grossFactor = 1.5
	farFactor   = 4.0
	noiseFactor = 10.0
	// smallestBase, in any unit, is the least base of a relative change.
	smallestBase = 1e-6
	// sameLoad is the share by which the offered rates and the lengths of two loads may differ.
	sameLoad = 0.1
)

// Comparison lists the changes from a base to a head Run.
type Comparison struct {
	// Base and Head are the ids of the two Runs.
	Base, Head string
	// BaseRun is the whole base.
	BaseRun *Run
	Metrics []Metric
	// Comparable: the numbers may be held against each other. If not, Reasons name the differences.
	Comparable bool
	Reasons    []string
	// Warnings are differences that may explain a change and do not forbid the comparison.
	Warnings []string
	// Verdict is Fail if the head failed, Unknown if the Runs are not comparable or either cannot
	// be trusted, Fail for a gross regression, else Pass.
	Verdict Verdict
}

// Metric is a number of both Runs.
type Metric struct {
	Name, Unit string
	Base, Head float64
	// Known: both Runs have the number. DeltaPercent is relative to Base, 0 if Base is nearly 0.
	Known        bool
	DeltaPercent float64
	// Better is true when the change is in the good direction.
	Better bool
	// gross, far and beyond noise: Head is so many times worse than Base, and by more than nothing
	// to speak of.
	gross, far, beyond bool
}

// Compare holds head against base. Compare never fails: the result says what cannot be compared.
func Compare(base, head *Run) *Comparison {
	c := &Comparison{Base: base.TestRun.ID, Head: head.TestRun.ID, BaseRun: base}
	c.Reasons, c.Warnings = differences(base, head)
	c.Comparable = len(c.Reasons) == 0
	for _, m := range metrics {
		c.Metrics = append(c.Metrics, m.compare(base, head))
	}
	c.Verdict = c.judge(base, head)
	return c
}

// metric reads a number from a Run; ok is false if the Run does not have the number.
type metric struct {
	name, unit   string
	higherBetter bool
	// grossBy and farBy are the least differences, in unit, of a gross and of a far change; beyond
	// noise is five times farBy.
	grossBy, farBy float64
	read           func(*Run) (value float64, ok bool)
}

// The names of the metrics with rules of their own.
const (
	e2eP50     = "e2e p50"
	e2eP95     = "e2e p95"
	e2eP99     = "e2e p99"
	throughput = "throughput"
)

var metrics = []metric{
	{e2eP50, "ms", false, 1, 10, stageValue(E2E, p50)},
	{e2eP95, "ms", false, 1, 10, stageValue(E2E, func(l Latency) float64 { return l.P95 })},
	{e2eP99, "ms", false, 1, 50, stageValue(E2E, func(l Latency) float64 { return l.P99 })},
	{"commit p50", "ms", false, 1, 10, stageValue(Commit, p50)},
	{"pipeline p50", "ms", false, 1, 10, stageValue(Pipeline, p50)},
	{throughput, "/s", true, 0, 0, func(r *Run) (float64, bool) {
		return r.Summary.Throughput.Mean, r.Summary.TotalOperations > 0
	}},
	{"errors", "%", false, 1, 5, func(r *Run) (float64, bool) {
		return 100 * r.Summary.Errors.Rate, r.Summary.TotalOperations > 0
	}},
	{"slowest recovery", "s", false, 5, 10, slowestRecovery},
	{"consumer CPU", "s per 1,000 events", false, 1, 2, consumerCPU},
}

func p50(l Latency) float64 { return l.P50 }

// slowestRecovery is the longest recovery from a fault.
func slowestRecovery(r *Run) (seconds float64, ok bool) {
	for _, f := range r.Faults {
		if f.RecoveredSeconds < 0 {
			return 0, false
		}
		seconds, ok = max(seconds, f.RecoveredSeconds), true
	}
	return seconds, ok
}

func stageValue(stage string, of func(Latency) float64) func(*Run) (float64, bool) {
	return func(r *Run) (float64, bool) {
		row, ok := r.StageOf(stage, "", "")
		return of(row.Latency), ok
	}
}

func consumerCPU(r *Run) (float64, bool) {
	for _, c := range r.Resources {
		if c.Component == "consumer" && c.CPUSeconds > 0 && r.Summary.TotalOperations > 0 {
			return 1000 * c.CPUSeconds / float64(r.Summary.TotalOperations), true
		}
	}
	return 0, false
}

func (m *metric) compare(base, head *Run) Metric {
	b, baseOK := m.read(base)
	h, headOK := m.read(head)
	result := Metric{Name: m.name, Unit: m.unit, Base: b, Head: h, Known: baseOK && headOK}
	if b >= smallestBase && result.Known {
		result.DeltaPercent = 100 * (h - b) / b
	}
	result.Better = h < b != m.higherBetter && h != b
	better, worse := b, h
	if m.higherBetter {
		better, worse = h, b
	}
	result.gross = result.Known && worse > grossFactor*better && worse-better > m.grossBy
	result.far = result.Known && worse > farFactor*better && worse-better > m.farBy
	result.beyond = result.Known && worse > noiseFactor*better && worse-better > 5*m.farBy
	return result
}

// differences returns the reasons why two Runs are not comparable, and all other differences.
func differences(base, head *Run) (reasons, warnings []string) {
	b, h := &base.Provenance, &head.Provenance
	for _, d := range []struct{ what, base, head string }{
		{"schema version", fmt.Sprint(base.SchemaVersion), fmt.Sprint(head.SchemaVersion)},
		{"scenario", base.TestRun.Scenario, head.TestRun.Scenario},
		{"machine", machine(b.Host), machine(h.Host)},
		{"stack", b.Stack, h.Stack},
		{"MongoDB server", b.MongoKind, h.MongoKind},
		{"data on tmpfs", fmt.Sprint(b.Tmpfs), fmt.Sprint(h.Tmpfs)},
		{"tracker", base.Tracker.Kind, head.Tracker.Kind},
		{"list of faults", faultNames(base), faultNames(head)},
	} {
		if d.base != d.head {
			reasons = append(reasons, differs(d.what, d.base, d.head))
		}
	}
	if base.TestRun.ID == head.TestRun.ID && base.TestRun.StartTime.Equal(head.TestRun.StartTime) {
		reasons = append(reasons, "Base and head are one and the same run, "+base.TestRun.ID+".")
	}
	for _, load := range []struct {
		what, unit string
		base, head float64
	}{
		{"offered rate", "/s", base.Summary.Throughput.Offered, head.Summary.Throughput.Offered},
		{"length of the load", " s", base.TestRun.DurationSeconds, head.TestRun.DurationSeconds},
	} {
		if math.Abs(load.base-load.head) > sameLoad*min(load.base, load.head) {
			reasons = append(reasons, differs(load.what, unit.Number(load.base)+load.unit,
				unit.Number(load.head)+load.unit))
		}
	}
	for _, key := range allKeys(b.Config, h.Config) {
		if b.Config[key] != h.Config[key] {
			reasons = append(reasons, differs("configuration "+key, b.Config[key], h.Config[key]))
		}
	}
	for _, name := range allKeys(b.StackVersions, h.StackVersions) {
		if b.StackVersions[name] != h.StackVersions[name] {
			warnings = append(warnings,
				differs("version of "+name, b.StackVersions[name], h.StackVersions[name]))
		}
	}
	if b.ScenarioSHA256 != h.ScenarioSHA256 {
		warnings = append(warnings, differs("scenario file's SHA-256",
			ShortHash(b.ScenarioSHA256), ShortHash(h.ScenarioSHA256)))
	}
	if b.GoVersion != h.GoVersion {
		warnings = append(warnings, differs("Go version", b.GoVersion, h.GoVersion))
	}
	return reasons, warnings
}

func differs(what, base, head string) string {
	return fmt.Sprintf("The %s differs: %s in the base, %s in the head.",
		what, cmp.Or(base, "none"), cmp.Or(head, "none"))
}

// ShortHash returns the first 12 characters of a hash, as the reports show a commit or a checksum.
func ShortHash(hash string) string { return hash[:min(12, len(hash))] }

func machine(h Host) string {
	return fmt.Sprintf("%s (%s, %d cores)", h.Fingerprint, cmp.Or(h.CPUModel, "none"), h.Cores)
}

func faultNames(r *Run) string {
	names := make([]string, 0, len(r.Faults))
	for _, f := range r.Faults {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func allKeys(a, b map[string]string) []string {
	both := maps.Clone(a)
	if both == nil {
		both = map[string]string{}
	}
	maps.Copy(both, b)
	return slices.Sorted(maps.Keys(both))
}

// judge obeys the rule of Judge: both Runs are judged anew, a defect of the head is a failure
// whatever the numbers are, and what cannot be compared is unknown.
func (c *Comparison) judge(base, head *Run) Verdict {
	verdict := Verdict{Status: Pass, Reasons: []string{}}
	for _, reason := range c.Reasons {
		verdict = verdict.Merge(unknown("%s", reason))
	}
	if v := base.judgedAnew(); v.Status != Pass {
		verdict = verdict.Merge(unknown("The verdict of the base is %s: %s", v.Status, v.why()))
	}
	if v := head.judgedAnew(); v.Status != Pass {
		says := fail
		if v.Status == Unknown {
			says = unknown
		}
		verdict = verdict.Merge(says("The verdict of the head is %s: %s", v.Status, v.why()))
	}
	if !c.metric(e2eP50).Known || !c.metric(e2eP95).Known {
		verdict = verdict.Merge(unknown("A run has no e2e latency."))
	}
	if verdict.Status == Pass {
		verdict = c.judgeMetrics()
	}
	verdict.RestsOn = []string{fmt.Sprintf("The base is of %s, the head of %s.",
		unit.Plural(base.Summary.TotalOperations, "operation", "operations"),
		unit.Plural(head.Summary.TotalOperations, "operation", "operations"))}
	return verdict
}

// judgeMetrics judges the numbers of two sound Runs of the same load.
func (c *Comparison) judgeMetrics() Verdict {
	verdict := Verdict{Status: Pass, Reasons: []string{}}
	p50, p95 := c.metric(e2eP50), c.metric(e2eP95)
	if p50.gross && p95.gross {
		verdict = fail("The head is grossly slower: %s, %s.", p50.change(), p95.change())
	}
	for _, m := range c.Metrics {
		switch {
		case p50.gross && p95.gross && (m.Name == e2eP50 || m.Name == e2eP95): // said already
		case m.beyond && m.Name != e2eP99, m.gross && m.Name == throughput:
			verdict = verdict.Merge(fail("The head is far worse: %s.", m.change()))
		case m.far:
			verdict = verdict.Merge(unknown("The head is worse in one number, by a stall or by a "+
				"regression: %s; single runs cannot tell which.", m.change()))
		}
	}
	return verdict
}

// why is the first reason of a verdict.
func (v *Verdict) why() string { return cmp.Or(append(slices.Clone(v.Reasons), noReason)...) }

func (c *Comparison) metric(name string) Metric {
	i := slices.IndexFunc(c.Metrics, func(m Metric) bool { return m.Name == name })
	return c.Metrics[i]
}

// change is "e2e p50 2.2 -> 6.6 ms (+200 %)".
func (m *Metric) change() string {
	return fmt.Sprintf("%s %s -> %s %s (%+.0f %%)", m.Name, unit.Number(m.Base),
		unit.Number(m.Head), m.Unit, m.DeltaPercent)
}

// Meaning keeps a reader from overrating a thin pass: the end of a sentence, empty but for a
// Comparison that passed.
func (c *Comparison) Meaning() string {
	if c.Verdict.Status != Pass {
		return ""
	}
	return fmt.Sprintf(": no gross regression (p50 and p95 both %g times as slow, or a single "+
		"number %g times as bad); single runs cannot tell more", grossFactor, farFactor)
}
