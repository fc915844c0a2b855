package render

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// pageOf returns the HTML report of a Run.
func pageOf(t *testing.T, r *reports.Run, c *reports.Comparison) string {
	t.Helper()
	var html bytes.Buffer
	if err := WriteHTML(&html, r, c); err != nil {
		t.Fatal(err)
	}
	return html.String()
}

// busyRun is the example of a minute made five minutes long, with every gauge of a real run moving
// at every look, and a different latency in each second.
func busyRun(t *testing.T) *reports.Run {
	t.Helper()
	run, random := example(t, "good"), rand.New(rand.NewPCG(1, 2))
	recorder := reports.NewRecorder()
	for i := range 30_000 {
		ms := func(mean float64) time.Duration {
			return time.Duration(mean * 1e6 * random.ExpFloat64())
		}
		commit, pipeline := ms(1), ms(5)
		recorder.Add(reports.Commit, "order", "insert", i/100, commit)
		recorder.Add(reports.Pipeline, "order", "insert", i/100, pipeline)
		recorder.Add(reports.E2E, "order", "insert", i/100, commit+pipeline)
		recorder.Offered(i / 100)
		recorder.Committed(i / 100)
		recorder.Visible(i / 100)
	}
	run.Stages, run.Series, run.Histograms = recorder.Stages(), recorder.Seconds(),
		recorder.Histograms()
	run.TestRun.DurationSeconds, run.Summary.TotalOperations = 300, 30_000
	run.Looks = reports.Looks{}
	for second := range 306 {
		run.Looks.Seconds = append(run.Looks.Seconds, float64(second-5))
	}
	names := map[string]string{reports.GaugeCPU: "%", reports.GaugeMemory: "bytes",
		reports.GaugeHeap: "bytes", reports.GaugeConnections: "", reports.GaugeDiskRead: "bytes/s",
		reports.GaugeDiskWrite: "bytes/s", reports.GaugeNetworkSent: "bytes/s"}
	for _, component := range drawnComponents {
		for name, unit := range names {
			g := reports.Gauge{Component: component, Name: name, Unit: unit}
			for range run.Looks.Seconds {
				g.Values = append(g.Values, float64(random.IntN(1e6)))
			}
			run.Looks.Gauges = append(run.Looks.Gauges, g)
		}
	}
	run.Conclude()
	return run
}

// TestPageIsSmall: the page of five minutes fits into an e-mail, also beside a base.
func TestPageIsSmall(t *testing.T) {
	t.Parallel()
	run := busyRun(t)
	html := pageOf(t, run, reports.Compare(busyRun(t), run))
	t.Logf("%d bytes", len(html))
	if len(html) > 400_000 {
		t.Errorf("%d bytes, want at most 400,000", len(html))
	}
}

// TestContents: each entry of the table of contents leads to a section, and each section has one.
func TestContents(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`<a href="#(\w+)">`)
	section := regexp.MustCompile(`<section id="(\w+)"`)
	names := func(found [][]string) (all []string) {
		for _, f := range found {
			all = append(all, f[1])
		}
		slices.Sort(all)
		return all
	}
	for _, name := range []string{"good", "chaos"} {
		run := example(t, name)
		html := pageOf(t, run, reports.Compare(example(t, "good"), run))
		links := names(link.FindAllStringSubmatch(html, -1))
		sections := names(section.FindAllStringSubmatch(html, -1))
		if len(links) < 8 || !slices.Equal(links, sections) {
			t.Errorf("%s: contents %q, sections %q", name, links, sections)
		}
	}
	if html := pageOf(t, example(t, "unmeasured"), nil); strings.Contains(html, "<nav") {
		t.Error("a short page has contents")
	}
}

// TestOverlay: the percentiles of the base are drawn beside the run's own.
func TestOverlay(t *testing.T) {
	t.Parallel()
	run := example(t, "chaos")
	alone, both := pageOf(t, run, nil), pageOf(t, run, reports.Compare(example(t, "good"), run))
	if n := strings.Count(alone, `class="line e2e base"`); n != 0 {
		t.Errorf("%d curves of a base that is not there", n)
	}
	if n := strings.Count(both, `class="line e2e base"`); n != len(sizes) {
		t.Errorf("%d curves of the base, want one in each form", n)
	}
	if !strings.Contains(both, "dashed: the base, baseline-20261122-075547") {
		t.Error("the legend does not name the base")
	}
}

