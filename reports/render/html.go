package render

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/findings"
	"github.com/cdclab/cdclab/reports/impact"
	"github.com/cdclab/cdclab/reports/unit"
	"github.com/cdclab/cdclab/reports/wholefile"
)

//go:embed report.html.tmpl
var reportTemplate string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"amount": unit.Amount, "bytes": unit.Bytes, "ms": unit.Ms, "number": unit.Number,
	"percent": func(share float64) string { return unit.Number(100 * share) },
	"label":   reports.StageLabel, "short": reports.ShortHash, "words": reports.StatusInWords,
	"applied": appliedText, "outcome": outcomeText,
	"diff": diffRows, "clocks": clocksText, "dropped": droppedText,
	"recovery": recoveryText, "seen": seenText, "sign": signText, "steady": steadyText,
	"upper": strings.ToUpper, "utc": startText,
}).Parse(reportTemplate))

// view is the input of the template: the Run and everything computed for the report.
type view struct {
	*reports.Run
	Comparison *reports.Comparison
	Headline   string
	Limits     []reports.Limit
	Findings   []findings.Finding
	Impacts    []impact.Impact
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
	Flow       []*chart
	FlowStages []string
	Contents   []entry
	Bars       []bar
	BarRows    []barRow
	StageRows  []stageRow
	EntityRows []entityRow
	Statuses   []statusRow
	LoadRows   []loadRow
	LoadLines  []string
	Settings   []setting
	Commit     string
	LagLines   []string
	Prometheus bool
	LastLine   string
	Worst      int
}

// WriteHTML writes the report of a Run as a single file that needs nothing else: no network, no
// script. comparison may be nil.
func WriteHTML(w io.Writer, r *reports.Run, comparison *reports.Comparison) error {
	v := view{Run: r, Comparison: comparison, Headline: headline(r), Limits: r.Limits(),
		Findings: findings.Find(r), Impacts: impact.Of(r), Advice: Recommendations(r),
		Bars: bars(r), BarRows: barRows(r),
		StageRows:  stageRows(r),
		EntityRows: entityRows(r), Statuses: statusRows(r), Settings: settings(r),
		LoadRows: loadRows(r), LoadLines: loadLines(r),
		Components: drawnComponents, Usages: usages(r), Search: breakpointLines(&r.Breakpoint),
		Commit: commitText(&r.Provenance), LagLines: lagLines(r), LastLine: LastLine(r, ""),
		Prometheus: r.Looks.Gauge("prometheus", reports.GaugeLag) != nil}
	var base *reports.Run
	if comparison != nil {
		base = comparison.BaseRun
	}
	for _, s := range sizes {
		v.Latency = appendChart(v.Latency, latencyChart(r, s))
		v.Rate = appendChart(v.Rate, rateChart(r, s))
		v.Waiting = appendChart(v.Waiting, outstandingChart(r, s))
		v.Lagging = appendChart(v.Lagging, lagChart(r, s))
		v.Records = appendChart(v.Records, recordsChart(r, s))
		v.Curves = appendChart(v.Curves, distributionChart(r, base, s))
		v.Flow = appendChart(v.Flow, flowChart(r, s))
	}
	if n := len(r.Series); n > 0 {
		v.Worst = (r.Series[n-1].Second / sizes[0].points) + 1
	}
	if len(v.Flow) > 0 {
		for _, area := range v.Flow[0].Areas {
			v.FlowStages = append(v.FlowStages, area.Class)
		}
	}
	v.Contents = contents(&v)
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		return fmt.Errorf("render HTML report: %w", err)
	}
	return deliver(w, &b, "HTML report")
}

// entry is a line of the table of contents: the id of a section and its title.
type entry struct{ ID, Title string }

// contents lists the sections of a long page; none for a Run without charts.
func contents(v *view) (all []entry) {
	if len(v.Latency) == 0 {
		return nil
	}
	for _, section := range []struct {
		there     bool
		id, title string
	}{
		{len(v.Findings) > 0, "findings", "Findings"}, {true, "latency", "Latency"},
		{len(v.LoadRows)+len(v.LoadLines) > 0, "load", "Load"},
		{len(v.Rate) > 0, "rate", "Rate"}, {true, "stages", "Where the time goes"},
		{len(v.Curves) > 0, "percentiles", "Percentiles"},
		{len(v.EntityRows) > 0, "entities", "Entities"}, {true, "consistency", "Consistency"},
		{true, "limits", "Limits"}, {len(v.Faults) > 0, "faults", "Faults"},
		{v.Comparison != nil, "comparison", "Comparison"}, {true, "resources", "Resources"},
		{len(v.Search) > 0, "breakpoint", "Breakpoint"},
		{len(v.Usages) > 0, "usage", "Resources over time"},
		{len(v.Notes)+len(v.Run.Warnings) > 0, "notes", "Notes"},
		{true, "provenance", "Provenance"},
	} {
		if section.there {
			all = append(all, entry{section.id, section.title})
		}
	}
	return all
}

// SaveHTML stores the report of a Run as the file at path, in one step like reports.Run.Save.
func SaveHTML(path string, r *reports.Run, comparison *reports.Comparison) error {
	var page bytes.Buffer
	if err := WriteHTML(&page, r, comparison); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := wholefile.Write(path, page.Bytes()); err != nil {
		return fmt.Errorf("save HTML report: %w", err)
	}
	return nil
}

func appendChart(all []*chart, c *chart) []*chart {
	if c == nil {
		return all
	}
	return append(all, c)
}

