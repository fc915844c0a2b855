package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// sink is a store without rows: every write is applied, so that only the consumer works.
type sink struct{ documents.Store }

func (sink) Apply(_ context.Context, writes []documents.Write) []documents.Outcome {
	return make([]documents.Outcome, len(writes))
}

func (sink) Find(context.Context, string, []string, ...string) (map[string]bson.Raw, error) {
	return nil, nil
}

func (sink) Keep(context.Context, bson.Raw) error { return nil }

func (sink) Fill(context.Context, documents.Place, string, string, []byte) error { return nil }

func (sink) All(context.Context, string, func(bson.Raw) error) error { return nil }

func (sink) Holders(context.Context, string, string, []string) ([]bson.Raw, error) {
	return nil, nil
}

// work is the cost of records: CPU time of the process, and bytes allocated.
type work struct {
	cpu       time.Duration
	allocated uint64
}

// workOf takes records through a new process, in batches as a partition does.
func workOf(records []*kgo.Record) work {
	shared := NewShared(DefaultConfig(), encode.NewTables(sharedRegistry()), sink{},
		telemetry.NewMetrics(), slog.New(slog.DiscardHandler), nil)
	clock := consumertest.Time
	a := shared.Applier(func(context.Context, []deadletter.Rejected) error { return nil },
		func() time.Time { return clock })
	const most = 500
	runtime.GC()
	began, before := processTime(), bytesAllocated()
	for offset := 0; offset < len(records); offset += most {
		var batch []telemetry.Arrival
		for i, r := range records[offset:min(offset+most, len(records))] {
			r.Offset = int64(offset + i)
			batch = append(batch, telemetry.Arrival{Record: r, Polled: consumertest.Time})
		}
		a.Take(batch)
		for a.Step(context.Background()) != nil {
			clock = clock.Add(time.Hour)
		}
	}
	return work{processTime() - began, bytesAllocated() - before}
}

func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func bytesAllocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// The bounds of work for each byte of a record. The budget of a document is 16 bytes for a byte,
// and memory that grows is allocated some times over.
const (
	allocatedPerByte = slack * 256
	cpuPerByte       = slack * 4 * time.Microsecond
)

// TestWorkIsLinear: eight times the bytes cost about eight times the work, by every kind of record.
// A quadratic kind costs 64 times. The test is not parallel, because the counts are the process's;
// BenchmarkHostile tells the figures.
func TestWorkIsLinear(t *testing.T) {
	const times, size = 8, 256 << 10
	for _, a := range consumertest.Attacks() {
		t.Run(a.Name, func(t *testing.T) {
			var why string
			for range 3 { // the machine may have been busy
				small, large := workOf(a.Of(size/times)), workOf(a.Of(size))
				least := work{max(small.cpu, 5*time.Millisecond), max(small.allocated, 1<<20)}
				why = ""
				if large.cpu > 5*times/2*least.cpu {
					why = fmt.Sprintf("%d bytes cost %v, an eighth %v", size, large.cpu, small.cpu)
				}
				if large.allocated > 3*times/2*least.allocated ||
					large.allocated > allocatedPerByte*size {
					why = fmt.Sprintf("%d bytes allocate %d, an eighth %d", size, large.allocated,
						small.allocated)
				}
				if why == "" {
					return
				}
			}
			t.Error(why)
		})
	}
}

// BenchmarkHostile prints the cost of a megabyte of the worst records of every kind: the time, the
// greatest heap, and the slope of time over size between an eighth and the whole.
//
//	go test ./consumer/apply -run '^$' -bench Hostile -benchtime 3x
func BenchmarkHostile(b *testing.B) {
	const size = 1 << 20
	all := append(consumertest.Attacks(), consumertest.Attack{
		Name: "500 records of 1,000 columns of their own",
		Of: func(bytes int) []*kgo.Record {
			return consumertest.WideRecords(1000, 500*bytes/size)
		}})
	for _, a := range all {
		b.Run(a.Name, func(b *testing.B) {
			least := [2]time.Duration{time.Hour, time.Hour}
			for b.Loop() {
				for i, bytes := range []int{size / 8, size} {
					least[i] = min(least[i], workOf(a.Of(bytes)).cpu)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(least[1].Microseconds())/1000, "cpu-ms")
			b.ReportMetric(float64(greatestHeap(func() { workOf(a.Of(size)) }))/(1<<20), "MiB")
			b.ReportMetric(math.Log2(float64(least[1])/float64(least[0]))/3, "slope")
		})
	}
}

// greatestHeap returns by how many bytes the heap grew at most meanwhile.
func greatestHeap(do func()) (most uint64) {
	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := heap()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case <-done:
			return most
		case <-tick.C:
			most = max(most, heap()-min(before, heap()))
		}
	}
}

// FuzzWork looks for the record of the worst ratio of work to bytes: a column with an array of the
// part, within so many pairs of open and shut, under the items of a schema, with a key and a
// header. With CDCLAB_WORST, a folder, the worst record so far is kept there as worst.json.
func FuzzWork(f *testing.F) {
	for _, part := range []string{`{"scale":20000,"value":"AQ=="}`, `"AQ=="`, `[]`, `{"a.b":1}`,
		`"\u0000"`, `1e-6000`, `"2026-11-22T10:00:01.123456Z"`, `"P1Y2M3DT4H5M6.789S"`} {
		for _, items := range []string{``,
			`{"type":"struct","name":"io.debezium.data.VariableScaleDecimal"}`,
			`{"type":"int64","name":"io.debezium.time.MicroTimestamp"}`,
			`{"type":"bytes","name":"io.debezium.data.Bits","parameters":{"length":"65000"}}`} {
			f.Add(part, `{"a":`, `,"b":1}`, uint8(3), items, `"1"`, `{"id":NaN}`)
		}
	}
	f.Fuzz(func(t *testing.T, part, open, shut string, levels uint8, items, id, header string) {
		const size = 32 << 10
		if items != "" {
			items = `{"field":"v","type":"array","items":` + items + `}`
		}
		r := consumertest.HostileRow("wild", id, `"v":`+consumertest.Nested(int(levels%80), open,
			`[`+consumertest.Repeated(size, part)+`]`, shut), items)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: debezium.HeaderOldKey,
			Value: []byte(consumertest.Repeated(size/4, header))})
		bytes := len(r.Key) + len(r.Value) + len(r.Headers[1].Value)
		if bytes > 64*size {
			t.Skip("a row of more than 2 MiB slows the fuzzer down")
		}
		var cost work
		for range 3 {
			cost = workOf([]*kgo.Record{r})
			if cost.cpu < cpuPerByte*time.Duration(bytes) {
				break
			}
		}
		keepWorst(t, r, float64(cost.cpu)/float64(bytes))
		if cost.cpu > cpuPerByte*time.Duration(bytes) ||
			cost.allocated > uint64(allocatedPerByte*bytes) {
			t.Errorf("%d bytes cost %v and allocate %d", bytes, cost.cpu, cost.allocated)
		}
	})
}

// worst is a record with its cost in nanoseconds a byte.
type worst struct {
	NanosPerByte float64
	Record       *kgo.Record
}

func keepWorst(t *testing.T, r *kgo.Record, ratio float64) {
	folder := os.Getenv("CDCLAB_WORST")
	if folder == "" {
		return
	}
	path := filepath.Join(folder, "worst.json")
	var kept worst
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &kept) == nil &&
		kept.NanosPerByte >= ratio {
		return
	}
	text, err := json.Marshal(worst{ratio, r})
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
