package consumer

import (
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	growthEvents  = 5_000_000 // CDCLAB_BENCH_EVENTS: another number
	growthSamples = 50
	growthRound   = 10_000
	// growthWarm of the samples are left out of the slope: the heap still finds its size.
	growthWarm = growthSamples / 5
)

// BenchmarkMemory: does the consumer's memory grow with the events seen? The benchmark has one
// process and one endless log, and the broker keeps only unconsumed records. The slope is a
// least-squares fit of the RSS over the time, with the standard error, in MiB an hour at the rate
// achieved. There is also the slope of Go's heap goal, which is twice the living heap.
//
//	go test ./consumer -run '^$' -bench Memory -timeout 30m
func BenchmarkMemory(b *testing.B) {
	events := growthEvents
	if text := os.Getenv("CDCLAB_BENCH_EVENTS"); text != "" {
		var err error
		if events, err = strconv.Atoi(text); err != nil {
			b.Fatalf("CDCLAB_BENCH_EVENTS: %v", err)
		}
	}
	k := newBenchKafka(b, benchPartitions)
	s := startNull(b)
	c := k.start(b, benchProgram(b), s.URI(), "memory")
	c.open()
	log := newBenchLog(false)
	var hours, rss, heap []float64
	var peak int64
	began := time.Now()
	for done := 0; done < events; {
		k.produce(b, log, growthRound)
		done += growthRound
		peak = max(peak, c.catchUp(b, 2*growthRound))
		k.forget(b, c.group)
		if done*growthSamples/events > len(rss) {
			hours = append(hours, time.Since(began).Hours())
			rss = append(rss, float64(c.rss(b))/(1<<20))
			next := c.metrics(b)["go_memstats_next_gc_bytes"].GetMetric()
			heap = append(heap, next[0].GetGauge().GetValue()/(1<<20))
		}
	}
	c.catchUp(b, 0)
	rate := float64(events) / time.Since(began).Seconds()
	c.settled(b, events)
	peak = max(peak, c.highWater())
	c.stop(b)
	b.Logf("RSS in MiB at each %d events: %.1f", events/growthSamples, rss)
	b.Logf("heap goal in MiB: %.1f", heap)
	slope, deviation := leastSquares(hours[growthWarm:], rss[growthWarm:])
	heapSlope, heapDeviation := leastSquares(hours[growthWarm:], heap[growthWarm:])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate, "events/s")
	b.ReportMetric(float64(peak)/(1<<20), "RSS-MiB")
	b.ReportMetric(slope, "MiB/h")
	b.ReportMetric(deviation, "MiB/h-error")
	b.ReportMetric(slope/rate/3600*1e6, "MiB/Mevents")
	b.ReportMetric(heapSlope, "heap-MiB/h")
	b.ReportMetric(heapDeviation, "heap-MiB/h-error")
}

// forget removes the records committed by the group from the broker.
func (k *benchKafka) forget(b *testing.B, group string) {
	b.Helper()
	committed, err := k.admin.FetchOffsets(b.Context(), group)
	if err != nil {
		b.Fatal(err)
	}
	for topic, partitions := range committed {
		for number, at := range partitions {
			if err := k.cluster.DeleteRecords(topic, number, at.At); err != nil {
				b.Fatalf("delete what is consumed: %v", err)
			}
		}
	}
}

// leastSquares is the slope of y over x and the standard error.
func leastSquares(x, y []float64) (slope, deviation float64) {
	n := float64(len(x))
	var sx, sy float64
	for i := range x {
		sx, sy = sx+x[i], sy+y[i]
	}
	var sxx, sxy, rest float64
	for i := range x {
		sxx += (x[i] - sx/n) * (x[i] - sx/n)
		sxy += (x[i] - sx/n) * (y[i] - sy/n)
	}
	slope = sxy / sxx
	for i := range x {
		off := y[i] - sy/n - slope*(x[i]-sx/n)
		rest += off * off
	}
	return slope, math.Sqrt(rest / (n - 2) / sxx)
}

func TestLeastSquares(t *testing.T) {
	t.Parallel()
	slope, deviation := leastSquares([]float64{1, 2, 3, 4}, []float64{5, 7, 9, 11})
	if !cmp.Equal([]float64{slope, deviation}, []float64{2, 0}, cmpopts.EquateApprox(0, 1e-9)) {
		t.Errorf("slope %g, error %g; want 2 and 0", slope, deviation)
	}
	// By hand: slope 1.2; the residuals are .3, -.4, -.1 and .2 .
	slope, deviation = leastSquares([]float64{0, 1, 2, 3}, []float64{1, 1.5, 3, 4.5})
	if !cmp.Equal([]float64{slope, deviation}, []float64{1.2, math.Sqrt(.3 / 2 / 5)},
		cmpopts.EquateApprox(0, 1e-9)) {
		t.Errorf("slope %g, error %g; want 1.2 and %g", slope, deviation, math.Sqrt(.3/2/5))
	}
}
