package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
)

// logged is the one line that write logs.
func logged(t *testing.T, level string, write func(context.Context, *Config)) map[string]any {
	t.Helper()
	var output strings.Builder
	config := DefaultConfig()
	config.LogLevel, config.Output = level, &output
	write(context.Background(), &config)
	line := map[string]any{}
	if err := json.Unmarshal([]byte(output.String()), &line); err != nil {
		t.Fatalf("%v in %q", err, output.String())
	}
	delete(line, "time")
	return line
}

func TestLogHasTrace(t *testing.T) {
	t.Parallel()
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	line := logged(t, "info", func(ctx context.Context, c *Config) {
		log, err := c.logger()
		if err != nil {
			t.Fatal(err)
		}
		log.With("kafka_topic", "cdc.public.order").WarnContext(trace.ContextWithSpanContext(ctx, span), "paused",
			"kafka_partition", 3)
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
		line := logged(t, level, func(ctx context.Context, c *Config) {
			log, err := c.logger()
			if err != nil {
				t.Fatal(err)
			}
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

// TestLogsOfAPoisonedTopic: what a batch with broken rules logs at info level and above has no value
// of a row.
func TestLogsOfAPoisonedTopic(t *testing.T) {
	t.Parallel()
	for level, shown := range map[string]bool{"info": false, "debug": true} {
		p := newPipeline()
		output := p.logTo(t, level)
		p.feed(t, customer(insert, 1, 1, "no-address"))
		if text := output.String(); strings.Contains(text, "no-address") != shown ||
			!strings.Contains(text, `"rule":"format"`) {
			t.Errorf("at %s: %s", level, text)
		}
	}
}

// logTo is where the pipeline logs from now on.
func (p *pipeline) logTo(t *testing.T, level string) *strings.Builder {
	t.Helper()
	output := &strings.Builder{}
	config := DefaultConfig()
	config.LogLevel, config.Output = level, output
	log, err := config.logger()
	if err != nil {
		t.Fatal(err)
	}
	p.settler.log, p.planner.log.log = log, log
	return output
}

// lines are those of the log with the message.
func lines(t *testing.T, output *strings.Builder, message string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for text := range strings.Lines(output.String()) {
		line := map[string]any{}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line["msg"] == message {
			all = append(all, line)
		}
	}
	return all
}

// TestLogsKeylessTables: once for each table, loudly, whatever partition they come from.
func TestLogsKeylessTables(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	output := p.logTo(t, "info")
	row := func(table string) *kgo.Record {
		r := record(table, insert, 1, nil, nil, columns("name", "secret", "n", int64(1)))
		r.Key = nil
		return r
	}
	for range 3 {
		p.feed(t, row("one"), row("two"), row("one"))
	}
	var tables []any
	for _, line := range lines(t, output, "a table without a key: its rows are dead letters") {
		if tables = append(tables, line["table"]); line["level"] != "ERROR" || line["reason"] == nil {
			t.Errorf("logged as %v", line)
		}
	}
	if d := cmp.Diff([]any{"public.one", "public.two"}, tables); d != "" {
		t.Errorf("tables (-want +got):\n%s", d)
	}
	letters := lines(t, output, "dead letters")
	if len(letters) != 3 || !strings.Contains(fmt.Sprint(letters[0]["reason"]), "without a key") {
		t.Errorf("dead letters are logged as %v", letters)
	}
	if strings.Contains(output.String(), "secret") {
		t.Errorf("a value is in the log:\n%s", output)
	}
}

// TestLogsReasons: of a dead letter, where they hold no value of a row.
func TestLogsReasons(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"":                         rejectf(ruleUnique, "dup key: { email: \"secret\" }"),
		"op":                       rejectf(ruleUndecodable, "op: \"secret\" is unknown"),
		"column email has no host": &rejection{"format", "column email has no host"},
	} {
		if got := (&deadLetter{err: err}).said(); got != want {
			t.Errorf("%v is logged as %q, want %q", err, got, want)
		}
	}
}

// TestLogsOfEvents: a line about an event, or about several of a batch, tells the trace, the operation
// and where they are.
func TestLogsOfEvents(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	output := p.logTo(t, "info")
	in := func(n byte) context.Context {
		return trace.ContextWithSpanContext(context.Background(),
			trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{n}, SpanID: trace.SpanID{n}}))
	}
	p.begin = func(context.Context, []arrival) (context.Context, func(error)) { return in(1), untraced }
	sampled := customer(insert, 2, 1, "no-address")
	sampled.Context = in(2)
	p.feed(t, customer(insert, 1, 1, "a@x"), customer(update, 1, 2, "no-address"), sampled)
	narrow := record("thing", insert, 1, columns("id", int64(1)), nil, columns("id", int64(1), "n", int64(1)))
	wide := record("thing", insert, 1, columns("id", int64(2)), nil, columns("id", int64(2), "n", int64(1), "more", "x"))
	wide.Context = in(3)
	p.feed(t, narrow, wide)
	var got []string
	for _, message := range []string{"rule broken", "dead letters", "schema changed"} {
		for _, line := range lines(t, output, message) {
			id, _ := line["trace_id"].(string)
			span, _ := line["span_id"].(string)
			got = append(got, fmt.Sprintf("%s %s %.2s %.2s %s %v", message, line["operation"], id, span, line["kafka_topic"],
				line["kafka_partition"]))
		}
	}
	want := []string{"rule broken INSERT 02 02 cdc.public.customer 0", "rule broken UPDATE 01 01 cdc.public.customer 0",
		"dead letters UPDATE 01 01 cdc.public.customer 0", "schema changed INSERT 03 03 cdc.public.thing 0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestLogsSlowBatches: how long a batch took is told at info level where that is worth a line.
func TestLogsSlowBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline()
		output := p.logTo(t, "info")
		p.feed(t, customer(insert, 1, 1, "a@x"))
		if done := lines(t, output, "batch done"); done != nil {
			t.Errorf("a fast batch is logged: %v", done)
		}
		started := time.Now()
		p.memory.refuse = func(*write) error {
			if time.Since(started) < 2*time.Second {
				return errAway
			}
			return nil
		}
		p.feed(t, customer(insert, 2, 1, "a@x"), customer(insert, 3, 1, "a@x"))
		done := lines(t, output, "batch done")
		if took, _ := done[0]["processing_time_ms"].(float64); len(done) != 1 || took < 2000 || done[0]["records"] != 2.0 {
			t.Errorf("a slow batch is logged as %v", done)
		}
	})
}
