package render

import (
	"slices"
	"testing"
)

// TestHeldIsDrawnBetweenSeldomLooks: a gauge asked every fifth look has a line; a failed look has a
// gap.
func TestHeldIsDrawnBetweenSeldomLooks(t *testing.T) {
	seldom := []float64{-1, 7, -1, -1, -1, -1, 9, -1, -1, -1, -1, 8, -1}
	if got := held(seldom); !slices.Equal(got, []float64{-1, 7, 7, 7, 7, 7, 9, 9, 9, 9, 9, 8, -1}) {
		t.Errorf("%v", got)
	}
	for _, failed := range [][]float64{{7, 7, -1, -1, 8, 8}, {-1, -1}, {-1, 3, -1}, nil} {
		if got := held(failed); !slices.Equal(got, failed) {
			t.Errorf("%v became %v", failed, got)
		}
	}
}