func headline(r *reports.Run) string {
	switch r.Verdict.Status {
	case reports.Pass:
		return "Every row arrived with the right content, and every limit held."
	case reports.Fail:
		return "The pipeline did something that it must never do, or was slower than allowed."
	}
	return "This run cannot tell whether the pipeline is right. Its numbers are not to be used."
}

// bar is a stacked bar of the waterfall; widths are in per cent of the bar.
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
	at   func(reports.Latency) float64
}{
	{"p50", func(l reports.Latency) float64 { return l.P50 }},
	{"p99", func(l reports.Latency) float64 { return l.P99 }},
}

func bars(r *reports.Run) []bar {
	var all []bar
	for _, p := range percentiles {
		split := reports.Waterfall(r, p.at)
		whole := p.at(r.Summary.Latency)
		var sum float64
		for _, s := range split {
			sum += s.Ms
		}
		scale := math.Max(sum, whole)
		if scale == 0 {
			continue
		}
		b := bar{Name: p.name, Total: unit.Ms(whole), E2EPercent: round(100 * whole / scale)}
		var x float64
		for _, s := range split {
			width := 100 * s.Ms / scale
			b.Segments = append(b.Segments, segment{s.Stage, s.Label + " " + unit.Ms(s.Ms) + " ms",
				math.Round(100*x) / 100, math.Round(100*width) / 100})
			x += width
		}
		all = append(all, b)
	}
	return all
}

// barRow is the legend of the bars with the numbers.
type barRow struct{ Stage, Label, P50, P99 string }

func barRows(r *reports.Run) []barRow {
	var rows []barRow
	find := func(split []reports.Part, stage string) string {
		i := slices.IndexFunc(split, func(p reports.Part) bool { return p.Stage == stage })
		if i < 0 {
			return "–"
		}
		return unit.Ms(split[i].Ms)
	}
	p50 := reports.Waterfall(r, percentiles[0].at)
	p99 := reports.Waterfall(r, percentiles[1].at)
	for _, stage := range append(slices.Clone(reports.PartStages), reports.Pipeline,
		reports.Visibility) {
		row := barRow{stage, reports.StageLabel(stage), find(p50, stage), find(p99, stage)}
		if row.P50 != "–" || row.P99 != "–" {
			rows = append(rows, row)
		}
	}
	return rows
}

type stageRow struct {
	reports.Stage
	Nested bool
}

func stageRows(r *reports.Run) []stageRow {
	var rows []stageRow
	for _, shown := range shownStages {
		if s, ok := r.StageOf(shown.stage, "", ""); ok {
			rows = append(rows, stageRow{s, shown.nested})
		}
	}
	return rows
}

// entityRow is e2e of an entity and operation, with the range from p50 to p99 on a scale shared by
// all rows.
type entityRow struct {
	reports.Stage
	X50, X95, X99 float64
}

func entityRows(r *reports.Run) []entityRow {
	var rows []entityRow
	least, most := math.Inf(1), 0.0
	for _, s := range r.Stages {
		if s.Stage == reports.E2E && s.Entity != "" && s.Count > 0 {
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
	Status reports.RowStatus
	Count  int64
	Bad    bool
}

// statusRows lists every status; SourceLoss and Pending, which are not the pipeline's, only where
// found.
func statusRows(r *reports.Run) []statusRow {
	rows := make([]statusRow, 0, len(reports.RowStatuses))
	for _, status := range reports.RowStatuses {
		if n := r.Consistency.Counts[status]; n > 0 || status != reports.SourceLoss &&
			status != reports.Pending {
			rows = append(rows, statusRow{status, n, n > 0 && status.Bad()})
		}
	}
	return rows
}

type setting struct{ Name, Value string }

// settings is the provenance as names and values.
func settings(r *reports.Run) []setting {
	p, h := &r.Provenance, &r.Provenance.Host
	all := []setting{
		{"run", r.TestRun.ID}, {"command", strings.Join(p.Command, " ")}, {"commit", commitText(p)},
		{"Go", p.GoVersion}, {"seed", fmt.Sprint(p.Seed)},
		{"scenario file", p.ScenarioFile + " (" + reports.ShortHash(p.ScenarioSHA256) + ")"},
		{"consumer program", reports.ShortHash(p.ConsumerSHA256)},
		{"machine", fmt.Sprintf("%s/%s, %s, %d cores, %s, kernel %s", h.OS, h.Arch, h.CPUModel,
			h.Cores, unit.Bytes(h.MemoryBytes), h.Kernel)},
		{"machine fingerprint", h.Fingerprint}, {"stack", p.Stack}, {"MongoDB server", p.MongoKind},
		{"data on tmpfs", fmt.Sprint(p.Tmpfs)},
	}
	for _, name := range slices.Sorted(maps.Keys(p.StackVersions)) {
		all = append(all, setting{"version of " + name, p.StackVersions[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Config)) {
		all = append(all, setting{name, p.Config[name]})
	}
	all = append(all,
		setting{"tracker", fmt.Sprintf("%s, watched %s %% of %s %% asked, did %d of MongoDB's %d "+
			"operations, %d errors", r.Tracker.Kind,
			unit.Number(100*r.Tracker.TrackedShare), unit.Number(100*r.Tracker.AskedShare),
			r.Tracker.Operations,
			r.Tracker.ServerOperations, r.Tracker.Errors)},
		setting{"generator", fmt.Sprintf("%s ms late at p99, at most %d writes queued, "+
			"%d substituted",
			unit.Ms(r.Generator.LateTicksP99Ms), r.Generator.QueueMax, r.Generator.Substituted)},
		setting{"ledger", fmt.Sprintf("%s, %s", r.Ledger.Path,
			unit.Plural(r.Ledger.Writes, "write", "writes"))})
	return all
}
