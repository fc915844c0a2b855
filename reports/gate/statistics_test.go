package gate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// values draws groups of 1 to 12 values, some equal.
func values(t *rapid.T, name string) []float64 {
	return rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(0.001, 1e6),
		rapid.SampledFrom([]float64{0, 1, 2})), 1, 12).Draw(t, name)
}

// TestDifferIsSymmetric: who is called the base changes the sign alone; neither the order of the
// Runs nor the unit changes anything.
func TestDifferIsSymmetric(t *testing.T) {
	t.Parallel()
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a)) }
	rapid.Check(t, func(t *rapid.T) {
		base, head := values(t, "base"), values(t, "head")
		d, swapped := differWithoutInterval(base, head), differWithoutInterval(head, base)
		if !near(d.P, swapped.P) || !near(d.Superiority, 1-swapped.Superiority) ||
			d.BaseMedian != swapped.HeadMedian || d.P < 0 || d.P > 1+1e-9 ||
			math.IsNaN(d.Percent) || math.IsInf(d.Percent, 0) {
			t.Fatalf("%+v, swapped %+v", d, swapped)
		}
		scaled := func(values []float64) (all []float64) {
			for _, v := range slices.Backward(values) {
				all = append(all, 1024*v)
			}
			return all
		}
		other := differWithoutInterval(scaled(base), scaled(head))
		if !near(d.P, other.P) || !near(d.Percent, other.Percent) && d.BaseMedian > 0 {
			t.Fatalf("%+v, in another unit and order %+v", d, other)
		}
		same := differWithoutInterval(base, base)
		if same.Percent != 0 || same.Superiority != 0.5 || same.P < 0.5 {
			t.Fatalf("a group with itself: %+v", same)
		}
	})
}

// TestMannWhitney: the p of known groups, the exact values of scipy.stats.mannwhitneyu.
func TestMannWhitney(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		base, head []float64
		p, effect  float64
	}{
		{[]float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}, 2.0 / 252, 1},
		{[]float64{1, 2, 3}, []float64{4, 5, 6}, 0.1, 1},
		{[]float64{1, 4, 5, 8}, []float64{2, 3, 6, 7}, 1, 0.5},
		{[]float64{19, 22, 16, 29, 24}, []float64{20, 11, 17, 12}, 0.1111111, 0.15},
	} {
		d := differWithoutInterval(c.base, c.head)
		if math.Abs(d.P-c.p) > 1e-6 || d.Superiority != c.effect {
			t.Errorf("%v, %v: p %g, effect %g, want %g, %g", c.base, c.head, d.P, d.Superiority,
				c.p, c.effect)
		}
	}
}

// TestHolm: the example of R's p.adjust, and the bounds of any family.
func TestHolm(t *testing.T) {
	t.Parallel()
	got := adjustHolm([]float64{0.01, 0.04, 0.03, 0.005})
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-12 })
	if diff := cmp.Diff([]float64{0.03, 0.06, 0.06, 0.02}, got, near); diff != "" {
		t.Error(diff)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Float64Range(0, 1), 1, 9).Draw(t, "p")
		adjusted := adjustHolm(p)
		for i := range p {
			if adjusted[i] < p[i] || adjusted[i] > 1 || adjusted[i] > float64(len(p))*p[i]+1e-12 {
				t.Fatalf("%v became %v", p, adjusted)
			}
			for j := range p {
				if p[i] < p[j] && adjusted[i] > adjusted[j] {
					t.Fatalf("%v became %v: the order changed", p, adjusted)
				}
			}
		}
	})
}

// simulated is a machine whose single Runs scatter by noise, and drift in a curve.
type simulated struct {
	random *rand.Rand
	noise  float64
}

func (s simulated) run(factor float64) float64 {
	return 40 * factor * math.Exp(s.noise*s.random.NormFloat64())
}

func (s simulated) runs(n int, factor float64) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = s.run(factor)
	}
	return all
}

