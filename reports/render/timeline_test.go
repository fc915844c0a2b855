package render

import (
	"testing"

	"github.com/cdclab/cdclab/reports"
)

// TestMoments: thinning a long run does not hide the worst second.
func TestMoments(t *testing.T) {
	t.Parallel()
	series := make([]reports.Second, 1000)
	for i := range series {
		series[i] = reports.Second{Second: i, Offered: 10, P50: 1, P95: 1, P99: 1, Max: 1}
	}
	series[777].Max = 99
	got := moments(series, 100)
	if len(got) > 100 {
		t.Fatalf("got %d moments, want at most 100", len(got))
	}
	worst := got[777/int(got[0].seconds)]
	if worst.max != 99 || got[0].offered != 10 {
		t.Errorf("worst %+v, first %+v", worst, got[0])
	}
}
