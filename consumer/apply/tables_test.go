package apply

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
)

// mergedPipeline is a pipeline whose topic "merged" holds rows of all tables; merge puts a record
// there.
func mergedPipeline(t *testing.T) (p *pipeline, merge func(*kgo.Record) *kgo.Record) {
	t.Helper()
	p = newPipeline(func(c *Config) {
		if err := c.TopicTables.Set("merged=public.*"); err != nil {
			t.Fatal(err)
		}
	})
	return p, func(r *kgo.Record) *kgo.Record { r.Topic = "merged"; return r }
}

// TestRoundIsOfOneTable: rows of several tables in one batch are each looked up in their own
// table's collection.
func TestRoundIsOfOneTable(t *testing.T) {
	t.Parallel()
	p, merge := mergedPipeline(t)
	item := consumertest.Columns("id", consumertest.UUID(1))
	rules := p.feed(t, merge(consumertest.Customer(consumertest.Insert, 1, 1, "a@example.org")),
		merge(consumertest.Item(debezium.Delete, 1, 2, item, nil)),
		merge(consumertest.Customer(consumertest.Insert, 2, 3, "b@example.org")))
	if len(rules) > 0 || p.document(t, "customers", consumertest.UUID(2)) == nil {
		t.Errorf("rejected by %v, or the second customer is not there", rules)
	}
}

// TestStatesAreOfOneTable: the last state of an order outlives a customer of the same id, so that a
// step back of the order breaks the rule.
func TestStatesAreOfOneTable(t *testing.T) {
	t.Parallel()
	p, merge := mergedPipeline(t)
	order := func(op debezium.Op, offset int, status string) *kgo.Record {
		key := consumertest.Columns("id", consumertest.UUID(1))
		return merge(consumertest.Record("order", op, offset, key, nil, consumertest.Columns(
			"id", consumertest.UUID(1), "customer_id", consumertest.UUID(1), "status", status,
			"total_amount", "1", "created_at", "2026-11-22T07:55:47Z",
			"updated_at", "2026-11-22T07:55:47Z", "currency", "EUR", "version", int64(1),
			"order_number", "1")))
	}
	p.feed(t, merge(consumertest.Customer(consumertest.Insert, 1, 1, "a@example.org")))
	p.feed(t, order(debezium.Create, 2, "shipped"))
	p.feed(t, merge(consumertest.Customer(consumertest.Update, 1, 3, "b@example.org")))
	p.feed(t, order(debezium.Update, 4, "pending"))
	if n := p.violations(t, "transition"); n != 1 {
		t.Errorf("%v transitions break the rule, want 1", n)
	}
}
