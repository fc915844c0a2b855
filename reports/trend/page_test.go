package trend

import (
	"bytes"
	"strings"
	"testing"
)

// TestAxis: a quiet metric stays flat, a step of 10 % is a third of the height, no time is below 0,
// and every value lies inside.
func TestAxis(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values    []float64
		low, high float64
	}{
		{[]float64{10, 10}, 8.5, 11.5},
		{[]float64{10, 11}, 8.85, 12.15},
		{[]float64{1, 100}, 1, 100},
		{[]float64{0, 0}, 0, 1},
		{[]float64{0, 5}, 0, 5},
		{[]float64{-2, 2}, -2, 2},
	} {
		low, high := axis(c.values)
		if max(low-c.low, c.low-low, high-c.high, c.high-high) > 1e-9 {
			t.Errorf("%v: %g to %g, want %g to %g", c.values, low, high, c.low, c.high)
		}
	}
}

// TestPageOfAChange: the chart names the size of the change, above the rule, the days at both ends
// and no probability of 0.
func TestPageOfAChange(t *testing.T) {
	t.Parallel()
	line := Line{Metric: "e2e p50", Unit: "ms"}
	for i, value := range []float64{10, 10, 10, 11, 11, 11} {
		line.Values = append(line.Values, value)
		line.Runs = append(line.Runs, Point{ID: "night", Time: []string{"first day", "second day",
			"third day", "fourth day", "fifth day", "last day"}[i]})
	}
	line.Changes = []Change{{Index: 3, Before: 10, After: 11, Percent: 10}}
	text := line.Words(line.Changes[0])
	if want := "e2e p50 changed by +10.0 %, from 10 to 11 ms (p < 1e-9), with run night of " +
		"fourth day"; !strings.HasPrefix(text, want) {
		t.Errorf("got %q, want %q", text, want)
	}
	var b bytes.Buffer
	if err := WritePage(&b, []Trend{{Lines: []Line{line}, Alarms: []string{text}}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<span class=\"mark worse\"\n",
		` style="left:50.0%">&#43;10 %<`,
		"<span>first day</span><span>last day</span>", "the chart is from 8."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
}
