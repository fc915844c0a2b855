package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	traceA = "0af7651916cd43dd8448eb211c80319c"
	traceB = "1af7651916cd43dd8448eb211c80319c"
)

func traced(r *kgo.Record, id, flags string) *kgo.Record {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "traceparent",
		Value: []byte("00-" + id + "-b7ad6b7169203331-" + flags)})
	return r
}

func arrivals(records ...*kgo.Record) []arrival {
	all := make([]arrival, len(records))
	for i, r := range records {
		all[i] = arrival{record: r, polled: time.Now()}
	}
	return all
}

// testTracer keeps the spans; the ratio is for records without a header.
func testTracer(t testing.TB, ratio float64) (*tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	config := DefaultConfig()
	config.TraceRatio = ratio
	kept := tracetest.NewInMemoryExporter()
	made := startTracer(config, sdktrace.WithSyncer(kept))
	t.Cleanup(func() { made.close(context.Background()) })
	return made, kept
}

func attributesOf(span tracetest.SpanStub) map[string]string {
	all := map[string]string{}
	for _, a := range span.Attributes {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// TestOneTrace: from a record's header to MongoDB.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.MongoURI, config.Database = anyServer(t), freshDatabase(t)
	m := openTestMongo(t, config)
	c := newTestConsumer(DefaultConfig(), m)
	var kept *tracetest.InMemoryExporter
	c.tracer, kept = testTracer(t, 0)
	part := c.newPartition("cdc.public.customer", 0, m, nil, time.Now)
	part.mark = func(int32, int64) {}
	gone := traced(customer(remove, 2, 2, "b@x"), traceB, "01")
	gone.Offset = 2
	err := part.work(context.Background(), arrivals(customer(insert, 3, 1, "c@x"),
		traced(customer(insert, 1, 1, "a@x"), traceA, "01"), gone,
		traced(customer(insert, 4, 1, "d@x"), traceA, "00")))
	if err != nil {
		t.Fatal(err)
	}
	spans := map[string][]tracetest.SpanStub{}
	for _, span := range kept.GetSpans() {
		spans[span.Name] = append(spans[span.Name], span)
	}
	records, batch, update := spans["process cdc.public.customer"], spans["apply cdc.public.customer"],
		spans["update customers"]
	if len(records) != 2 || len(batch) != 1 || len(update) == 0 {
		t.Fatalf("the spans are %v", spans)
	}
	for i, want := range []string{traceA, traceB} {
		if got := records[i].SpanContext.TraceID().String(); got != want {
			t.Errorf("record %d is in trace %s, want its header's %s", i, got, want)
		}
	}
	for _, span := range []tracetest.SpanStub{batch[0], update[0]} {
		if got := span.SpanContext.TraceID().String(); got != traceA {
			t.Errorf("%s is in trace %s, want %s", span.Name, got, traceA)
		}
	}
	if update[0].Parent.SpanID() != batch[0].SpanContext.SpanID() ||
		batch[0].Parent.SpanID() != records[0].SpanContext.SpanID() ||
		batch[0].Links[0].SpanContext.SpanID() != records[1].SpanContext.SpanID() ||
		records[1].Links[0].SpanContext.SpanID() != batch[0].SpanContext.SpanID() {
		t.Error("the spans do not hang together")
	}
	want := map[string]string{"messaging.system": "kafka", "messaging.destination.name": "cdc.public.customer",
		"messaging.kafka.consumer.group": "cdclab", "messaging.consumer.group.name": "cdclab",
		"messaging.operation.type": "process", "messaging.destination.partition.id": "0",
		"messaging.kafka.offset": "2", "cdc.entity.type": "customer", "cdc.operation": "DELETE",
		"cdc.outcome": "applied", "db.operation": "delete"}
	if d := cmp.Diff(want, attributesOf(records[1])); d != "" {
		t.Error(d)
	}
	about := attributesOf(update[0])
	if about["db.system.name"] != "mongodb" || about["db.collection.name"] != "customers" ||
		about["db.namespace"] != config.Database || about["db.operation"] != "upsert" ||
		about["server.address"] != "127.0.0.1" || about["server.port"] == "" {
		t.Errorf("the command's span has %v", about)
	}
}

// TestTraceTellsNoValues: neither of a dead letter nor of a command that failed.
func TestTraceTellsNoValues(t *testing.T) {
	t.Parallel()
	made, kept := testTracer(t, 1)
	c := newTestConsumer(DefaultConfig(), newMemoryStore())
	c.tracer = made
	p := c.pipeline(newMemoryStore(), "cdc.public.customer", 0)
	p.feed(t, customer(insert, 1, 1, "geheim"))
	batch := arrivals(customer(insert, 2, 1, "b@x"))
	ctx, end := made.batch(context.Background(), batch)
	w := &commandWatch{newMetrics()}
	w.failed(ctx, &event.CommandFailedEvent{CommandFinishedEvent: event.CommandFinishedEvent{CommandName: "update",
		ConnectionID: "db:27017[-4]"}, Failure: driver.Error{Code: 11600, Name: "InterruptedAtShutdown", Message: "geheim"}})
	end(errors.New("geheim"))
	var letters, failures int
	for _, span := range kept.GetSpans() {
		if text := fmt.Sprint(span); strings.Contains(text, "geheim") {
			t.Errorf("a value in %s", text)
		}
		switch about := attributesOf(span); about["error.type"] {
		case OutcomeDeadLetter:
			letters++
		case "InterruptedAtShutdown":
			if failures++; about["db.response.status_code"] != "11600" || about["server.address"] != "db" {
				t.Errorf("the failed command has %v", about)
			}
		}
	}
	if letters != 1 || failures != 1 {
		t.Errorf("%d dead letters and %d failed commands in the spans", letters, failures)
	}
}

func TestSampled(t *testing.T) {
	t.Parallel()
	made, _ := testTracer(t, 0)
	for flags, want := range map[string]bool{"00": false, "01": true, "02": false, "03": true, "0a": false, "0b": true,
		"ff": true} {
		if got := made.sampled(traced(&kgo.Record{}, traceA, flags)); got != want {
			t.Errorf("flags %s: %v", flags, got)
		}
	}
	made, _ = testTracer(t, 0.01)
	count := 0
	for offset := range int64(100_000) {
		if made.sampled(&kgo.Record{Offset: offset, Partition: 3}) {
			count++
		}
	}
	if count < 900 || count > 1100 {
		t.Errorf("%d of 100,000 are sampled at 1 %%", count)
	}
	if broken := traced(&kgo.Record{Offset: 1}, "geheim", "01"); made.sampled(broken) {
		t.Error("a broken header decides")
	}
	all, _ := testTracer(t, 1)
	if !all.sampled(&kgo.Record{}) {
		t.Error("not sampled at 1")
	}
}

// TestSilentWithoutEndpoint: nothing runs, and a batch costs no allocation.
func TestSilentWithoutEndpoint(t *testing.T) {
	before := runtime.NumGoroutine()
	made, err := newTracer(DefaultConfig(), newMetrics(), slog.New(slog.DiscardHandler))
	if err != nil || made.provider != nil || runtime.NumGoroutine() > before {
		t.Errorf("%v, %v, %d goroutines more", made, err, runtime.NumGoroutine()-before)
	}
	batch := arrivals(traced(customer(insert, 1, 1, "a@x"), traceA, "01"))
	if n := testing.AllocsPerRun(100, func() {
		_, end := made.batch(context.Background(), batch)
		end(nil)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if err := made.close(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestSpansAreSent as OTLP, with the headers, again after a busy collector, and with a count and one
// line in the log when it is away.
func TestSpansAreSent(t *testing.T) {
	t.Parallel()
	var posts, away atomic.Int64
	received := make(chan *tracepb.TracesData, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var data tracepb.TracesData
		switch {
		case away.Load() > 0:
			w.WriteHeader(http.StatusNotFound)
		case posts.Add(1) == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("X-Key") != "a b" ||
			r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &data) != nil:
			w.WriteHeader(http.StatusBadRequest)
		default:
			received <- &data
		}
	}))
	defer collector.Close()
	config := DefaultConfig()
	config.OTLPEndpoint, config.OTLPHeaders, config.TraceRatio = collector.URL, "x-key=a%20b", 1
	var output strings.Builder
	config.Output = &output
	log, err := config.logger()
	if err != nil {
		t.Fatal(err)
	}
	m := newMetrics()
	made, err := newTracer(config, m, log)
	if err != nil {
		t.Fatal(err)
	}
	send := func() {
		_, end := made.batch(context.Background(), arrivals(customer(insert, 1, 1, "a@x")))
		end(nil)
		if err := made.provider.ForceFlush(context.Background()); err != nil {
			t.Error(err)
		}
	}
	send()
	select {
	case data := <-received:
		of := data.ResourceSpans[0]
		if spans := of.ScopeSpans[0].Spans; len(spans) != 2 || !strings.Contains(of.Resource.String(), "cdc-consumer") {
			t.Errorf("received %v", data)
		}
	default:
		t.Fatal("nothing was received")
	}
	away.Store(1)
	send()
	send()
	if n := valueOf(t, m.traceFailures); n != 2 || strings.Count(output.String(), "traces not sent") != 1 {
		t.Errorf("%v failures counted, the log has %s", n, output.String())
	}
	away.Store(0)
	send()
	if err := made.close(context.Background()); err != nil || !strings.Contains(output.String(), "sent again") {
		t.Errorf("%v, the log has %s", err, output.String())
	}
}

// BenchmarkTrace is the cost for one event in batches of 500: the sampling, the spans and their
// export into nothing, and what the pipeline and the driver tell them. cpu-ns/op is what counts: an event costs the pipeline some 20,000.
func BenchmarkTrace(b *testing.B) {
	for _, c := range []struct {
		name  string
		trace func() *tracer
	}{
		{"off", noTracer},
		{"none", func() *tracer { return benchTracer(0) }},
		{"1%", func() *tracer { return benchTracer(0.01) }},
		{"100%", func() *tracer { return benchTracer(1) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			made := c.trace()
			defer made.close(context.Background())
			w := &commandWatch{newMetrics()}
			batch := arrivals(make([]*kgo.Record, 500)...)
			b.ReportAllocs()
			b.ResetTimer()
			defer reportCPU(b)()
			for n := 0; n < b.N; n += len(batch) {
				for i := range batch {
					batch[i].record = &kgo.Record{Topic: "cdc.public.customer", Offset: int64(n + i), Headers: debeziumHeaders}
				}
				ctx, end := made.batch(context.Background(), batch)
				w.succeeded(inCollection(ctx, "customers"), &event.CommandSucceededEvent{
					CommandFinishedEvent: event.CommandFinishedEvent{CommandName: "update",
						ConnectionID: "127.0.0.1:27017[-4]"}})
				for i := range batch {
					if batch[i].record.Context != nil {
						describe(batch[i].record, "customer", "UPDATE", OutcomeApplied)
					}
				}
				end(nil)
			}
		})
	}
}

var debeziumHeaders = []kgo.RecordHeader{{Key: "__debezium.context.connectorName"},
	{Key: "__debezium.context.connectorLogicalName"}, {Key: "__debezium.context.taskId"}}

func benchTracer(ratio float64) *tracer {
	config := DefaultConfig()
	config.TraceRatio = ratio
	return startTracer(config, sdktrace.WithBatcher(nowhere{}))
}

// reportCPU adds the CPU time of each operation, which other work on the machine does not change.
func reportCPU(b *testing.B) (report func()) {
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began := spent()
	return func() { b.ReportMetric(float64(spent()-began)/float64(b.N), "cpu-ns/op") }
}

// nowhere is an exporter.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }
