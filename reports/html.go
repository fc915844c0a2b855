package reports

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
)

//go:embed report.html.tmpl
var reportTemplate string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"ms": ms, "number": number, "bytes": bytesText, "upper": strings.ToUpper, "label": stageLabel,
	"percent": func(share float64) string { return number(100 * share) },
	"applied": appliedText, "recovery": recoveryText, "words": inWords, "dropped": droppedText, "short": short,
	"clocks": clocksText, "amount": amount, "utc": func(r *Run) string { return r.TestRun.StartTime.UTC().Format("2006-01-02 15:04:05 UTC") },
}).Parse(reportTemplate))

// view is what the template shows: the Run and what was computed for it.
type view struct {
	*Run
	Comparison *Comparison
	Headline   string
	Limits     []limit
	Advice     []string
	Latency    []*chart
	Rate       []*chart
	Waiting    []*chart
	Lagging    []*chart
	Records    []*chart
	Usages     []usage
	Components []string
	Search     []string
	Curves     []*chart
	Bars       []bar
	BarRows    []barRow
	StageRows  []stageRow
	EntityRows []entityRow
	Statuses   []statusRow
	Settings   []setting
	Commit     string
	LagLines   []string
	Prometheus bool
	LastLine   string
	Worst      int
}

// WriteHTML writes the report of a Run as one file that needs nothing else: no network, no script.
// comparison may be nil.
func WriteHTML(w io.Writer, r *Run, comparison *Comparison) error {
	v := view{Run: r, Comparison: comparison, Headline: headline(r), Limits: r.limits(),
		Advice: Recommendations(r), Bars: bars(r), BarRows: barRows(r), StageRows: stageRows(r),
		EntityRows: entityRows(r), Statuses: statusRows(r), Settings: settings(r),
		Components: drawnComponents, Usages: usages(r), Search: r.Breakpoint.lines(),
		Commit: commitText(&r.Provenance), LagLines: lagLines(r), LastLine: LastLine(r, ""),
		Prometheus: r.Looks.gauge("prometheus", GaugeLag) != nil}
	for _, s := range sizes {
		v.Latency = appendChart(v.Latency, latencyChart(r, s))
		v.Rate = appendChart(v.Rate, rateChart(r, s))
		v.Waiting = appendChart(v.Waiting, outstandingChart(r, s))
		v.Lagging = appendChart(v.Lagging, lagChart(r, s))
		v.Records = appendChart(v.Records, recordsChart(r, s))
		v.Curves = appendChart(v.Curves, distributionChart(r, s))
	}
	if n := len(r.Series); n > 0 {
		v.Worst = (r.Series[n-1].Second / sizes[0].points) + 1
	}
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		return fmt.Errorf("render HTML report: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write HTML report: %w", err)
	}
	return nil
}

func appendChart(all []*chart, c *chart) []*chart {
	if c == nil {
		return all
	}
	return append(all, c)
}

func headline(r *Run) string {
	switch r.Verdict.Status {
	case Pass:
		return "Every row arrived with the right content, and every limit held."
	case Fail:
		return "The pipeline did something that it must never do, or was slower than allowed."
	}
	return "This run cannot tell whether the pipeline is right. Its numbers are not to be used."
}

// bar is one stacked bar of the waterfall; widths are in per cent of it.
type bar struct {
	Name, Total string
	Segments    []segment
	// E2EPercent is where the e2e percentile itself lies.
	E2EPercent float64
}

type segment struct {
	Stage, Text string
	X, Width    float64
}

// percentiles are the two bars of the waterfall, each on a scale of its own.
var percentiles = []struct {
	name string
	at   func(Latency) float64
}{
	{"p50", func(l Latency) float64 { return l.P50 }},
	{"p99", func(l Latency) float64 { return l.P99 }},
}

func bars(r *Run) []bar {
	var all []bar
	for _, p := range percentiles {
		split := waterfallParts(r, p.at)
		whole := p.at(r.Summary.Latency)
		var sum float64
		for _, s := range split {
			sum += s.Ms
		}
		scale := math.Max(sum, whole)
		if scale == 0 {
			continue
		}
		b := bar{Name: p.name, Total: ms(whole), E2EPercent: round(100 * whole / scale)}
		var x float64
		for _, s := range split {
			width := 100 * s.Ms / scale
			b.Segments = append(b.Segments, segment{s.Stage, s.Label + " " + ms(s.Ms) + " ms",
				math.Round(100*x) / 100, math.Round(100*width) / 100})
			x += width
		}
		all = append(all, b)
	}
	return all
}