// TestFaultsAreNamedInCharts: every chart over time shades and names the faults.
func TestFaultsAreNamedInCharts(t *testing.T) {
	t.Parallel()
	html := pageOf(t, example(t, "chaos"), nil)
	charts := strings.Count(html, "since the start of the measured load")
	for _, want := range []string{">kill consumer</text>", ">slow MongoDB (not applied)</text>",
		`<rect class="band fault"`, `<rect class="band recovery"`} {
		if n := strings.Count(html, want); n != charts || n < 8 {
			t.Errorf("%s: %d times in %d charts", want, n, charts)
		}
	}
}

// TestFlowAddsUp: the stages of a stretch add up to the mean of the whole.
func TestFlowAddsUp(t *testing.T) {
	t.Parallel()
	run := busyRun(t)
	e2e, _ := run.StageOf(reports.E2E, "", "")
	var all float64
	stretches := flows(run, 60)
	for _, f := range stretches {
		all += sum(f.ms)
	}
	got := all / float64(len(stretches))
	if len(stretches) != 60 || got < 0.97*e2e.Mean || got > 1.03*e2e.Mean {
		t.Errorf("%d stretches of %v ms on average, e2e is %v ms", len(stretches), got, e2e.Mean)
	}
	// With the consumer's stages seen, the rest of the pipeline is what they leave.
	for i, g := range []float64{1, 0.5} {
		gauge := reports.Gauge{Component: "consumer", Unit: "ms",
			Name: reports.StageGauge(reports.PartStages[2+i], reports.GaugeMean)}
		for range run.Looks.Seconds {
			gauge.Values = append(gauge.Values, g)
		}
		run.Looks.Gauges = append(run.Looks.Gauges, gauge)
	}
	pipeline := len(reports.PartStages)
	for _, f := range flows(run, 60) {
		if f.ms[2] != 1 || f.ms[3] != 0.5 || f.ms[pipeline] != 0 || f.ms[pipeline+1] <= 0 {
			t.Fatalf("stages %v of %q", f.ms, flowStages)
		}
	}
}

// TestDiff: a change has a word only where the runs are comparable, and a bar within its bounds.
func TestDiff(t *testing.T) {
	t.Parallel()
	c := &reports.Comparison{Comparable: true, Metrics: []reports.Metric{
		{Name: "e2e p50", Unit: "ms", Base: 2, Head: 3, Known: true, DeltaPercent: 50},
		{Name: "throughput", Unit: "/s", Base: 1, Head: 9, Known: true, DeltaPercent: 800,
			Better: true},
		{Name: "e2e p95", Unit: "ms", Base: 2, Head: 2.01, Known: true, DeltaPercent: 0.5},
		{Name: "e2e p99", Unit: "ms", Base: 4, Head: 1, Known: true, DeltaPercent: -75,
			Better: true},
		{Name: "errors", Unit: "%"}}}
	want := []string{"worse 50 25 +50.0 % worse", "good 50 50 +800.0 % better",
		"soft 0 0 +0.5 %", "good 12.5 37.5 -75.0 % better", "soft 0 0 -"}
	for i, row := range diffRows(c) {
		got := fmt.Sprintf("%s %g %g %s", row.Class, row.X, row.Width, row.Change)
		if got != want[i] {
			t.Errorf("%s: got %q, want %q", row.Name, got, want[i])
		}
	}
	c.Comparable = false
	for _, row := range diffRows(c) {
		if row.Class != "soft" || strings.Contains(row.Change, "e") {
			t.Errorf("not comparable, and %+v", row)
		}
	}
}

// TestPath: relative steps lead to the same places as the points.
func TestPath(t *testing.T) {
	t.Parallel()
	points := [][2]float64{{1, 5}, {2, 5}, {3, 5}, {4, 4.5}, {5.04, 4.5}, {6, 5.2}, {0, -1},
		{7, 0.3}}
	got := path(len(points), func(i int) (x, y float64, ok bool) {
		return points[i][0], points[i][1], points[i][1] >= 0
	})
	if want := "M1 5h.01h2l1-.5h1l1 .7M7 0.3h.01"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestTablesFitPhones: each table can be scrolled, also by the keyboard, or wraps its texts.
func TestTablesFitPhones(t *testing.T) {
	t.Parallel()
	html := pageOf(t, example(t, "chaos"), nil)
	if n := strings.Count(html, `<div class="scroll">`); n > 0 {
		t.Errorf("%d scrolled regions without tabindex", n)
	}
	if !strings.Contains(html, ".two td.text { white-space:normal;") {
		t.Error("the tables side by side do not wrap")
	}
}
