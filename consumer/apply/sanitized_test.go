package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
)

// strange is a record of a table in the topic that Debezium names after the table; op "" is null.
func strange(topic, table, op string, id int, offset int64) *kgo.Record {
	r := &kgo.Record{Topic: topic, Offset: offset, Timestamp: consumertest.Time,
		Key: fmt.Appendf(nil, `{"id":%d}`, id)}
	if op != "" {
		r.Value = fmt.Appendf(nil, `{"before":null,"after":{"id":%d,"v":1},"source":{`+
			`"version":"3.6","connector":"postgresql","name":"cdc","ts_ms":1,"db":"d",`+
			`"sequence":"[\"900\",\"%d\"]","schema":"public","table":%q,"txId":7,"lsn":%d},`+
			`"op":%q,"ts_ms":1}`, id, 1000+offset, table, 1000+offset, op)
	}
	return r
}

// TestNullRecordsOfSanitizedTopics: a topic's name does not tell the table where Debezium replaced
// characters, and a compacted topic may begin with a null record after a restart: the table is kept
// in the store. Where two tables share the topic's name, the null record is a letter.
func TestNullRecordsOfSanitizedTopics(t *testing.T) {
	t.Parallel()
	for table, topic := range map[string]string{"cart item": "cart_item", "обед": "____",
		"cart-item": "cart-item",
		"a.b":       "a.b", "plain": "plain"} {
		topic = "cdc.public." + topic
		first := newPipeline()
		first.feed(t, strange(topic, table, "c", 1, 1), strange(topic, table, "c", 2, 2))
		next := member(DefaultConfig(), first.memory).pipeline(first.memory)
		if err := next.BeginAt(context.Background(), topic, 3, 0); err != nil {
			t.Fatal(err)
		}
		rules := next.feed(t, strange(topic, table, "", 1, 5))
		one, two := livingRows(t, next, "1"), livingRows(t, next, "2")
		if len(rules) > 0 || one != 0 || two != 1 {
			t.Errorf("%s: %d and %d rows live; letters by %v", table, one, two, rules)
		}
	}
}

// TestNullRecordsOfTablesWithOneTopic: two tables whose names Debezium makes one topic of.
func TestNullRecordsOfTablesWithOneTopic(t *testing.T) {
	t.Parallel()
	const topic = "cdc.public.cart_item"
	for _, restart := range []bool{false, true} {
		p := newPipeline()
		records := []*kgo.Record{strange(topic, "cart item", "c", 1, 1),
			strange(topic, "cart_item", "c", 1, 2), strange(topic, "cart_item", "c", 3, 3)}
		if restart {
			p.feed(t, records...)
			p = member(DefaultConfig(), p.memory).pipeline(p.memory)
			records = nil
		}
		if err := p.BeginAt(context.Background(), topic, 1, 0); err != nil {
			t.Fatal(err)
		}
		rules := p.feed(t, append(records, strange(topic, "", "", 1, 9))...)
		if got := strings.Join(rules, " "); got != "incomplete" || livingRows(t, p, "1") != 2 {
			t.Errorf("restart %t: letters by %q, %d rows live", restart, got, livingRows(t, p, "1"))
		}
	}
}

// livingRows counts the living documents with the id, in all collections.
func livingRows(t *testing.T, p *pipeline, id string) (n int) {
	t.Helper()
	for name := range p.memory.Memory.Documents {
		if name == documents.KeptCollection {
			continue
		}
		if d := consumertest.State(t, p.memory, name, id); d != nil && d["ended"] != true {
			n++
		}
	}
	return n
}
