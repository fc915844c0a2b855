package apply

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents/documentstest"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
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

// TestFoundTable: neither a row of another source, schema, table or topic nor a row after a change
// of the specs is taken for a row of the table found last.
func TestFoundTable(t *testing.T) {
	t.Parallel()
	specs := fstest.MapFS{}
	declare := func(collection string) {
		specs["shop.yaml"] = &fstest.MapFile{Data: []byte("entity: shop\ntable: public.shop\n" +
			"collection: " + collection + "\nkey: id\n" +
			"fields: [{column: id, kind: int, required: true}]\n")}
	}
	declare("shops")
	registry, err := entity.Load(specs)
	if err != nil {
		t.Fatal(err)
	}
	tables, memory := encode.NewTables(registry), documentstest.NewWatchedStore()
	p := NewShared(DefaultConfig(), tables, memory, telemetry.NewMetrics(),
		slog.New(slog.DiscardHandler), nil).pipeline(memory)
	commit := 0
	feed := func(topic, prefix, schema, table string) []string {
		commit++
		id := consumertest.Columns("id", int64(commit))
		r := consumertest.Record(table, debezium.Create, commit, id, nil, id)
		r.Topic = topic
		for old, text := range map[string]string{`"name":"cdc"`: `"name":"` + prefix + `"`,
			`"schema":"public"`: `"schema":"` + schema + `"`} {
			if !bytes.Contains(r.Value, []byte(old)) {
				t.Fatalf("no %s in %s", old, r.Value)
			}
			r.Value = bytes.Replace(r.Value, []byte(old), []byte(text), 1)
		}
		return p.feed(t, r)
	}
	right := func() {
		if rules := feed("cdc.public.shop", "cdc", "public", "shop"); rules != nil {
			t.Fatalf("a row of the table is rejected by %v", rules)
		}
	}
	right()
	for _, s := range [][4]string{{"cdc.public.shop", "other", "public", "shop"},
		{"cdc.public.shop", "cdc", "hr", "shop"}, {"cdc.public.shop", "cdc", "public", "till"},
		{"cdc.public.till", "cdc", "public", "shop"}} {
		right()
		if rules := feed(s[0], s[1], s[2], s[3]); !slices.Equal(rules, []string{fate.RuleTopic}) {
			t.Errorf("a row of %v is rejected by %v, want %s", s, rules, fate.RuleTopic)
		}
	}
	right()
	declare("stores")
	if changed, err := tables.Reload(specs); err != nil || !changed {
		t.Fatalf("reload: %t, %v", changed, err)
	}
	right()
	if p.document(t, "stores", fmt.Sprint(commit)) == nil {
		t.Error("a row after a change of the specs is not in the new collection")
	}
}
