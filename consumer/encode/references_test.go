package encode

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

func TestTransitions(t *testing.T) {
	t.Parallel()
	table := lab().Table("public", "order")
	for _, c := range []struct {
		from, to string
		legal    bool
	}{
		{"pending", "paid", true}, {"paid", "paid", true}, {"paid", "shipped", true},
		{"pending", "shipped", false},
		{"delivered", "pending", false}, {"delivered", "delivered", true}, {"done", "paid", true},
		{"paid", "done", false},
	} {
		v := table.Transition("status", c.from, c.to)
		if (v == nil) != c.legal {
			t.Errorf("%s -> %s: %+v", c.from, c.to, v)
		}
		if v != nil && (v.Rule != entity.RuleTransition || v.Field != "status" ||
			v.Severity != entity.Warn || v.Value != c.from+" -> "+c.to) {
			t.Errorf("%s -> %s: %+v", c.from, c.to, v)
		}
	}
	if v := table.Transition("customerId", "a", "b"); v != nil {
		t.Errorf("a member without transitions breaks %+v", v)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	table := lab().Table("public", "order")
	for before, want := range map[string]State{
		``: {Member: "status", Value: "paid"},
		`{"status":"pending"}`: {Member: "status", Value: "paid", Before: "pending",
			BeforeKnown: true},
		`{"status":"t1"}`:       {Member: "status", Value: "paid", Before: "t1", BeforeKnown: true},
		`{"status":null}`:       {Member: "status", Value: "paid"},
		`{"status":""}`:         {Member: "status", Value: "paid"}, // only the key is told
		`{"customer_id":"abc"}`: {Member: "status", Value: "paid"},
	} {
		e := encode(t, table, change{key: `{"id":"x"}`, before: before, after: `{"status":"paid"}`})
		if diff := cmp.Diff([]State{want}, e.States); diff != "" {
			t.Errorf("before %s (-want +got):\n%s", before, diff)
		}
	}
	for _, after := range []string{`{"status":null}`, `{"status":"__debezium_unavailable_value"}`,
		`{"a":"b"}`} {
		if e := encode(t, table, change{key: `{"id":"x"}`, after: after}); len(e.States) > 0 {
			t.Errorf("%s has the states %v", after, e.States)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	r := tables(t, map[string]string{"a.yaml": `entity: a
table: public.a
collection: as
key: id
fields: [{column: id, kind: int}]
`, "b.yaml": `entity: b
table: public.b
collection: as
key: id
embed: {into: a, field: bs, parent: a_id}
fields: [{column: id, kind: int}, {column: a_id, kind: int}, {column: other_id, kind: int}]
references:
  - {column: a_id, entity: a}
  - {column: other_id, entity: a, grace: 0s, missing: dead_letter}
  - {column: other_id, entity: b}
`})
	table := r.Table("public", "b")
	for other, want := range map[string][]Ref{
		`5`:    {{Collection: "as", ID: "5", Column: "other_id", Missing: entity.DeadLetter}},
		`null`: nil, `"__debezium_unavailable_value"`: nil, `"x"`: nil,
	} {
		e := encode(t, table, change{key: `{"id":1}`,
			after: `{"id":1,"a_id":2,"other_id":` + other + `}`})
		if diff := cmp.Diff(want, append([]Ref(nil), e.References...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", other, diff)
		}
	}
	address := encode(t, lab().Table("public", "address"),
		change{key: `{"id":"x"}`,
			after: `{"customer_id":` + quote(strings.ToUpper(someUUID)) + `}`})
	want := []Ref{{Collection: "customers", ID: someUUID, Column: "customer_id",
		Missing: entity.Store, Grace: 10 * time.Second}}
	if diff := cmp.Diff(want, address.References); diff != "" {
		t.Errorf("address (-want +got):\n%s", diff)
	}
}

func TestParents(t *testing.T) {
	t.Parallel()
	table := lab().Table("public", "order_item")
	for _, c := range []struct {
		op                            debezium.Op
		before, after, parent, former string
	}{
		{debezium.Create, ``, `{"order_id":"o1"}`, "o1", ""},
		{debezium.Update, `{"order_id":"o1"}`, `{"order_id":"o2"}`, "o2", "o1"},
		{debezium.Update, ``, `{"order_id":"o2"}`, "o2", ""},
		{debezium.Update, ``, `{"order_id":null}`, "", ""},
		{debezium.Delete, `{"id":"x","order_id":"o1"}`, ``, "o1", "o1"},
		{debezium.Delete, `{"id":"x","order_id":""}`, ``, "", ""}, // the default replica identity
		{debezium.Delete, `{"id":"x","order_id":0}`, ``, "", ""},
		{debezium.Delete, ``, ``, "", ""},
	} {
		e := encode(t, table, change{op: c.op, key: `{"id":"x"}`, before: c.before, after: c.after})
		if e.Parent != c.parent || e.Before != c.former || e.ID != "x" {
			t.Errorf("%s %s -> %s: parent %q, before %q, id %q", c.op, c.before, c.after, e.Parent,
				e.Before, e.ID)
		}
		if c.op == debezium.Delete && (e.Elements != nil || e.Violations != nil) {
			t.Errorf("a delete has members or breaks %v", e.Violations)
		}
	}
}
