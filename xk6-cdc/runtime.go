package cdc

import (
	"math"
	"runtime/metrics"
	"time"
)

// runtimeUse returns the longest stop of this process, k6, by the garbage collector, and the 99th
// percentile of the goroutines' waits for a processor, both since the beginning. The source is the
// histograms of runtime/metrics, with buckets about 10 % wide.
func runtimeUse() (gcPauseMax, schedulerDelayP99 time.Duration) {
	samples := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"},
		{Name: "/sched/latencies:seconds"}}
	metrics.Read(samples)
	quantile := func(s metrics.Sample, q float64) time.Duration {
		if s.Value.Kind() != metrics.KindFloat64Histogram {
			return 0
		}
		return histogramQuantile(s.Value.Float64Histogram(), q)
	}
	return quantile(samples[0], 1), quantile(samples[1], 0.99)
}

// histogramQuantile returns the upper end of the quantile's bucket, or the lower end where the
// upper is infinite.
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
