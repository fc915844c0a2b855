package telemetry

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"
)

// logged is the single line logged by write.
func logged(t *testing.T, level string, write func(context.Context, *slog.Logger)) map[string]any {
	t.Helper()
	var output strings.Builder
	log, err := NewLog(level, &output)
	if err != nil {
		t.Fatal(err)
	}
	write(context.Background(), log)
	line := map[string]any{}
	if err := json.Unmarshal([]byte(output.String()), &line); err != nil {
		t.Fatalf("%v in %q", err, output.String())
	}
	delete(line, "time")
	return line
}

func TestLogHasTrace(t *testing.T) {
	t.Parallel()
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1},
		SpanID: trace.SpanID{2}})
	line := logged(t, "info", func(ctx context.Context, log *slog.Logger) {
		log.With("kafka_topic", "cdc.public.order").WarnContext(
			trace.ContextWithSpanContext(ctx, span), "paused", "kafka_partition", 3)
	})
	want := map[string]any{"level": "WARN", "msg": "paused", "service_name": "cdc-consumer",
		"kafka_topic": "cdc.public.order", "kafka_partition": 3.0,
		"trace_id": "01000000000000000000000000000000", "span_id": "0200000000000000"}
	if d := cmp.Diff(want, line); d != "" {
		t.Error(d)
	}
}

// TestLogHidesValues: at debug only, whoever asks for it.
func TestLogHidesValues(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]any{"info": nil, "debug": "a@x"} {
		line := logged(t, level, func(ctx context.Context, log *slog.Logger) {
			if level == "debug" {
				log.DebugContext(ctx, "broken", "value", "a@x", "rule", "format")
			} else {
				log.InfoContext(ctx, "broken", "value", "a@x", "rule", "format")
			}
		})
		if line["value"] != want || line["rule"] != "format" {
			t.Errorf("at %s: %v, want the value %v", level, line, want)
		}
	}
}
