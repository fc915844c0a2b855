package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// ServiceName is the program's name in logs and traces.
const ServiceName = "cdc-consumer"

// ValueKey is the attribute of a log record with a value of a row.
const ValueKey = "value"

// NewLog returns a log of JSON lines from a level on: debug, info, warn or error. Values of rows
// are in lines of the level debug only. The error names the flag.
func NewLog(from string, output io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(from)); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	if output == nil {
		output = io.Discard
	}
	lines := slog.NewJSONHandler(output, &slog.HandlerOptions{Level: level})
	return slog.New(logHandler{lines}).With("service_name", ServiceName), nil
}

// logHandler adds the line's trace, and keeps the values of rows to debug.
type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		r = withoutValues(r)
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()),
			slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name)}
}

func withoutValues(r slog.Record) slog.Record {
	bare := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != ValueKey {
			bare.AddAttrs(a)
		}
		return true
	})
	return bare
}
