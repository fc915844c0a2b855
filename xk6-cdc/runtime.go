package cdc

import (
	"math"
	"runtime/metrics"
	"time"
)

// runtimeUse is what this process, k6, did to itself since it began: how long the garbage collector
// stopped it, and how long its goroutines waited for a processor, from the histograms of
// runtime/metrics, whose buckets are about 10 % wide.
func runtimeUse() (gcPauseMax, schedulerDelayP99 time.Duration) {
	samples := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}, {Name: "/sched/latencies:seconds"}}
	metrics.Read(samples)
	quantile := func(s metrics.Sample, q float64) time.Duration {
		if s.Value.Kind() != metrics.KindFloat64Histogram {
			return 0
		}
		return histogramQuantile(s.Value.Float64Histogram(), q)
	}
	return quantile(samples[0], 1), quantile(samples[1], 0.99)
}

// histogramQuantile is the upper end of the bucket that holds the quantile, its lower one where that is
// infinite.
func histogramQuantile(h *metrics.Float64Histogram, q float64) time.Duration {
	var total, seen uint64
	for _, n := range h.Counts {
		total += n
	}
	wanted := uint64(math.Ceil(q * float64(total)))
	for i, n := range h.Counts {
		if seen += n; n > 0 && seen >= wanted {
			end := h.Buckets[i+1]
			if math.IsInf(end, 1) {
				end = h.Buckets[i]
			}
			return time.Duration(end * float64(time.Second))
		}
	}
	return 0
}
