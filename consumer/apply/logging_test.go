package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// TestLogsOfAPoisonedTopic: logs of a batch with broken rules, at info level and above, hold no
// value of a row.
func TestLogsOfAPoisonedTopic(t *testing.T) {
	t.Parallel()
	for level, shown := range map[string]bool{"info": false, "debug": true} {
		p := newPipeline()
		output := p.logTo(t, level)
		p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "no-address"))
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
	log, err := telemetry.NewLog(level, output)
	if err != nil {
		t.Fatal(err)
	}
	p.Shared.log, p.rules.log = log, log
	return output
}

// TestLogsKeylessTables: a keyless table is told once, loudly, from whatever partitions.
func TestLogsKeylessTables(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	output := p.logTo(t, "info")
	row := func(table string) *kgo.Record {
		r := consumertest.Record(table, consumertest.Insert, 1, nil, nil,
			consumertest.Columns("name", "secret", "n", int64(1)))
		r.Key = nil
		return r
	}
	for range 3 {
		p.feed(t, row("one"), row("two"), row("one"))
	}
	var tables []any
	for _, line := range consumertest.Lines(t, output,
		"a table without a key: its rows are dead letters") {
		if tables = append(tables, line["table"]); line["level"] != "ERROR" ||
			line["reason"] == nil {
			t.Errorf("logged as %v", line)
		}
	}
	if d := cmp.Diff([]any{"public.one", "public.two"}, tables); d != "" {
		t.Errorf("tables (-want +got):\n%s", d)
	}
	letters := consumertest.Lines(t, output, "dead letters")
	if len(letters) != 3 || !strings.Contains(fmt.Sprint(letters[0]["reason"]), "without a key") {
		t.Errorf("dead letters are logged as %v", letters)
	}
	if strings.Contains(output.String(), "secret") {
		t.Errorf("a value is in the log:\n%s", output)
	}
}

// TestLogsReasons: the log has the reasons of dead letters where no value of a row is inside.
func TestLogsReasons(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"":   fate.Rejectf(fate.RuleUnique, "dup key: { email: \"secret\" }"),
		"op": fate.Rejectf(fate.RuleUndecodable, "op: \"secret\" is unknown"),
		"column email has no host": &fate.Rejection{Rule: "format",
			Reason: "column email has no host"},
	} {
		if got := (&deadletter.Rejected{Err: err}).ReasonForLog(); got != want {
			t.Errorf("%v is logged as %q, want %q", err, got, want)
		}
	}
}

// TestLogsOfEvents: a line about an event, or about several of a batch, tells the trace, the
// operation and the place of the events.
func TestLogsOfEvents(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	output := p.logTo(t, "info")
	in := func(n byte) context.Context {
		return trace.ContextWithSpanContext(context.Background(),
			trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{n},
				SpanID: trace.SpanID{n}}))
	}
	p.ctx = in(1)
	sampled := consumertest.Customer(consumertest.Insert, 2, 1, "no-address")
	sampled.Context = in(2)
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"),
		consumertest.Customer(consumertest.Update, 1, 2, "no-address"), sampled)
	narrow := consumertest.Record("thing", consumertest.Insert, 1,
		consumertest.Columns("id", int64(1)), nil,
		consumertest.Columns("id", int64(1), "n", int64(1)))
	wide := consumertest.Record("thing", consumertest.Insert, 1,
		consumertest.Columns("id", int64(2)), nil,
		consumertest.Columns("id", int64(2), "n", int64(1), "more", "x"))
	wide.Context = in(3)
	p.feed(t, narrow, wide)
	var got []string
	for _, message := range []string{"rule broken", "dead letters", "schema changed"} {
		for _, line := range consumertest.Lines(t, output, message) {
			id, _ := line["trace_id"].(string)
			span, _ := line["span_id"].(string)
			got = append(got, fmt.Sprintf("%s %s %.2s %.2s %s %v", message, line["operation"], id,
				span, line["kafka_topic"],
				line["kafka_partition"]))
		}
	}
	want := []string{"rule broken INSERT 02 02 cdc.public.customer 0",
		"rule broken UPDATE 01 01 cdc.public.customer 0",
		"dead letters UPDATE 01 01 cdc.public.customer 0",
		"schema changed INSERT 03 03 cdc.public.thing 0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
