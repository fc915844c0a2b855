package consumer

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

const (
	traceB = "1af7651916cd43dd8448eb211c80319c"
)

func arrivals(records ...*kgo.Record) []telemetry.Arrival {
	all := make([]telemetry.Arrival, len(records))
	for i, r := range records {
		all[i] = telemetry.Arrival{Record: r, Polled: time.Now()}
	}
	return all
}

// testTracer keeps the spans; the ratio is for records without a header.
func testTracer(t testing.TB, ratio float64) (*telemetry.Tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	kept := tracetest.NewInMemoryExporter()
	made := telemetry.StartTracer(telemetry.TraceConfig{Ratio: ratio}, "cdclab",
		sdktrace.WithSyncer(kept))
	t.Cleanup(func() { made.Close(context.Background()) })
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
	d := consumertest.OpenDatabase(t)
	config := quietConfig()
	config.Mongo.URI, config.Mongo.Database = d.URI, d.Name
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.mongo.Close(context.Background())
	var kept *tracetest.InMemoryExporter
	c.tracer, kept = testTracer(t, 0)
	part := c.newPartition("cdc.public.customer", 0, nil)
	part.mark = func(int32, int64) {}
	gone := consumertest.Traced(consumertest.Customer(consumertest.Remove, 2, 2, "b@x"), traceB,
		"01")
	gone.Offset = 2
	err = part.applyBatch(context.Background(),
		arrivals(consumertest.Customer(consumertest.Insert, 3, 1, "c@x"),
			consumertest.Traced(consumertest.Customer(consumertest.Insert, 1, 1, "a@x"),
				consumertest.TraceA, "01"), gone,
			consumertest.Traced(consumertest.Customer(consumertest.Insert, 4, 1, "d@x"),
				consumertest.TraceA, "00")))
	if err != nil {
		t.Fatal(err)
	}
	spans := map[string][]tracetest.SpanStub{}
	for _, span := range kept.GetSpans() {
		spans[span.Name] = append(spans[span.Name], span)
	}
	records, batch, update := spans["process cdc.public.customer"],
		spans["apply cdc.public.customer"],
		spans["update customers"]
	if len(records) != 2 || len(batch) != 1 || len(update) == 0 {
		t.Fatalf("the spans are %v", spans)
	}
	for i, want := range []string{consumertest.TraceA, traceB} {
		if got := records[i].SpanContext.TraceID().String(); got != want {
			t.Errorf("record %d is in trace %s, want its header's %s", i, got, want)
		}
	}
	for _, span := range []tracetest.SpanStub{batch[0], update[0]} {
		if got := span.SpanContext.TraceID().String(); got != consumertest.TraceA {
			t.Errorf("%s is in trace %s, want %s", span.Name, got, consumertest.TraceA)
		}
	}
	if update[0].Parent.SpanID() != batch[0].SpanContext.SpanID() ||
		batch[0].Parent.SpanID() != records[0].SpanContext.SpanID() ||
		batch[0].Links[0].SpanContext.SpanID() != records[1].SpanContext.SpanID() ||
		records[1].Links[0].SpanContext.SpanID() != batch[0].SpanContext.SpanID() {
		t.Error("the spans do not hang together")
	}
	want := map[string]string{"messaging.system": "kafka",
		"messaging.destination.name":     "cdc.public.customer",
		"messaging.kafka.consumer.group": "cdclab", "messaging.consumer.group.name": "cdclab",
		"messaging.operation.type": "process", "messaging.destination.partition.id": "0",
		"messaging.kafka.offset": "2", "cdc.entity.type": "customer", "cdc.operation": "DELETE",
		"cdc.outcome": "applied", "db.operation": "delete"}
	if d := cmp.Diff(want, attributesOf(records[1])); d != "" {
		t.Error(d)
	}
	about := attributesOf(update[0])
	if about["db.system.name"] != "mongodb" || about["db.collection.name"] != "customers" ||
		about["db.namespace"] != d.Name || about["db.operation"] != "upsert" ||
		about["server.address"] != "127.0.0.1" || about["server.port"] == "" {
		t.Errorf("the command's span has %v", about)
	}
}

// TestTraceTellsNoValues of a dead letter.
func TestTraceTellsNoValues(t *testing.T) {
	t.Parallel()
	made, kept := testTracer(t, 1)
	p := newMemoryPartition()
	p.begin = made.StartBatch
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "geheim"))
	letters := 0
	for _, span := range kept.GetSpans() {
		if text := fmt.Sprint(span); strings.Contains(text, "geheim") {
			t.Errorf("a value in %s", text)
		}
		if attributesOf(span)["error.type"] == telemetry.OutcomeDeadLetter {
			letters++
		}
	}
	if letters != 1 {
		t.Errorf("%d dead letters in the spans", letters)
	}
}