// barRow is the legend of the bars with the numbers.
type barRow struct{ Stage, Label, P50, P99 string }

func barRows(r *Run) []barRow {
	var rows []barRow
	find := func(split []part, stage string) string {
		i := slices.IndexFunc(split, func(p part) bool { return p.Stage == stage })
		if i < 0 {
			return "–"
		}
		return ms(split[i].Ms)
	}
	p50 := waterfallParts(r, percentiles[0].at)
	p99 := waterfallParts(r, percentiles[1].at)
	for _, stage := range append(slices.Clone(parts), Pipeline, visibility) {
		row := barRow{stage, stageLabel(stage), find(p50, stage), find(p99, stage)}
		if row.P50 != "–" || row.P99 != "–" {
			rows = append(rows, row)
		}
	}
	return rows
}

type stageRow struct {
	Stage
	Nested bool
}

func stageRows(r *Run) []stageRow {
	var rows []stageRow
	for _, shown := range shownStages {
		if s, ok := r.StageOf(shown.stage, "", ""); ok {
			rows = append(rows, stageRow{s, shown.nested})
		}
	}
	return rows
}

// entityRow is e2e of one entity and operation, with the range from p50 to p99 on a scale that all
// rows share.
type entityRow struct {
	Stage
	X50, X95, X99 float64
}

func entityRows(r *Run) []entityRow {
	var rows []entityRow
	least, most := math.Inf(1), 0.0
	for _, s := range r.Stages {
		if s.Stage == E2E && s.Entity != "" && s.Count > 0 {
			rows = append(rows, entityRow{Stage: s})
			least = math.Min(least, math.Max(s.P50, shortestMs))
			most = math.Max(most, s.P99)
		}
	}
	a := axis{low: least, high: math.Max(most, 1.01*least), from: 2, to: 98, log: true}
	for i := range rows {
		row := &rows[i]
		row.X50, row.X95, row.X99 = a.at(row.P50), a.at(row.P95), a.at(row.P99)
	}
	return rows
}

type statusRow struct {
	Status string
	Count  int64
	Bad    bool
}

func statusRows(r *Run) []statusRow {
	rows := make([]statusRow, 0, len(statuses))
	for _, status := range statuses {
		n := r.Consistency.Counts[status]
		rows = append(rows, statusRow{status, n, n > 0 && slices.Contains(violations, status)})
	}
	return rows
}

type setting struct{ Name, Value string }

// settings is the provenance as names and values.
func settings(r *Run) []setting {
	p, h := &r.Provenance, &r.Provenance.Host
	all := []setting{
		{"run", r.TestRun.ID}, {"command", strings.Join(p.Command, " ")}, {"commit", commitText(p)},
		{"Go", p.GoVersion}, {"seed", fmt.Sprint(p.Seed)},
		{"scenario file", p.ScenarioFile + " (" + short(p.ScenarioSHA256) + ")"},
		{"consumer program", short(p.ConsumerSHA256)},
		{"machine", fmt.Sprintf("%s/%s, %s, %d cores, %s, kernel %s", h.OS, h.Arch, h.CPUModel, h.Cores,
			bytesText(h.MemoryBytes), h.Kernel)},
		{"machine fingerprint", h.Fingerprint}, {"stack", p.Stack}, {"MongoDB server", p.MongoKind},
		{"data on tmpfs", fmt.Sprint(p.Tmpfs)},
	}
	for _, name := range sortedKeys(p.StackVersions) {
		all = append(all, setting{"version of " + name, p.StackVersions[name]})
	}
	for _, name := range sortedKeys(p.Config) {
		all = append(all, setting{name, p.Config[name]})
	}
	all = append(all,
		setting{"tracker", fmt.Sprintf("%s, watched %s %% of %s %% asked, did %d of MongoDB's %d operations, %d errors", r.Tracker.Kind,
			number(100*r.Tracker.TrackedShare), number(100*r.Tracker.AskedShare), r.Tracker.Operations,
			r.Tracker.ServerOperations, r.Tracker.Errors)},
		setting{"generator", fmt.Sprintf("%s ms late at p99, at most %d writes queued, %d substituted",
			ms(r.Generator.LateTicksP99Ms), r.Generator.QueueMax, r.Generator.Substituted)},
		setting{"ledger", fmt.Sprintf("%s, %s", r.Ledger.Path, plural(r.Ledger.Writes, "write", "writes"))})
	return all
}
