package cdc

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/lib"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// BenchmarkWrite is lab.write() as a script calls it, into the queue: how long an iteration takes.
func BenchmarkWrite(b *testing.B) {
	for name, code := range map[string]string{
		"chosen":      `n => { for (let i = 0; i < n; i++) lab.write(); }`,
		"named":       `n => { for (let i = 0; i < n; i++) lab.write('customer', 'insert'); }`,
		"fields":      `n => { for (let i = 0; i < n; i++) lab.write('order', 'insert', {status: 'paid'}); }`,
		"transaction": `n => { for (let i = 0; i < n; i++) lab.transaction([{entity: 'order', op: 'insert'}, {entity: 'order_item', op: 'insert'}]); }`,
	} {
		b.Run(name, func(b *testing.B) {
			module := New()
			s := newScript(b, module, nil)
			if thrown := s.run(`const lab = cdc.open()`); thrown != "" {
				b.Fatal(thrown)
			}
			s.enter("load", time.Now(), 0)
			value, err := s.VU.Runtime().RunString(code)
			if err != nil {
				b.Fatal(err)
			}
			loop, _ := sobek.AssertFunction(value)
			b.ReportAllocs()
			for done := 0; done < b.N; {
				n := min(10_000, b.N-done)
				b.StopTimer()
				module.lab.queue = newQueue() // nobody takes the requests
				module.lab.queue.open()
				b.StartTimer()
				if _, err := loop(sobek.Undefined(), s.VU.Runtime().ToValue(n)); err != nil {
					b.Fatal(err)
				}
				done += n
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

// heapInUse is the size of what is reachable, in bytes.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// outstandingBytes is what each of n acknowledged inserts takes while it waits to be seen, with its
// row in the model.
func outstandingBytes(n int) float64 {
	lab := newLab(DefaultOptions(), nil, nil)
	insertAll(lab.rows, 100, customer)
	request := request{scenario: "load", mix: Mix{Insert: 1}, part: part{entity: order, op: ledger.Insert}}
	before := heapInUse()
	for range n {
		c := lab.rows.take(request.mix, request.part)
		p := lab.pend(&request, c[0])
		lab.tracker.expect(p)
		lab.settle([]planned{{choice: c[0], pending: p}}, ledger.Acked, nil)
	}
	each := float64(heapInUse()-before) / float64(n)
	if got := lab.tracker.snapshot().outstanding; got != int64(n) {
		panic(fmt.Sprintf("%d writes are outstanding, want %d", got, n))
	}
	return each
}

// TestOutstandingIsSmall: a pipeline that stalls for minutes must not end the generator.
func TestOutstandingIsSmall(t *testing.T) { // not parallel: it measures the heap
	if each := outstandingBytes(100_000); each > 300 {
		t.Errorf("an outstanding write takes %.0f bytes, want at most 300", each)
	}
}

func BenchmarkOutstanding(b *testing.B) {
	for range b.N {
		b.ReportMetric(outstandingBytes(100_000), "B/write")
	}
}

// BenchmarkSelftest is the floor: what the tracker and the MongoDB stand-in take for one write. Each
// operation is one write, seen.
func BenchmarkSelftest(b *testing.B) {
	for _, tracker := range []string{TrackChangeStream, TrackPoll} {
		b.Run(tracker, func(b *testing.B) {
			lab, _ := labOn(b, startServer(b), func(o *Options) { o.Tracker = tracker })
			b.ResetTimer()
			if err := lab.Selftest(b.Context(), SelftestPlan{Writes: b.N}, &lib.Options{}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_, writes, _ := readLedger(b, lab)
			latencies := make([]int64, 0, len(writes))
			for _, w := range writes {
				latencies = append(latencies, w.VisibleNs-w.IntendedNs)
			}
			slices.Sort(latencies)
			for _, percent := range []int{50, 95} {
				b.ReportMetric(float64(latencies[(len(latencies)-1)*percent/100])/1e6, "ms-p"+strconv.Itoa(percent))
			}
		})
	}
}