// TestIntervalCovers: the interval holds the true change in about as many cases as promised.
func TestIntervalCovers(t *testing.T) {
	t.Parallel()
	const cases, truth = 600, 20.0
	for n, least := range map[int]float64{5: 0.87, 10: 0.90} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			machine := simulated{rand.New(rand.NewPCG(uint64(n), 1)), 0.08}
			covered := 0
			for range cases {
				d := Differ(machine.runs(n, 1), machine.runs(n, 1+truth/100))
				if d.Low <= truth && truth <= d.High {
					covered++
				}
				if d.Low > d.Percent || d.High < d.Percent {
					t.Fatalf("%+v: the interval is beside the change", d)
				}
			}
			if got := float64(covered) / cases; got < least {
				t.Errorf("%.1f %% of the intervals hold the truth, want %.0f %%", 100*got,
					100*least)
			}
		})
	}
}

// TestRunsFor: so many Runs have the power promised, in a simulation; fewer have less.
func TestRunsFor(t *testing.T) {
	t.Parallel()
	if got := []int{LeastRuns(0.10, 1), LeastRuns(0.05, 1), LeastRuns(0.05, 3),
		LeastRuns(0.01, 3)}; !slices.Equal(got, []int{4, 4, 5, 6}) {
		t.Errorf("the least numbers of runs are %v", got)
	}
	for _, c := range []struct{ percent, noise float64 }{{10, 8}, {20, 8}, {15, 12}} {
		need := RunsFor(c.percent, c.noise, 0.05, 3)
		power := func(n int) float64 {
			machine, found := simulated{rand.New(rand.NewPCG(7, 7)), c.noise / 100}, 0
			for range 400 {
				d := differWithoutInterval(machine.runs(n, 1), machine.runs(n, 1+c.percent/100))
				found += count(3*d.P < 0.05)
			}
			return float64(found) / 400
		}
		if got := power(need); got < 0.70 || got > 0.97 {
			t.Errorf("%+v: %d runs find the change in %.0f %%", c, need, 100*got)
		}
		if got := power(need/2 + 1); got > 0.75 {
			t.Errorf("%+v: half of %d runs find the change in %.0f %%", c, need, 100*got)
		}
	}
}

// TestOrder: ABBA BAAB; both sides have as many Runs after each pair, and a straight drift shifts
// the means of both sides alike after each four.
func TestOrder(t *testing.T) {
	t.Parallel()
	order := Order(20)
	var sums [2]int
	for i, side := range order {
		which := count(side == Head)
		sums[which] += i
		if i%4 == 3 && sums[0] != sums[1] {
			t.Errorf("after %d runs the base's places sum to %d, the head's to %d", i+1, sums[0],
				sums[1])
		}
		if i%2 == 1 && order[i] == order[i-1] {
			t.Errorf("runs %d and %d are of one side", i-1, i)
		}
	}
	if order[0] != Base || order[1] != Head || order[2] != Head || order[3] != Base {
		t.Errorf("it begins with %v", order[:4])
	}
}

// TestErrorRates is the rule on a simulated machine: false alarms at most 1 %, with noise of any
// size; +20 % and +30 % of one metric caught as the rule promises at 8 % noise.
func TestErrorRates(t *testing.T) {
	t.Parallel()
	const gates = 3000
	for _, c := range []struct {
		noise, change float64
		least, most   float64
	}{
		{0.02, 0, 0, 0.01}, {0.08, 0, 0, 0.01}, {0.20, 0, 0, 0.01},
		{0.08, 0.20, 0.85, 1}, {0.08, 0.30, 0.95, 1}, {0.05, 0.20, 0.95, 1},
	} {
		t.Run(fmt.Sprintf("noise %g, change %g", c.noise, c.change), func(t *testing.T) {
			t.Parallel()
			machine, failed := simulated{rand.New(rand.NewPCG(5, 6)), c.noise}, 0
			for range gates {
				var base, head [][]float64
				for i := range Primary {
					factor := 1 + c.change*float64(count(i == 0))
					base = append(base, machine.runs(DefaultRule.MoreRuns, 1))
					head = append(head, machine.runs(DefaultRule.MoreRuns, factor))
				}
				_, fails := DefaultRule.decide(base, head)
				failed += count(fails)
			}
			if got := float64(failed) / gates; got < c.least || got > c.most {
				t.Errorf("%.2f %% of the gates fail, want %g to %g %%", 100*got, 100*c.least,
					100*c.most)
			}
		})
	}
}
