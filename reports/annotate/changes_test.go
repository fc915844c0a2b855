package annotate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports/archive"
	"github.com/cdclab/cdclab/reports/trend"
)

// slowed is a trend of a key whose p50 becomes worse with night 3 and better with night 6.
func slowed(scenario string) trend.Trend {
	line := trend.Line{Metric: "e2e p50", Unit: "ms"}
	for i, value := range []float64{10, 10, 10, 12, 12, 12, 9, 9, 9} {
		at := began.Add(time.Duration(i) * 24 * time.Hour)
		line.Values = append(line.Values, value)
		line.Runs = append(line.Runs, trend.Point{ID: "<night>", Commit: strings.Repeat("a", i),
			Time: at.Format(trend.TimeLayout)})
	}
	line.Changes = []trend.Change{{Index: 3, Before: 10, After: 12, Percent: 20},
		{Index: 6, Before: 12, After: 9, Percent: -25}}
	return trend.Trend{Key: archive.Key{Scenario: scenario, Stack: "embedded"},
		Lines: []trend.Line{{Metric: "e2e p95"}, line}}
}

func changesOf(t *testing.T, one trend.Trend) []Annotation {
	t.Helper()
	all, err := OfTrend(one, "https://ci/trend.html")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestOfTrend: each change is a region between the two runs around the change. The direction is a
// tag, and only the link is HTML.
func TestOfTrend(t *testing.T) {
	t.Parallel()
	all := changesOf(t, slowed("baseline"))
	if len(all) != 2 {
		t.Fatalf("%d annotations: %+v", len(all), all)
	}
	for i, kind := range []string{"worse", "better"} {
		a := all[i]
		from := began.Add(time.Duration(2+3*i) * 24 * time.Hour)
		if a.Time != from.UnixMilli() || a.TimeEnd != from.Add(24*time.Hour).UnixMilli() ||
			!slices.Contains(a.Tags, "change:"+kind) ||
			!slices.Contains(a.Tags, "scenario:baseline") || !slices.Contains(a.Tags, Tag) {
			t.Errorf("%s: %+v", kind, a)
		}
		if !strings.HasPrefix(a.Text, "e2e p50 changed by ") ||
			!strings.Contains(a.Text, "&lt;night&gt;") ||
			!strings.HasSuffix(a.Text, ` <a href="https://ci/trend.html">report</a>`) {
			t.Errorf("the text is %q", a.Text)
		}
	}
	if _, err := OfTrend(slowed("baseline"), "javascript:alert(1)"); err == nil {
		t.Error("a link that is no address was taken")
	}
	broken := slowed("baseline")
	broken.Lines[1].Runs[3].Time = "yesterday"
	if _, err := OfTrend(broken, ""); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("got %v", err)
	}
}

// TestTrendIsSentOnce: a trend sent three times, also with more runs behind a change, has each of
// its changes once, beside the changes of another key.
func TestTrendIsSentOnce(t *testing.T) {
	t.Parallel()
	server := &grafana{}
	c := newClient(t, startGrafana(t, server)+"/below/")
	for n, want := range []Sent{{Created: 2}, {Kept: 2}, {Kept: 2}} {
		for _, scenario := range []string{"baseline", "smoke"} {
			got, err := c.Send(t.Context(), changesOf(t, slowed(scenario)))
			if err != nil || got != want {
				t.Fatalf("time %d: %+v, %v; want %+v", n+1, got, err, want)
			}
		}
	}
	more := slowed("baseline")
	more.Lines[1].Changes[1].After = 8.5
	got, err := c.Send(t.Context(), changesOf(t, more))
	if want := (Sent{Kept: 1, Updated: 1}); err != nil || got != want || len(server.there) != 4 {
		t.Errorf("%+v, %v, %d there; want %+v", got, err, len(server.there), want)
	}
	if got, err := c.Send(t.Context(), changesOf(t, trend.Trend{})); err != nil || got != (Sent{}) {
		t.Errorf("a trend without a change: %+v, %v", got, err)
	}
}
