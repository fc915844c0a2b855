package apply

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents/documentstest"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// TestTopicIsOfTable: who may write a topic writes, ends and truncates the rows of the topic's
// table alone.
func TestTopicIsOfTable(t *testing.T) {
	t.Parallel()
	for _, op := range []debezium.Op{debezium.Create, debezium.Update, debezium.Delete,
		debezium.Read, debezium.Truncate} {
		p := newPipeline()
		p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"))
		before := p.document(t, "customers", consumertest.UUID(1))
		forged := consumertest.Customer(op, 1, 9, "forged@x")
		if op == debezium.Truncate {
			forged = consumertest.Record("customer", op, 9, nil, nil, nil)
		}
		forged.Topic = "cdc.public.note"
		if rules := p.feed(t, forged); len(rules) != 1 || rules[0] != fate.RuleTopic {
			t.Errorf("%s: rejected by %v, want %s", op, rules, fate.RuleTopic)
		}
		after := p.document(t, "customers", consumertest.UUID(1))
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s from another topic (-before +after):\n%s", op, diff)
		}
	}
}

// TestTablesMax: a topic cannot make collections and metrics without end.
func TestTablesMax(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.TablesMax = 3
	p := newPipeline()
	shared := NewShared(config, encode.NewTables(sharedRegistry()), p.memory,
		p.Shared.metrics.Metrics, p.Shared.log, nil)
	p.Applier = shared.pipeline(p.memory).Applier
	p.Applier.send = p.keepLetters
	var records []*kgo.Record
	for n := range 100 {
		records = append(records, consumertest.HostileRow(fmt.Sprint("t", n), `"1"`, `"v":1`, ""))
	}
	rules := p.feed(t, append(records, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"))...)
	if len(rules) != 97 || rules[0] != fate.RuleTables || rules[96] != fate.RuleTables {
		t.Errorf("rejected by %v, want 97 by %s", rules, fate.RuleTables)
	}
	if p.document(t, "customers", consumertest.UUID(1))["email"] != "a@x" {
		t.Error("the row of a table with a spec was not written")
	}
	if n := consumertest.EventCount(t, p.Shared.metrics.Registry, otherEntity,
		telemetry.OutcomeDeadLetter); n != 97 {
		t.Errorf("%v dead letters of the entity %s, want 97", n, otherEntity)
	}
}

// refusedNames are forms of names that MongoDB refuses for a collection or a member, and the
// neighbours of each, as they stand in JSON.
func refusedNames() map[string]string {
	names := map[string]string{"empty": "", "NUL": `\u0000`, "a NUL inside": `a\u0000b`,
		"dollar": "$", "dollars": "$$", "a dollar inside": "a$b", "the oplog": "oplog.$main",
		"dot": ".", "dots": "..", "a dot first": ".a", "a dot last": "a.", "a path": "a.b.c",
		"system": "system", "a system collection": "system.users", "views": "system.views",
		"buckets": "system.buckets.a", "profile": "system.profile", "blanks": "  ", "tab": `\t`,
		"line": `\n`, "quote": `\"`, "backslash": `\\`, "slash": "/", "star": "*",
		"unicode": "\u00fc\u20ac\U0001f600", "half a pair": `\ud83d`, "no text": "\xff\xfe",
		"a mark of order": "\ufeff", "from right to left": "\u202ea", "composed": "e\u0301",
		"a wide dollar": "\uff04a", "a wide dot": "\uff0e", "_id": "_id", "the lab's": "cdc_kept",
		"metadata": "cdcMetadata", "embedded": "cdcEmbedded", "live": "a_live",
		"related": "customers_related", "a live": "_live", "declared": "customers"}
	for _, bytes := range []int{100, 120, 180, 183, 184, 191, 192, 240, 254, 255, 256, 1000,
		1 << 16} {
		names[fmt.Sprint(bytes, " bytes")] = strings.Repeat("n", bytes)
		names[fmt.Sprint(bytes, " bytes of dots")] = strings.Repeat(".", bytes)
		names[fmt.Sprint(bytes, " bytes of letters")] = strings.Repeat("\u00fc", bytes/2)
	}
	return names
}

// collectionFault says why MongoDB refuses the collection beside a database of the longest name and
// with the suffix of a view; "" where MongoDB does not. Source: MongoDB's manual, "Limits and
// Thresholds" and "Naming Restrictions".
func collectionFault(name string) string {
	switch {
	case name == "":
		return "is empty"
	case strings.ContainsAny(name, "$\x00"):
		return "has a $ or a NUL"
	case strings.HasPrefix(name, "system."), strings.HasPrefix(name, "."):
		return "begins like a collection of MongoDB's own, or with a dot"
	case 63+len(".")+len(name)+len(entity.RelatedSuffix) > 255:
		return "is too long"
	}
	return ""
}

// TestRefusedNames: whatever the names of schema, table and column are, what comes to the store has
// names that MongoDB takes, the rest is a dead letter, and the rows beside are written.
func TestRefusedNames(t *testing.T) {
	t.Parallel()
	for form, name := range refusedNames() {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			p := newPipeline(func(c *Config) {
				if err := c.TopicTables.Set("any=public.*,any=*.t"); err != nil {
					t.Fatal(err)
				}
			})
			table := consumertest.HostileRow(name, `"1"`, `"v":1`, "")
			schema := consumertest.HostileRow("t", `"1"`, `"v":1`, "")
			schema.Value = bytes.Replace(schema.Value, []byte(`"schema":"public"`),
				[]byte(`"schema":"`+name+`"`), 1)
			column := consumertest.HostileRow("columns", `"1"`, `"`+name+`":1`, "")
			left := consumertest.HostileRow("columns", `"2"`,
				`"`+name+`":"__debezium_unavailable_value"`, "")
			records := []*kgo.Record{table, schema, column, left,
				consumertest.HostileRow("sound", `"1"`, `"v":1`, "")}
			for _, r := range records {
				r.Topic = "any"
			}
			rules := p.feed(t, records...)
			for _, rule := range rules {
				if !slices.Contains([]string{fate.RuleNamespace, fate.RuleUndecodable,
					fate.RuleTables, entity.RuleName}, rule) {
					t.Errorf("rejected by %s", rule)
				}
			}
			if p.document(t, "sound", "1") == nil || p.marked != int64(len(records)) {
				t.Errorf("the sound row is not written, or the offset %d stands", p.marked)
			}
			for collection, documents := range p.memory.Documents {
				if fault := collectionFault(collection); fault != "" {
					t.Errorf("the store is asked for %.300q, which %s", collection, fault)
				}
				for _, document := range documents {
					for member := range document {
						if member == "" || member[0] == '$' ||
							strings.ContainsAny(member, ".\x00") {
							t.Errorf("the store is given the member %.300q", member)
						}
					}
				}
			}
		})
	}
}

