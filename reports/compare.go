package reports

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A single Run on each side says little: the same build twice differs by tens of per cent in the
// tail. So only a gross regression fails: more than half again and more than a millisecond worse,
// at p50 AND at p95, because noise rarely moves both. Everything smaller passes undecided.
const (
	grossPercent = 50.0
	grossMs      = 1.0
	// smallestBase, in any unit, is the least that a change is related to.
	smallestBase = 1e-6
)

// Comparison is what changed from a base to a head Run.
type Comparison struct {
	// Base and Head are the ids of the two Runs.
	Base, Head string
	Metrics    []Metric
	// Comparable: the numbers may be held against each other. If not, Reasons say what differs.
	Comparable bool
	Reasons    []string
	// Warnings are differences that may explain a change and do not forbid the comparison.
	Warnings []string
	// Verdict is Unknown if the Runs are not comparable or one of them cannot be trusted, Fail for
	// a gross regression, else Pass.
	Verdict Verdict
}

// Metric is one number of both Runs.
type Metric struct {
	Name, Unit string
	Base, Head float64
	// Known: both Runs have it. DeltaPercent is relative to Base, 0 if Base is nearly 0.
	Known        bool
	DeltaPercent float64
	// Better is true when the change is in the good direction.
	Better bool
}

// Compare holds head against base. It never fails: what cannot be compared is in the result.
func Compare(base, head *Run) *Comparison {
	c := &Comparison{Base: base.TestRun.ID, Head: head.TestRun.ID}
	c.Reasons, c.Warnings = differences(base, head)
	c.Comparable = len(c.Reasons) == 0
	for _, m := range metrics {
		c.Metrics = append(c.Metrics, m.compare(base, head))
	}
	c.Verdict = c.judge(base, head)
	return c
}

// metric reads one number from a Run; ok is false if the Run does not have it.
type metric struct {
	name, unit   string
	higherBetter bool
	read         func(*Run) (value float64, ok bool)
}

// The names of the two metrics that decide.
const (
	e2eP50 = "e2e p50"
	e2eP95 = "e2e p95"
)

var metrics = []metric{
	{e2eP50, "ms", false, stageValue(E2E, func(l Latency) float64 { return l.P50 })},
	{e2eP95, "ms", false, stageValue(E2E, func(l Latency) float64 { return l.P95 })},
	{"e2e p99", "ms", false, stageValue(E2E, func(l Latency) float64 { return l.P99 })},
	{"commit p50", "ms", false, stageValue(Commit, func(l Latency) float64 { return l.P50 })},
	{"pipeline p50", "ms", false, stageValue(Pipeline, func(l Latency) float64 { return l.P50 })},
	{"throughput", "/s", true, func(r *Run) (float64, bool) {
		return r.Summary.Throughput.Mean, r.Summary.TotalOperations > 0
	}},
	{"consumer CPU", "s per 1,000 events", false, consumerCPU},
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
	return result
}

// differences are the reasons why two Runs are not comparable, and what else is not the same.
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
			short(b.ScenarioSHA256), short(h.ScenarioSHA256)))
	}
	if b.GoVersion != h.GoVersion {
		warnings = append(warnings, differs("Go version", b.GoVersion, h.GoVersion))
	}
	return reasons, warnings
}

func differs(what, base, head string) string {
	return fmt.Sprintf("The %s differs: %s in the base, %s in the head.",
		what, orNothing(base), orNothing(head))
}

func orNothing(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func short(hash string) string { return hash[:min(12, len(hash))] }

func machine(h Host) string {
	return fmt.Sprintf("%s (%s, %d cores)", h.Fingerprint, orNothing(h.CPUModel), h.Cores)
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

func (c *Comparison) judge(base, head *Run) Verdict {
	verdict := Verdict{Status: Pass, Reasons: []string{}}
	for _, reason := range c.Reasons {
		verdict = verdict.Merge(Verdict{Unknown, []string{reason}})
	}
	if base.Verdict.Status != Pass {
		verdict = verdict.Merge(unknown("The verdict of the base is %s.", base.Verdict.Status))
	}
	if head.Verdict.Status == Unknown {
		verdict = verdict.Merge(unknown("The verdict of the head is unknown."))
	}
	p50, p95 := c.metric(e2eP50), c.metric(e2eP95)
	if !p50.Known || !p95.Known {
		verdict = verdict.Merge(unknown("A run has no e2e latency."))
	}
	if verdict.Status == Pass && p50.gross() && p95.gross() {
		return fail("The head is grossly slower: e2e p50 %s -> %s ms (%+.0f %%), "+
			"p95 %s -> %s ms (%+.0f %%).",
			number(p50.Base), number(p50.Head), p50.DeltaPercent,
			number(p95.Base), number(p95.Head), p95.DeltaPercent)
	}
	return verdict
}

func (c *Comparison) metric(name string) Metric {
	i := slices.IndexFunc(c.Metrics, func(m Metric) bool { return m.Name == name })
	return c.Metrics[i]
}

func (m *Metric) gross() bool {
	return m.Head-m.Base > grossMs && m.DeltaPercent > grossPercent
}
