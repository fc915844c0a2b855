package consumer

import (
	"os"
	"sort"
	"strings"
	"testing"
	"time"
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"github.com/cdclab/cdclab/consumer/debezium"
)

func TestZZLatency(t *testing.T) {
	uri := anyServer(t)
	lab, m := newKafkaLab(t), testMongo(t, uri)
	lab.config.MongoURI, lab.config.Database = uri, m.config.Database
	lab.config.Output = os.Stderr
	r := lab.run(t, nil)
	lab.produce(t, customer(insert, 1, 1, "one@x"))
	eventually(t, "x", func() bool { return lab.lag(t) == 0 })
	const n = 2500
	tick := time.NewTicker(2 * time.Millisecond)
	for i := range n {
		<-tick.C
		rec := customer(insert, i+10, i+10, "a@x")
		if i%4 == 1 { rec = order(insert, i+10, i+10, "new") }
		if i%4 >= 2 { rec = item(insert, i+10, i+10, nil, itemColumns(i+10, i/4*4+1+10, 5)) }
		rec.Value = []byte(strings.Replace(string(rec.Value), fmt.Sprint(testTime.UnixMicro()+2000), fmt.Sprint(time.Now().UnixMicro()), 1))
		lab.producer.Produce(context.Background(), rec, nil)
	}
	eventually(t, "x", func() bool { return lab.lag(t) == 0 })
	fams, _ := r.metrics.registry.Gather()
	for _, f := range fams {
		if f.GetName() == MetricStageSeconds || f.GetName() == MetricBatchSize {
			for _, mm := range f.Metric {
				h := mm.Histogram
				fmt.Print(mm.Label, " n=", h.GetSampleCount(), " mean=", h.GetSampleSum()/float64(h.GetSampleCount()))
				for _, q := range []float64{.5, .95, .99} {
					for _, b := range h.Bucket {
						if float64(b.GetCumulativeCount()) >= q*float64(h.GetSampleCount()) { fmt.Print(" q", q, "<=", b.GetUpperBound()); break }
					}
				}
				fmt.Println()
			}
		}
		if f.GetName() == MetricRetries || f.GetName() == MetricEvents || f.GetName() == "process_cpu_seconds_total" { for _, mm := range f.Metric { fmt.Println(f.GetName(), mm.String()) } }
	}
}

func TestZZThroughput(t *testing.T) {
	lab := newKafkaLab(t)
	lab.config.Output = os.Stderr
	var recs []*kgo.Record
	for i := range 100000 { recs = append(recs, customer(insert, i, i+1, "a@x")) }
	lab.produce(t, recs...)
	s := newMemoryStore()
	s.refuse = func(*write) error { return nil }
	start := time.Now()
	lab.run(t, nullStore{})
	eventually(t, "x", func() bool { return lab.lag(t) == 0 })
	fmt.Println("null store:", 100000/time.Since(start).Seconds(), "events/s")
	p := testPlanner()
	b := arrivals(recs[:500]...)
	start = time.Now()
	for range 40 { for i := range recs[:500] { _ = i }; w := p.plan(b); for i := range w.writes { encode(&w.writes[i]) } }
	fmt.Println("plan+encode:", 20000/time.Since(start).Seconds(), "events/s per core")
	_ = sort.Ints
	_ = bson.D{}
	_ = debezium.Create
}

type nullStore struct{}
func (nullStore) apply(_ context.Context, w []write) []outcome { return make([]outcome, len(w)) }
