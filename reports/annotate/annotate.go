// Package annotate writes what a Run concluded into a Grafana, as annotations: the load as a
// region, each fault as a region, and the verdict; of a trend each change, as a region. The package
// changes no verdict; only packages annotate and comment dial out of reports. Start reading at Of,
// then at Client.Send.
package annotate

import (
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// Tag is a tag of every annotation of the lab; dashboards query annotations by Tag.
const Tag = "cdclab"

// Annotation is one annotation in the JSON of Grafana's HTTP API. Time and TimeEnd are milliseconds
// since 1970; equal times are a point, different times a region.
// https://grafana.com/docs/grafana/latest/developers/http_api/annotations/
type Annotation struct {
	ID      int64    `json:"id,omitempty"`
	Time    int64    `json:"time"`
	TimeEnd int64    `json:"timeEnd"`
	Tags    []string `json:"tags"`
	Text    string   `json:"text"`
}

// The tags of a Run and of one of its annotations: together the tags find an annotation again.
const (
	runTag  = "cdclab-run:"
	partTag = "cdclab-part:"
)

// identify returns the tag shared by all annotations of a Run. The tag holds a hash, because
// Grafana keeps 100 characters of a tag, and the name of a script may have more.
func identify(run *reports.Run) string {
	return runTag + digest(run.TestRun.ID+"\n"+
		run.TestRun.StartTime.UTC().Format(time.RFC3339Nano))
}

// tag returns the annotation's tag with the prefix, "" where there is none.
func (a *Annotation) tag(prefix string) string {
	i := slices.IndexFunc(a.Tags, func(tag string) bool { return strings.HasPrefix(tag, prefix) })
	if i < 0 {
		return ""
	}
	return a.Tags[i]
}

// Of returns the annotations of a Run: its load, each fault and its verdict. link is the address of
// the report, http or https, empty for none; an error says that link is no such address.
func Of(run *reports.Run, link string) ([]Annotation, error) {
	link, err := anchor(link)
	if err != nil {
		return nil, err
	}
	t := &run.TestRun
	annotate := func(part string, from, to time.Time, text string) Annotation {
		return Annotation{Time: from.UnixMilli(), TimeEnd: to.UnixMilli(),
			Tags: []string{Tag, "scenario:" + short(t.Scenario), "stack:" + run.Provenance.Stack,
				"verdict:" + string(run.Verdict.Status), identify(run), partTag + part},
			Text: html.EscapeString(text) + link}
	}
	all := []Annotation{
		annotate("load", t.StartTime, t.EndTime, fmt.Sprintf("%s on %s: %s/s for %s s",
			t.Scenario, run.Provenance.Stack, unit.Number(run.Summary.Throughput.Offered),
			unit.Number(t.DurationSeconds))),
		annotate("verdict", t.EndTime, t.EndTime, verdictText(run)),
	}
	for i, fault := range run.Faults {
		name := fault.Name + " of " + fault.Target
		if !fault.Applied {
			name += ", not applied"
		}
		all = append(all, annotate(fmt.Sprintf("fault-%d", i+1), t.At(fault.StartSeconds),
			t.At(fault.EndSeconds), name))
	}
	return all, nil
}

// anchor returns the HTML of a link to a report, "" for no link.
func anchor(link string) (string, error) {
	if link == "" {
		return "", nil
	}
	address, err := url.Parse(link)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" {
		return "", fmt.Errorf("link %q: want the http or https address of a report", link)
	}
	return fmt.Sprintf(` <a href="%s">report</a>`, html.EscapeString(link)), nil
}

func verdictText(run *reports.Run) string {
	text := fmt.Sprintf("%s: e2e p50 %s ms, p95 %s ms, p99 %s ms",
		strings.ToUpper(string(run.Verdict.Status)), unit.Number(run.Summary.Latency.P50),
		unit.Number(run.Summary.Latency.P95), unit.Number(run.Summary.Latency.P99))
	if len(run.Verdict.Reasons) > 0 {
		text += ". " + strings.Join(run.Verdict.Reasons, " ")
	}
	return text
}

// short cuts a tag's value to the length kept by Grafana's database.
func short(value string) string {
	const most = 80
	if runes := []rune(value); len(runes) > most {
		return string(runes[:most])
	}
	return value
}
