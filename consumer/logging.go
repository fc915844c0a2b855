package consumer

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// serviceName is what the program is called in logs and traces.
const serviceName = "cdc-consumer"

// valueKey is the attribute of a log record that holds a value of a row.
const valueKey = "value"

func (c *Config) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	output := c.Output
	if output == nil {
		output = io.Discard
	}
	lines := slog.NewJSONHandler(output, &slog.HandlerOptions{Level: level})
	return slog.New(logHandler{lines}).With("service_name", serviceName), nil
}

// logHandler adds the trace that a line belongs to, and keeps the values of rows to debug.
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
		if a.Key != valueKey {
			bare.AddAttrs(a)
		}
		return true
	})
	return bare
}
