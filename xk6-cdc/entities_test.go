package cdc

import (
	"slices"
	"testing"

	specs "github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// Every spec is written by the generator, and the generator writes only columns that the spec has.
func TestEntitiesHaveSpecs(t *testing.T) {
	t.Parallel()
	for _, spec := range specs.Default().All() {
		e, ok := entityByName(spec.Entity)
		if !ok {
			t.Errorf("the generator cannot write %s", spec.Entity)
			continue
		}
		parent, has := e.parent()
		if has != (len(spec.References) > 0) || has && spec.References[0].Entity != parent.String() {
			t.Errorf("%s: parent %v, the spec's references are %v", e, parent, spec.References)
		}
		for _, column := range append(writableColumns(e), "lab_version", spec.Key) {
			if !slices.ContainsFunc(spec.Fields, func(f specs.Field) bool { return f.Column == column }) {
				t.Errorf("%s: the spec has no column %s", e, column)
			}
		}
	}
	above := &row{key: "o", entity: order, parent: &row{key: "c", entity: customer}}
	for r, want := range map[*row]place{
		above.parent: {"customers", "c", ""},
		above:        {"orders", "o", ""},
		{key: "a", entity: address, parent: above.parent}: {"addresses", "a", ""},
		{key: "i", entity: orderItem, parent: above}:      {"orders", "o", "items"},
	} {
		if got := placeIn(r); got != want {
			t.Errorf("%s: got %v, want %v", r.entity, got, want)
		}
	}
	if got := newValues(above, ledger.Update, "paid", newRows(Entities{}, shape{}, 1, 1).random); len(got) != 2 {
		t.Errorf("an update of an order sets %v", got)
	}
}

// TestStatusesAreLegal: a history of statuses raises no alarm in the consumer.
func TestStatusesAreLegal(t *testing.T) {
	t.Parallel()
	random := newRows(Entities{}, shape{}, 1, 1).random
	for _, e := range []entity{customer, order} {
		table := specs.Default().Table("public", e.String())
		r := &row{entity: e}
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

// placeIn is where the tracker looks for a row.
func placeIn(r *row) place { return (&pending{kind: &kind{shelf: &shelves[r.entity]}, row: r}).place() }
