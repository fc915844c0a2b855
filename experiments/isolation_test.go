package experiments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/reports"
)

const (
	isolationRounds = 2
	isolationRate   = 200
	isolationLength = 30 * time.Second
	// poisonShare: one of so many records of the order topic is poison.
	poisonShare = 10
	orderTopic  = "cdc.public.order"
	letterTopic = "cdc.dead-letter"
)

// BenchmarkIsolation: what do orders that nobody can read cost the customers? Clean and poisoned
// runs in turns, each on a stack of its own; beside the load of a poisoned run every tenth record
// of the order topic is garbage. Each piece of garbage must become one dead letter, and nothing
// else may; every row must arrive. ratio is the customers' e2e p95, poisoned to clean, of the
// medians; clean-spread is the slowest clean run to the fastest: a ratio below clean-spread is
// noise.
//
//	go test ./experiments -run '^$' -bench Isolation -timeout 20m
func BenchmarkIsolation(b *testing.B) {
	if testing.Short() {
		b.Skip("four runs of 30 s; left out by -short")
	}
	var p95 [2][]float64
	poisoned := 0
	for range isolationRounds {
		for poison := range 2 {
			customers, n := isolationRun(b, poison == 1)
			p95[poison] = append(p95[poison], customers.P95)
			poisoned += n
			b.Logf("%d poisoned orders: customers' e2e p50 %.2f p95 %.2f p99 %.2f ms of %d", n,
				customers.P50,
				customers.P95, customers.P99, customers.Count)
		}
	}
	for i := range p95 {
		slices.Sort(p95[i])
	}
	clean, dirty := p95[0], p95[1]
	middle := func(values []float64) float64 {
		return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(middle(clean), "clean-p95-ms")
	b.ReportMetric(middle(dirty), "poisoned-p95-ms")
	b.ReportMetric(middle(dirty)/middle(clean), "ratio")
	b.ReportMetric(clean[len(clean)-1]/clean[0], "clean-spread")
	b.ReportMetric(float64(poisoned), "dead-letters")
}

// isolationRun returns the customers' latency and the number of poisoned orders.
func isolationRun(b *testing.B, poison bool) (customers reports.Stage, poisoned int) {
	b.Helper()
	ctx := b.Context()
	config := smoke(b, isolationRate, isolationLength)
	// A benchmark's log shows only the first lines; the figures need the lines.
	config.Terminal, config.Say = io.Discard, func(string) {}
	l := begin(b, config)
	client, err := kgo.NewClient(append(l.stack.KafkaOptions(),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	beside, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		var err error
		if poison {
			poisoned, err = poisonOrders(beside, client)
		}
		done <- err
	}()
	err = errors.Join(l.floor(ctx), l.generate(ctx))
	stop()
	err = errors.Join(err, <-done)
	l.drain(ctx)
	l.check(ctx)
	letters, lettersErr := topicLength(ctx, client, letterTopic)
	l.readStagesSince(ctx)
	if err := errors.Join(err, lettersErr, l.down(ctx)); err != nil {
		b.Fatal(err)
	}
	result, err := l.finish()
	if err != nil {
		b.Fatal(err)
	}
	run := result.Run
	if letters != poisoned {
		b.Errorf("%d dead letters of %d poisoned orders", letters, poisoned)
	}
	if poison && poisoned == 0 {
		b.Error("no order was poisoned")
	}
	if bad := run.Consistency.Rows - run.Consistency.Counts[reports.OK]; !run.Consistency.Checked ||
		bad != 0 {
		b.Errorf("%d rows are not ok: %s", bad, run.Consistency.Sentence())
	}
	customers, there := run.StageOf(reports.E2E, "customer", "")
	if !there {
		b.Error("no customer was measured")
	}
	return customers, poisoned
}

// garbage are records that cannot be an event of an order, each for a different reason.
var garbage = []string{
	"\x00\x01\x02 not even text \xff",
	`{"before":null,"after":{"id":"00000000-0000-4000-8000-0000000`,
	`{"id":"00000000-0000-4000-8000-000000000001","status":"new"}`,
	`{"before":null,"after":null,"source":null,"op":"c"}`,
}

// poisonOrders adds garbage to the topic of the orders until ctx ends, so that one of poisonShare
// records is garbage, and returns the number of garbage records.
func poisonOrders(ctx context.Context, client *kgo.Client) (poisoned int, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return poisoned, nil
		case <-tick.C:
		}
		// A round once begun is finished, because a record with an unknown fate could not be
		// counted.
		all, err := topicLength(context.WithoutCancel(ctx), client, orderTopic)
		if err != nil {
			return poisoned, err
		}
		for orders := all - poisoned; poisoned < orders/(poisonShare-1); poisoned++ {
			record := &kgo.Record{Topic: orderTopic, Value: []byte(garbage[poisoned%len(garbage)]),
				Key: fmt.Appendf(nil, `{"id":"00000000-0000-4000-9000-%012d"}`, poisoned)}
			if err := client.ProduceSync(context.WithoutCancel(ctx),
				record).FirstErr(); err != nil {
				return poisoned, fmt.Errorf("poison the orders: %w", err)
			}
		}
	}
}

// topicLength is how many records were ever put into the topic.
func topicLength(ctx context.Context, client *kgo.Client, topic string) (length int, err error) {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("list the ends of %s: %w", topic, err)
	}
	ends.Each(func(end kadm.ListedOffset) { length += int(max(0, end.Offset)) })
	return length, nil
}
