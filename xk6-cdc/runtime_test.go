package cdc

import (
	"math"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestHistogramQuantile(t *testing.T) {
	h := &metrics.Float64Histogram{Buckets: []float64{0, 0.001, 0.01, 0.1, math.Inf(1)},
		Counts: []uint64{98, 1, 0, 1}}
	for q, want := range map[float64]time.Duration{0.5: time.Millisecond,
		0.99: 10 * time.Millisecond, 1: 100 * time.Millisecond} {
		if got := histogramQuantile(h, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := histogramQuantile(&metrics.Float64Histogram{Buckets: []float64{0, 1},
		Counts: []uint64{0}}, 0.5); got != 0 {
		t.Errorf("nothing: %v", got)
	}
}

func TestRuntimeUseSeesPauses(t *testing.T) {
	runtime.GC()
	if pause, _ := runtimeUse(); pause <= 0 {
		t.Errorf("longest pause %v after a collection", pause)
	}
}