// TestNamesOfTables: the store is not asked about a table whose name MongoDB refuses.
func TestNamesOfTables(t *testing.T) {
	t.Parallel()
	for name, table := range map[string]string{
		"long": strings.Repeat("t", 250), "long when escaped": strings.Repeat(".", 63) + "t",
		"with a NUL": "a\\u0000b", "huge": strings.Repeat("t", 1<<20),
	} {
		p := newPipeline(func(c *Config) {
			if err := c.TopicTables.Set("any=public.*"); err != nil {
				t.Fatal(err)
			}
		})
		r := consumertest.HostileRow(table, `"1"`, `"v":1`, "")
		r.Topic = "any"
		if rules := p.feed(t, r); len(rules) != 1 || rules[0] != fate.RuleNamespace {
			t.Errorf("%s: rejected by %v, want %s", name, rules, fate.RuleNamespace)
		}
		if len(p.memory.Documents) > 0 {
			t.Errorf("%s: the store was asked", name)
		}
	}
}

// refusing is a store that refuses every look at a row.
type refusing struct {
	*documentstest.WatchedStore
	id string
}

func (s refusing) Find(ctx context.Context, collection string, ids []string, members ...string) (
	map[string]bson.Raw, error) {
	if slices.Contains(ids, s.id) {
		return nil, fate.Rejectf(fate.RuleNamespace, "no such collection")
	}
	return s.WatchedStore.Find(ctx, collection, ids, members...)
}

// TestRefusedLooks: a look at the store that the store refuses ends the record alone, not the
// partition.
func TestRefusedLooks(t *testing.T) {
	t.Parallel()
	memory := documentstest.NewWatchedStore()
	p := member(DefaultConfig(), refusing{memory, consumertest.UUID(2)}).pipeline(memory)
	var records []*kgo.Record
	for id := 1; id <= 3; id++ {
		records = append(records, consumertest.Customer(consumertest.Update, id, id, "a@x"))
	}
	rules := p.feed(t, records...)
	if len(rules) != 1 || rules[0] != fate.RuleNamespace || p.letters[0].Record != records[1] {
		t.Errorf("rejected by %v: %+v", rules, p.letters)
	}
	for id := 1; id <= 3; id++ {
		if (p.document(t, "customers", consumertest.UUID(id)) == nil) != (id == 2) {
			t.Errorf("customer %d: %v", id, p.document(t, "customers", consumertest.UUID(id)))
		}
	}
	if p.marked != 3 {
		t.Errorf("offset %d marked, want 3", p.marked)
	}
}
