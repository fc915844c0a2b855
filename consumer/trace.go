package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kotel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const tracerName = "github.com/cdclab/cdclab/consumer"

// The values of the attribute db.operation. A delete leaves a tombstone, which is an upsert too.
const (
	operationUpsert = "upsert"
	operationDelete = "delete"
)

// tracer makes the spans of the batches: one for each record that is sampled, and one for the batch,
// which is in the trace of the first such record, has links to the others, and holds the spans of
// MongoDB's commands.
type tracer struct {
	provider *sdktrace.TracerProvider // nil: nothing is traced
	tracer   trace.Tracer
	group    string
	below    uint64 // the hashes of records that are sampled here
}

func noTracer() *tracer { return &tracer{} }

// newTracer sends the spans where the configuration says. It waits for nothing; a collector that
// does not answer is counted and logged, and its spans are lost.
func newTracer(config Config, m *metrics, log *slog.Logger) (*tracer, error) {
	if config.OTLPEndpoint == "" {
		return noTracer(), nil
	}
	sender, err := newSpanSender(config, m, log)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", serviceName)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this process for its traces: %w", err)
	}
	exporter, err := otlptrace.New(ctx, sender)
	if err != nil {
		return nil, fmt.Errorf("set up the sending of traces: %w", err)
	}
	return startTracer(config, sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)), nil
}

func startTracer(config Config, options ...sdktrace.TracerProviderOption) *tracer {
	// Which records are sampled is decided here, before there is a span.
	options = append(options, sdktrace.WithSampler(sdktrace.AlwaysSample()))
	provider := sdktrace.NewTracerProvider(options...)
	t := &tracer{provider: provider, tracer: provider.Tracer(tracerName), group: config.Group}
	t.below = math.MaxUint64
	if config.TraceRatio < 1 {
		t.below = uint64(config.TraceRatio * (1 << 63) * 2)
	}
	return t
}

// close sends what is left.
func (t *tracer) close(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

func untraced(error) {}

// batch begins the spans of a batch of one partition; what it returns ends them. The context is for
// the writes.
func (t *tracer) batch(ctx context.Context, batch []arrival) (context.Context, func(error)) {
	if t.provider == nil {
		return ctx, untraced
	}
	var spans []trace.Span
	first := ctx
	for i := range batch {
		r := batch[i].record
		if !t.sampled(r) {
			continue
		}
		from := propagation.TraceContext{}.Extract(ctx, kotel.NewRecordCarrier(r))
		made, span := t.tracer.Start(from, "process "+r.Topic, trace.WithTimestamp(batch[i].polled),
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(t.attributes(r,
				attribute.Int64("messaging.kafka.offset", r.Offset))...))
		r.Context = made // for describe
		if spans == nil {
			first = made
		}
		spans = append(spans, span)
	}
	if spans == nil {
		return ctx, untraced
	}
	return t.apply(first, batch, spans)
}

// apply begins the span of the batch, in the trace of the first record.
func (t *tracer) apply(ctx context.Context, batch []arrival, spans []trace.Span) (context.Context,
	func(error)) {
	r := batch[0].record
	var links []trace.Link
	for _, span := range spans[1:] {
		links = append(links, trace.Link{SpanContext: span.SpanContext()})
	}
	ctx, whole := t.tracer.Start(ctx, "apply "+r.Topic, trace.WithLinks(links...),
		trace.WithAttributes(t.attributes(r,
			attribute.Int("messaging.batch.message_count", len(batch)))...))
	for _, span := range spans[1:] {
		span.AddLink(trace.Link{SpanContext: whole.SpanContext()})
	}
	return ctx, func(err error) {
		now := time.Now()
		for _, span := range append(spans, whole) {
			if err != nil {
				failed(span, err)
			}
			span.End(trace.WithTimestamp(now))
		}
	}
}

// failed tells the kind of the error only: its text may hold values of rows.
func failed(span trace.Span, err error) {
	kind := reasonOf(err)
	if errors.Is(err, errLeft) {
		kind = "left"
	}
	span.SetAttributes(attribute.String("error.type", kind))
	span.SetStatus(codes.Error, kind)
}

func (t *tracer) attributes(r *kgo.Record, more ...attribute.KeyValue) []attribute.KeyValue {
	return append([]attribute.KeyValue{
		attribute.String("messaging.system", "kafka"),
		attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.destination.name", r.Topic),
		attribute.Int("messaging.destination.partition.id", int(r.Partition)),
		attribute.String("messaging.kafka.consumer.group", t.group),
		attribute.String("messaging.consumer.group.name", t.group),
	}, more...)
}

// describe completes the span of a record with what became of it. The record has one if it has a
// context.
func describe(r *kgo.Record, name, operation, result string) {
	span := trace.SpanFromContext(r.Context)
	if !span.IsRecording() {
		return
	}
	as := operationUpsert
	if operation == "DELETE" {
		as = operationDelete
	}
	span.SetAttributes(attribute.String("cdc.entity.type", name),
		attribute.String("cdc.operation", operation), attribute.String("cdc.outcome", result),
		attribute.String("db.operation", as))
	if result == OutcomeDeadLetter {
		span.SetAttributes(attribute.String("error.type", OutcomeDeadLetter))
		span.SetStatus(codes.Error, OutcomeDeadLetter)
	}
}

// sampled: the record's own trace context decides, else its place in the log, so that a record that
// is delivered again is sampled again.
func (t *tracer) sampled(r *kgo.Record) bool {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == traceHeader {
			if len(h.Value) == traceHeaderBytes {
				return flagSampled(h.Value[traceHeaderBytes-1])
			}
			break
		}
	}
	return t.below > 0 && mix(uint64(r.Offset)<<16^uint64(uint16(r.Partition))) <= t.below
}

// traceHeader is version 00 of W3C's Trace Context: 00-<trace id>-<span id>-<flags>, hexadecimal.
const (
	traceHeader      = "traceparent"
	traceHeaderBytes = 2 + 1 + 32 + 1 + 16 + 1 + 2
)

// flagSampled reads the lowest bit of a hexadecimal digit; 'a' is even, and an odd number in ASCII.
func flagSampled(digit byte) bool {
	if digit >= 'a' {
		return digit&1 == 0
	}
	return digit&1 == 1
}

// mix is splitmix64: neighbours become numbers that are evenly spread.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
