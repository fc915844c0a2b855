package tables

import (
	"slices"
	"testing"

	tables "github.com/cdclab/cdclab/consumer/encode"
	specs "github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/ledger"
)

// Every spec is written by the generator, and the generator writes only columns of the spec.
func TestEntitiesHaveSpecs(t *testing.T) {
	t.Parallel()
	for _, spec := range specs.Default().All() {
		e, ok := ByName(spec.Entity)
		if !ok {
			t.Errorf("the generator cannot write %s", spec.Entity)
			continue
		}
		parent, has := e.parent()
		if has != (len(spec.References) > 0) || has &&
			spec.References[0].Entity != parent.String() {
			t.Errorf("%s: parent %v, the spec's references are %v", e, parent, spec.References)
		}
		for _, column := range append(WritableColumns(e), "lab_version", spec.Key) {
			if !slices.ContainsFunc(spec.Fields, func(f specs.Field) bool {
				return f.Column == column
			}) {
				t.Errorf("%s: the spec has no column %s", e, column)
			}
		}
	}
	above := &Row{Key: "o", Table: Order, Parent: &Row{Key: "c", Table: Customer}}
	for r, want := range map[*Row]Place{
		above.Parent: {"customers", "c", ""},
		above:        {"orders", "o", ""},
		{Key: "a", Table: Address, Parent: above.Parent}: {"addresses", "a", ""},
		{Key: "i", Table: OrderItem, Parent: above}:      {"orders", "o", "items"},
	} {
		if got := placeIn(r); got != want {
			t.Errorf("%s: got %v, want %v", r.Table, got, want)
		}
	}
	if got := newValues(above, ledger.Update, "paid",
		NewRows(Entities{}, Shape{}, 1, 1).random); len(got) != 2 {
		t.Errorf("an update of an order sets %v", got)
	}
}

// TestStatusesAreLegal: a history of statuses raises no alarm in the consumer.
func TestStatusesAreLegal(t *testing.T) {
	t.Parallel()
	random := NewRows(Entities{}, Shape{}, 1, 1).random
	for _, e := range []Table{Customer, Order} {
		table := tables.NewTables(specs.Default()).Table("public", e.String())
		r := &Row{Table: e}
		before := r.nextStatus(ledger.Insert, random)
		seen := map[string]bool{before: true}
		for range 200 {
			r.status = before
			after := r.nextStatus(ledger.Update, random)
			if v := table.Transition("status", before, after); v != nil {
				t.Errorf("%s: %v", e, v)
			}
			before, seen[after] = after, true
			if before == "delivered" || before == "cancelled" {
				before = "pending"
			}
		}
		if len(seen) < 3 {
			t.Errorf("%s: only %v", e, seen)
		}
	}
}

// placeIn returns the tracker's place of a row.
func placeIn(r *Row) Place { return Shelves[r.Table].Place(r) }
