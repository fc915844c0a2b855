package faults

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/servertest"
)

// TestStorm: a stranger that keeps partitions for a moment only is given partitions again and
// again, and the consumers have all of them back in the end.
func TestStorm(t *testing.T) {
	t.Parallel()
	const topic, partitions = "cdc.public.customer", 4
	cluster := servertest.Kafka(t, kfake.SeedTopics(partitions, topic))
	options := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumerGroup("storm"),
		kgo.ConsumeTopics(topic)}
	moves := make(chan int, 100)
	count := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
			moves <- sign * len(moved[topic])
		}
	}
	member, err := kgo.NewClient(append(options, kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(count(1)), kgo.OnPartitionsRevoked(count(-1)))...)
	must(t, err)
	defer member.Close()
	held, changes := 0, 0
	holds := func(wanted func() bool) {
		t.Helper()
		for !wanted() {
			select {
			case n := <-moves:
				held += n
				changes++
			case <-time.After(time.Minute):
				t.Fatalf("the member holds %d partitions", held)
			}
		}
	}
	holds(func() bool { return held == partitions })

	kind, _ := Find("rebalance-storm")
	i := storm(Site{Target: stack.Consumer, With: Values{"every": "50ms"}.WithDefaults(kind)},
		options)
	must(t, i.Inject(t.Context()))
	before := changes
	holds(func() bool { return held < partitions && changes >= before+6 })
	proven(t, i, "times, and was given", "")
	must(t, i.Undo(t.Context()))
	holds(func() bool { return held == partitions })

	// A storm that is over before the group gave anything waits for the first partitions.
	i = storm(Site{Target: stack.Consumer, With: Values{"every": "50ms"}.WithDefaults(kind)},
		options)
	must(t, i.Inject(t.Context()))
	proven(t, i, "times, and was given", "")
	must(t, i.Undo(t.Context()))
	holds(func() bool { return held == partitions })
}
