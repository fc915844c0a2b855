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

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// BenchmarkWrite times lab.write() as called by a script, into the queue: the length of an
// iteration.
func BenchmarkWrite(b *testing.B) {
	for name, code := range map[string]string{
		"chosen": `n => { for (let i = 0; i < n; i++) lab.write(); }`,
		"named":  `n => { for (let i = 0; i < n; i++) lab.write('customer', 'insert'); }`,
		"fields": `n => { for (let i = 0; i < n; i++) ` +
			`lab.write('order', 'insert', {status: 'paid'}); }`,
		"transaction": `n => { for (let i = 0; i < n; i++) lab.transaction(` +
			`[{entity: 'order', op: 'insert'}, {entity: 'order_item', op: 'insert'}]); }`,
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
				module.generator.queue = newQueue() // nobody takes the requests
				module.generator.queue.open()
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

// outstandingBytes returns the bytes that each of n acknowledged inserts takes while unseen,
// including the row in the model.
func outstandingBytes(n int) float64 {
	g := newGenerator(DefaultOptions(), nil, nil)
	for range 100 {
		for _, c := range g.rows.Take(tables.Mix{},
			tables.Part{Table: tables.Customer, Op: ledger.Insert}) {
			g.rows.Settle(c, ledger.Acked)
		}
	}
	request := request{scenario: "load", mix: tables.Mix{Insert: 1},
		Part: tables.Part{Table: tables.Order, Op: ledger.Insert}}
	reachable := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := reachable()
	for range n {
		c := g.rows.Take(request.mix, request.Part)
		p := g.pend(&request, c[0])
		g.tracker.Expect(p)
		g.settle([]planned{{choice: c[0], pending: p}}, ledger.Acked, nil)
	}
	each := float64(reachable()-before) / float64(n)
	if got := g.tracker.Counts().Outstanding; got != int64(n) {
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

// BenchmarkSelftest is the floor: the time of one write in the tracker and MongoDB. Each operation
// is one write, seen.
func BenchmarkSelftest(b *testing.B) {
	for _, tracker := range []string{tracker.ChangeStream, tracker.Poll} {
		b.Run(tracker, func(b *testing.B) {
			g, _ := generatorOn(b, servertest.StartMongo(b), func(o *Options) {
				o.Tracker = tracker
			})
			b.ResetTimer()
			if err := g.Selftest(b.Context(), SelftestPlan{Writes: b.N},
				&lib.Options{}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_, writes, _ := readLedger(b, g)
			latencies := make([]int64, 0, len(writes))
			for _, w := range writes {
				latencies = append(latencies, w.VisibleNs-w.IntendedNs)
			}
			slices.Sort(latencies)
			for _, percent := range []int{50, 95} {
				b.ReportMetric(float64(latencies[(len(latencies)-1)*percent/100])/1e6,
					"ms-p"+strconv.Itoa(percent))
			}
		})
	}
}
