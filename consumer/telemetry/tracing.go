package telemetry

import (
	"context"
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

// TracerName is the instrumentation scope of the spans.
const TracerName = "github.com/cdclab/cdclab/consumer"

// The values of the attribute db.operation. A delete leaves a tombstone, and so is an upsert too.
const (
	OperationUpsert = "upsert"
	operationDelete = "delete"
)

// Tracer makes the spans of the batches: one for each sampled record, and a span for the batch. The
// batch's span is in the trace of the first sampled record, has links to the others, and holds the
// spans of MongoDB's commands.
type Tracer struct {
	provider *sdktrace.TracerProvider // nil: nothing is traced
	tracer   trace.Tracer
	group    string
	below    uint64 // the hashes of records sampled here
}

// NoTracer returns a Tracer without spans.
func NoTracer() *Tracer { return &Tracer{} }

// NewTracer sends the spans where the configuration says. NewTracer waits for nothing; a collector
// without an answer is counted and logged, and the spans are lost.
func NewTracer(config TraceConfig, group string, m *Metrics, log *slog.Logger) (*Tracer, error) {
	if config.Endpoint == "" {
		return NoTracer(), nil
	}
	sender, err := newSpanSender(config, m, log)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", ServiceName)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this process for its traces: %w", err)
	}
	exporter, err := otlptrace.New(ctx, sender)
	if err != nil {
		return nil, fmt.Errorf("set up the sending of traces: %w", err)
	}
	tracer := StartTracer(config, group, sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(about))
	return tracer, nil
}

// StartTracer returns a Tracer whose spans go where the options say.
func StartTracer(config TraceConfig, group string,
	options ...sdktrace.TracerProviderOption) *Tracer {
	// The sampling is decided here, before there is a span.
	options = append(options, sdktrace.WithSampler(sdktrace.AlwaysSample()))
	provider := sdktrace.NewTracerProvider(options...)
	t := &Tracer{provider: provider, tracer: provider.Tracer(TracerName), group: group}
	t.below = math.MaxUint64
	if config.Ratio < 1 {
		t.below = uint64(config.Ratio * (1 << 63) * 2)
	}
	return t
}

// Close sends the spans left.
func (t *Tracer) Close(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

func untraced(string) {}

// StartBatch begins the spans of a batch of one partition; the function returned ends the spans,
// with the kind of an error or "". The context is for the writes.
func (t *Tracer) StartBatch(ctx context.Context,
	batch []Arrival) (context.Context, func(failure string)) {
	if t.provider == nil {
		return ctx, untraced
	}
	var spans []trace.Span
	first := ctx
	for i := range batch {
		r := batch[i].Record
		if !t.isSampled(r) {
			continue
		}
		from := propagation.TraceContext{}.Extract(ctx, kotel.NewRecordCarrier(r))
		made, span := t.tracer.Start(from, "process "+r.Topic, trace.WithTimestamp(batch[i].Polled),
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
	return t.startApply(first, batch, spans)
}

// startApply begins the span of the batch, in the trace of the first record.
func (t *Tracer) startApply(ctx context.Context, batch []Arrival,
	spans []trace.Span) (context.Context, func(failure string)) {
	r := batch[0].Record
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
	return ctx, func(failure string) {
		now := time.Now()
		for _, span := range append(spans, whole) {
			if failure != "" {
				markFailed(span, failure)
			}
			span.End(trace.WithTimestamp(now))
		}
	}
}

// markFailed tells the kind of the error only, because the text may hold values of rows.
func markFailed(span trace.Span, kind string) {
	span.SetAttributes(attribute.String("error.type", kind))
	span.SetStatus(codes.Error, kind)
}

func (t *Tracer) attributes(r *kgo.Record, more ...attribute.KeyValue) []attribute.KeyValue {
	return append([]attribute.KeyValue{
		attribute.String("messaging.system", "kafka"),
		attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.destination.name", r.Topic),
		attribute.Int("messaging.destination.partition.id", int(r.Partition)),
		attribute.String("messaging.kafka.consumer.group", t.group),
		attribute.String("messaging.consumer.group.name", t.group),
	}, more...)
}

// DescribeSpan completes the span of a record with the record's operation and result. A record with
// a context has a span.
func DescribeSpan(r *kgo.Record, name, operation, result string) {
	span := trace.SpanFromContext(r.Context)
	if !span.IsRecording() {
		return
	}
	as := OperationUpsert
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

// isSampled follows the record's own trace context, else the record's place in the log, so that a
// redelivered record is sampled again.
func (t *Tracer) isSampled(r *kgo.Record) bool {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == traceHeader {
			if len(h.Value) == traceHeaderBytes {
				return flagSampled(h.Value[traceHeaderBytes-1])
			}
			break
		}
	}
	return t.below > 0 && spreadBits(uint64(r.Offset)<<16^uint64(uint16(r.Partition))) <= t.below
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

// spreadBits is splitmix64: neighbours become evenly spread numbers.
func spreadBits(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Arrival is a record and the time of the poll.
type Arrival struct {
	Record *kgo.Record
	Polled time.Time
}
