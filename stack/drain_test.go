package stack

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLagOfAPipelineOfOthers: a table whose topic the group never read is none of its lag, nor is what
// Kafka has deleted; of the lab's own tables all counts.
func TestLagOfAPipelineOfOthers(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	ctx := testContext(t)
	client := kafkaClient(t, k)
	admin := kadm.NewClient(client)
	for topic, records := range map[string]int{
		"shop.public.customer": 5, "shop.public.order": 3, "shop.public.invoice": 4, "shop.public.audit": 7,
		"shop.dead-letter": 1, "other.public.customer": 2,
	} {
		if _, err := admin.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
		for range records {
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	lag := func(prefix, group string) []string {
		s := &Stack{options: Options{Kind: External, External: Endpoint{TopicPrefix: prefix, Group: group}}}
		partitions, err := s.Lag(ctx, admin)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, p := range partitions {
			all = append(all, fmt.Sprintf("%s: %d to %d", p.Name(), p.Committed, p.End))
		}
		slices.Sort(all)
		return all
	}
	want := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	want("a group that is not there", lag("shop", "new"), "shop.public.customer/0: 0 to 5", "shop.public.order/0: 0 to 3")
	want("a pipeline without topics", lag("none", "new"))

	var offsets kadm.Offsets
	offsets.AddOffset("shop.public.customer", 0, 2, -1)
	offsets.AddOffset("shop.public.invoice", 0, 1, -1)
	if err := admin.CommitAllOffsets(ctx, "sink", offsets); err != nil {
		t.Fatal(err)
	}
	deleted := kadm.Offsets{}
	deleted.AddOffset("shop.public.order", 0, 2, -1)
	if _, err := admin.DeleteRecords(ctx, deleted); err != nil {
		t.Fatal(err)
	}
	want("a group that reads three of four tables", lag("shop", "sink"), "shop.public.customer/0: 2 to 5",
		"shop.public.invoice/0: 1 to 4", "shop.public.order/0: 2 to 3")
}
