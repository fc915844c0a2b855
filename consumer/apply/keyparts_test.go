package apply

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
)

// ticket is a change of the row {a, b, n} of the table ticket, whose key has the columns a and b.
// The column b names the document.
func ticket(op debezium.Op, a int, b string, n, commit int) *kgo.Record {
	row := consumertest.Columns("a", int64(a), "b", b, "n", int64(n), "customer_id",
		consumertest.UUID(7))
	if op == debezium.Delete {
		row[3].Value = nil
		return consumertest.Record("ticket", op, commit, row[:2], row, nil)
	}
	return consumertest.Record("ticket", op, commit, row[:2], nil, row)
}

// ticketTables are the tables of customers and of tickets, which refer to customers.
func ticketTables(t *testing.T) *encode.Tables {
	t.Helper()
	customer, err := os.ReadFile("../entity/specs/customer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	registry, err := entity.Load(fstest.MapFS{"customer.yaml": {Data: customer},
		"ticket.yaml": {Data: []byte("entity: ticket\ntable: public.ticket\ncollection: tickets\n" +
			"key: b\nfields: [{column: b, kind: text}, {column: customer_id, kind: uuid}]\n" +
			"references:\n  - {column: customer_id, entity: customer}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	return encode.NewTables(registry)
}

// TestParkedRowsWithPartOfTheKey: a row waits for another row, and a delete or a null record comes
// whose key is empty in part. The parked row ends if the row has the key and the values before;
// otherwise the event is a letter, and the parked row stays.
func TestParkedRowsWithPartOfTheKey(t *testing.T) {
	t.Parallel()
	null := func(b string) *kgo.Record {
		r := ticket(debezium.Delete, 1, b, 0, 0)
		r.Value, r.Headers = nil, nil
		return r
	}
	for name, c := range map[string]struct {
		parked []*kgo.Record
		last   *kgo.Record
		rules  string
		living string
	}{
		"the row's": {[]*kgo.Record{ticket(debezium.Create, 1, "", 3, 10)},
			ticket(debezium.Delete, 1, "", 3, 20), "", ""},
		"another row's values": {[]*kgo.Record{ticket(debezium.Create, 1, "", 3, 10)},
			ticket(debezium.Delete, 1, "", 4, 20), "key", `""`},
		"values changed since": {[]*kgo.Record{ticket(debezium.Create, 1, "", 3, 10),
			ticket(debezium.Update, 1, "", 4, 15)}, ticket(debezium.Delete, 1, "", 4, 20), "", ""},
		"the values before those": {[]*kgo.Record{ticket(debezium.Create, 1, "", 3, 10),
			ticket(debezium.Update, 1, "", 4, 15)}, ticket(debezium.Delete, 1, "", 3, 20), "key",
			`""`},
		"older than the parked row": {[]*kgo.Record{ticket(debezium.Create, 1, "", 3, 30)},
			ticket(debezium.Delete, 1, "", 3, 20), "", `""`},
		"a part not sent": {[]*kgo.Record{ticket(debezium.Create, 1, "x", 3, 10)},
			ticket(debezium.Delete, 1, "", 3, 20), "key", `"x"`},
		"ended while parked": {[]*kgo.Record{ticket(debezium.Create, 1, "", 3, 10),
			ticket(debezium.Delete, 1, "", 3, 15)}, ticket(debezium.Delete, 1, "", 3, 20), "key",
			""},
		"a null record": {[]*kgo.Record{ticket(debezium.Create, 1, "", 3, 10)}, null(""),
			"incomplete", `""`},
		"a null record of a whole key": {[]*kgo.Record{ticket(debezium.Create, 1, "x", 3, 10)},
			null("x"), "", ""},
	} {
		p := newPipeline()
		p.planner.tables = ticketTables(t)
		p.feed(t, c.parked...)
		if p.parking.count != len(c.parked) && name != "ended while parked" {
			t.Errorf("%s: %d are parked", name, p.parking.count)
		}
		p.offset += 5 // a hole
		rules := p.feed(t, c.last)
		p.feed(t, consumertest.Customer(consumertest.Insert, 7, 40, "a@x"))
		p.tick(t, time.Second)
		var living []string
		for id, document := range p.memory.Documents["tickets"] {
			if about := fmt.Sprint(document["cdcMetadata"]); !strings.Contains(about, "deleted") {
				living = append(living, fmt.Sprintf("%q", id))
			}
		}
		slices.Sort(living)
		if strings.Join(rules, " ") != c.rules || strings.Join(living, " ") != c.living {
			t.Errorf("%s: letters %q, want %q; %q live, want %q", name, rules, c.rules, living,
				c.living)
		}
	}
}
