package trend

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func indexes(changes []Change) []int {
	all := []int{}
	for _, c := range changes {
		all = append(all, c.Index)
	}
	return all
}

func TestChangePoints(t *testing.T) {
	t.Parallel()
	steps := func(lengths ...int) (series []float64) {
		for level, n := range lengths {
			for i := range n {
				series = append(series, 100+40*float64(level%2)+float64(i%3))
			}
		}
		return series
	}
	outlier := steps(30)
	outlier[20] = 1000
	for name, c := range map[string]struct {
		series []float64
		want   []int
	}{
		"nothing":           {nil, []int{}},
		"one value":         {[]float64{1}, []int{}},
		"always the same":   {slices.Repeat([]float64{5}, 40), []int{}},
		"zeros":             {slices.Repeat([]float64{0}, 40), []int{}},
		"a clean step":      {append(slices.Repeat([]float64{5}, 9), 6, 6, 6), []int{9}},
		"two values of six": {append(slices.Repeat([]float64{5}, 9), 6, 6), []int{}},
		"a step":            {steps(20, 20), []int{20}},
		"up and down":       {steps(20, 12, 15), []int{20, 32}},
		"one outlier":       {outlier, []int{}},
		"as of Otava's own test": {[]float64{1.02, 0.95, 0.99, 1.00, 1.12, 1.00, 1.01, 0.98, 1.01,
			0.96, 0.50, 0.51, 0.48, 0.48, 0.55, 0.50, 0.49, 0.51, 0.50, 0.49}, []int{10}},
	} {
		got := indexes(ChangePoints(c.series, DefaultOptions))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestChangePointsHold: the unit, and an equal shift up, change no index; reversed, the series has
// the changes from behind; segments are long enough.
func TestChangePointsHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var series []float64
		for range rapid.IntRange(1, 4).Draw(t, "levels") {
			level := rapid.Float64Range(50, 500).Draw(t, "level")
			for range rapid.IntRange(1, 15).Draw(t, "length") {
				series = append(series, level+rapid.Float64Range(0, 20).Draw(t, "noise"))
			}
		}
		got := ChangePoints(series, DefaultOptions)
		last := 0
		for _, c := range append(got, Change{Index: len(series), Percent: 100}) {
			if c.Index-last < leastSegment && len(got) > 0 || math.IsNaN(c.P) ||
				c.P >= DefaultOptions.Alpha || math.Abs(c.Percent) < DefaultOptions.LeastPercent {
				t.Fatalf("%+v of %v", got, series)
			}
			last = c.Index
		}
		scaled := make([]float64, len(series))
		for i, v := range series {
			scaled[i] = 1024 * v
		}
		other := indexes(ChangePoints(scaled, DefaultOptions))
		if diff := cmp.Diff(indexes(got), other); diff != "" {
			t.Fatalf("in another unit: %s", diff)
		}
	})
}

// night is a value of a clean night, with noise.
func clean(random *rand.Rand, noise float64) float64 {
	return 100 * math.Exp(noise*random.NormFloat64())
}

// TestFalseAlarmsOfAYear: of clean nights, each looked at with the 50 nights before, at most one
// alarm a year for all metrics together.
func TestFalseAlarmsOfAYear(t *testing.T) {
	t.Parallel()
	const years, metrics = 6, 3
	for _, noise := range []float64{0.02, 0.05, 0.10} {
		t.Run(fmt.Sprint(noise), func(t *testing.T) {
			t.Parallel()
			random, alarms := rand.New(rand.NewPCG(11, 12)), 0
			for range years {
				var series []float64
				told := map[int]bool{}
				for range 365 {
					series = append(series, clean(random, noise))
					window := series[max(0, len(series)-Nights):]
					for _, c := range ChangePoints(window, DefaultOptions) {
						week := (len(series) - len(window) + c.Index) / 7
						if !told[week] && !told[week-1] && !told[week+1] {
							alarms++
						}
						told[week] = true
					}
				}
			}
			if perYear := metrics * float64(alarms) / years; perYear > 1 {
				t.Errorf("%.2f false alarms a year", perYear)
			}
		})
	}
}

// TestStepIsFound: one step of 10 % in 50 nights is found with the second night after the first
// bad night, at the noise of nights of several runs, and the range is right.
func TestStepIsFound(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(13, 14))
	const cases, bad = 300, 30
	for noise, least := range map[float64]float64{0.02: 0.90, 0.03: 0.60} {
		found := 0
		for range cases {
			var series []float64
			for n := range bad + leastSegment {
				factor := 1.0
				if n >= bad {
					factor = 1.1
				}
				series = append(series, factor*clean(random, noise))
			}
			for _, c := range ChangePoints(series, DefaultOptions) {
				if c.Index >= bad-1 && c.Index <= bad+1 {
					found++
					break
				}
			}
		}
		if share := float64(found) / cases; share < least {
			t.Errorf("noise %g: %.0f %% of the steps are found, want %.0f %%", noise, 100*share,
				100*least)
		}
	}
}

// score is precision and recall against several annotators, as of the Turing Change Point Dataset:
// a point within five of an annotated one is right, and every series changes at 0.
func score(annotations [][]int, got []int) (precision, recall float64) {
	hits := func(of, in []int) (n float64) {
		used := map[int]bool{}
		for _, x := range of {
			i := slices.IndexFunc(in, func(y int) bool {
				return !used[y] && x-y <= 5 && y-x <= 5
			})
			if i >= 0 {
				used[in[i]] = true
				n++
			}
		}
		return n
	}
	got = append([]int{0}, got...)
	union := []int{0}
	for _, of := range annotations {
		union = append(union, of...)
		own := append([]int{0}, of...)
		recall += hits(own, got) / float64(len(own)) / float64(len(annotations))
	}
	return hits(got, union) / float64(len(got)), recall
}

// TestBesideOtava: on series with published change points, precision and recall are as good as
// Apache Otava's; testdata/published.py writes Otava's points.
func TestBesideOtava(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/published.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name        string
		Series      []float64
		Annotations [][]int
		Otava       []int
	}
	if err := json.Unmarshal(text, &all); err != nil || len(all) < 7 {
		t.Fatalf("%d series, %v", len(all), err)
	}
	var ours, theirs [2]float64
	for _, one := range all {
		got := indexes(ChangePoints(one.Series, DefaultOptions))
		p, r := score(one.Annotations, got)
		otavaP, otavaR := score(one.Annotations, one.Otava)
		t.Logf("%-18s %2d points: precision %.2f, recall %.2f; Otava %2d points: %.2f, %.2f",
			one.Name, len(got), p, r, len(one.Otava), otavaP, otavaR)
		ours[0], ours[1] = ours[0]+p/float64(len(all)), ours[1]+r/float64(len(all))
		theirs[0], theirs[1] = theirs[0]+otavaP/float64(len(all)),
			theirs[1]+otavaR/float64(len(all))
	}
	t.Logf("mean precision and recall %.3f, Otava %.3f", ours, theirs)
	if ours[0] < theirs[0] || ours[1] < theirs[1]-0.03 {
		t.Errorf("precision and recall %.3f, Otava's %.3f", ours, theirs)
	}
}
