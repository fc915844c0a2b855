package documents

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// TestCommandTellsNoValues: the span of a failed command has only the kind of the failure.
func TestCommandTellsNoValues(t *testing.T) {
	t.Parallel()
	kept := tracetest.NewInMemoryExporter()
	tracer := telemetry.StartTracer(telemetry.TraceConfig{Ratio: 1}, "cdclab",
		sdktrace.WithSyncer(kept))
	t.Cleanup(func() { tracer.Close(context.Background()) })
	record := consumertest.Customer(consumertest.Insert, 2, 1, "b@x")
	ctx, end := tracer.StartBatch(context.Background(),
		[]telemetry.Arrival{{Record: record, Polled: time.Now()}})
	w := &commandWatch{telemetry.NewMetrics()}
	w.commandFailed(ctx, &event.CommandFailedEvent{
		CommandFinishedEvent: event.CommandFinishedEvent{CommandName: "update",
			ConnectionID: "db:27017[-4]"},
		Failure: driver.Error{Code: 11600, Name: "InterruptedAtShutdown", Message: "geheim"}})
	end("server")
	failures := 0
	for _, span := range kept.GetSpans() {
		if text := fmt.Sprint(span); strings.Contains(text, "geheim") {
			t.Errorf("a value in %s", text)
		}
		about := map[string]string{}
		for _, a := range span.Attributes {
			about[string(a.Key)] = a.Value.String()
		}
		if about["error.type"] == "InterruptedAtShutdown" {
			failures++
			if about["db.response.status_code"] != "11600" || about["server.address"] != "db" {
				t.Errorf("the failed command has %v", about)
			}
		}
	}
	if failures != 1 {
		t.Errorf("%d failed commands in the spans", failures)
	}
}

// TestServersBeforeALook: while the first answer is awaited nothing is told of the servers; a
// server without an answer is told as lost.
func TestServersBeforeALook(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	m := telemetry.NewMetrics()
	client, err := mongo.Connect(func() *options.ClientOptions {
		o := options.Client().ApplyURI("mongodb://" + listener.Addr().String()).SetMaxPoolSize(1)
		monitor{m}.watchClient(o)
		return o
	}())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	awaited, err := listener.Accept() // the driver asks for the first time
	if err != nil {
		t.Fatal(err)
	}
	servers := func() (float64, bool) {
		return consumertest.GaugeOf(t, m.Registry, telemetry.MetricMongoServers)
	}
	if n, told := servers(); told {
		t.Errorf("%v servers before the first answer", n)
	}
	listener.Close()
	awaited.Close()
	consumertest.Eventually(t, "no server", func() bool {
		n, told := servers()
		return told && n == 0
	})
}

// TestServersOfASet: of several servers nothing is told until one answers or all have failed, and
// from then on every change is told.
func TestServersOfASet(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	w := &serverWatch{metrics: m}
	describe := func(kinds ...string) *event.TopologyDescriptionChangedEvent {
		e := &event.TopologyDescriptionChangedEvent{}
		for _, kind := range kinds {
			e.NewDescription.Servers = append(e.NewDescription.Servers,
				event.ServerDescription{Kind: kind})
		}
		return e
	}
	failed := func() { w.heartbeatFailed(&event.ServerHeartbeatFailedEvent{}) }
	servers := func() string {
		n, told := consumertest.GaugeOf(t, m.Registry, telemetry.MetricMongoServers)
		return fmt.Sprint(n, told)
	}
	for i, step := range []struct {
		do   func()
		want string
	}{
		{func() { w.topologyChanged(describe("Unknown", "Unknown")) }, "0 false"},
		{failed, "0 false"},
		{failed, "0 true"},
		{func() { w.topologyChanged(describe("RSPrimary", "Unknown")) }, "1 true"},
		{func() { w.topologyChanged(describe("Unknown", "Unknown")) }, "0 true"},
		{func() { w.topologyChanged(describe("RSPrimary", "RSSecondary")) }, "2 true"},
		{func() { w.topologyChanged(describe()) }, "2 true"}, // the client closes
	} {
		if step.do(); servers() != step.want {
			t.Errorf("step %d: %s, want %s", i, servers(), step.want)
		}
	}
}

// BenchmarkTrace is the cost for one event in batches of 500: the sampling, the spans, their export
// into nothing, and the reports of the pipeline and the driver. The figure to watch is cpu-ns/op:
// an event costs the pipeline some 20,000.
func BenchmarkTrace(b *testing.B) {
	for _, c := range []struct {
		name  string
		trace func() *telemetry.Tracer
	}{
		{"off", telemetry.NoTracer},
		{"none", func() *telemetry.Tracer { return benchTracer(0) }},
		{"1%", func() *telemetry.Tracer { return benchTracer(0.01) }},
		{"100%", func() *telemetry.Tracer { return benchTracer(1) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			made := c.trace()
			defer made.Close(context.Background())
			w := &commandWatch{telemetry.NewMetrics()}
			batch := make([]telemetry.Arrival, 500)
			b.ReportAllocs()
			b.ResetTimer()
			defer consumertest.ReportCPU(b)()
			for n := 0; n < b.N; n += len(batch) {
				for i := range batch {
					batch[i].Record = &kgo.Record{Topic: "cdc.public.customer",
						Offset: int64(n + i), Headers: debeziumHeaders}
				}
				ctx, end := made.StartBatch(context.Background(), batch)
				w.commandSucceeded(inCollection(ctx, "customers"), &event.CommandSucceededEvent{
					CommandFinishedEvent: event.CommandFinishedEvent{CommandName: "update",
						ConnectionID: "127.0.0.1:27017[-4]"}})
				for i := range batch {
					if batch[i].Record.Context != nil {
						telemetry.DescribeSpan(batch[i].Record, "customer", "UPDATE",
							telemetry.OutcomeApplied)
					}
				}
				end("")
			}
		})
	}
}

var debeziumHeaders = []kgo.RecordHeader{{Key: "__debezium.context.connectorName"},
	{Key: "__debezium.context.connectorLogicalName"}, {Key: "__debezium.context.taskId"}}

func benchTracer(ratio float64) *telemetry.Tracer {
	return telemetry.StartTracer(telemetry.TraceConfig{Ratio: ratio}, "cdclab",
		sdktrace.WithBatcher(nowhere{}))
}

type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }
