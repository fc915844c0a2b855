package cdc

import (
	"regexp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

var uuidFormat = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// world is PostgreSQL as it would judge the model's choices: it knows which rows exist.
type world struct {
	exists  map[string]*row
	holding map[string]bool
	lastID  map[string]int64
}

// perform applies a choice, and says what PostgreSQL would refuse.
func (w *world) perform(c choice) string {
	parent := c.row.parent
	switch {
	case c.id <= w.lastID[c.row.key]:
		return "the ID does not grow"
	case c.op == ledger.Insert && w.exists[c.row.key] != nil:
		return "the key exists"
	case c.op == ledger.Insert && parent != nil && w.exists[parent.key] == nil:
		return "the parent does not exist"
	case c.op != ledger.Insert && w.exists[c.row.key] == nil:
		return "there is no such row"
	}
	if c.op == ledger.Delete {
		for _, child := range w.exists {
			if child.parent == c.row {
				return "it has children"
			}
		}
		delete(w.exists, c.row.key)
	} else {
		w.exists[c.row.key] = c.row
	}
	w.lastID[c.row.key] = c.id
	return ""
}

// takeOne is a transaction of one write.
func takeOne(r *rows, mix Mix, e entity, op ledger.Op) choice {
	return r.take(mix, part{entity: e, op: op})[0]
}

func TestRowsNeverOverlapAndNeverOrphan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weight := rapid.IntRange(0, 5)
		mix := Mix{1 + weight.Draw(t, "insert"), weight.Draw(t, "update"), weight.Draw(t, "delete")}
		entities := Entities{1, weight.Draw(t, "address"), weight.Draw(t, "order"), weight.Draw(t, "item")}
		model := newRows(entities, shape{}, rapid.Int64().Draw(t, "seed"), 1)
		database := world{map[string]*row{}, map[string]bool{}, map[string]int64{}}
		var outstanding []choice
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			if len(outstanding) < 8 && rapid.Bool().Draw(t, "take") {
				c := takeOne(model, mix, anyEntity, "")
				if database.holding[c.row.key] {
					t.Fatalf("%s %s is handed out twice", c.row.entity, c.row.key)
				}
				database.holding[c.row.key] = true
				outstanding = append(outstanding, c)
				continue
			}
			if len(outstanding) == 0 {
				continue
			}
			at := rapid.IntRange(0, len(outstanding)-1).Draw(t, "which")
			c := outstanding[at]
			outstanding = slices.Delete(outstanding, at, at+1)
			delete(database.holding, c.row.key)
			fate := rapid.SampledFrom([]ledger.Fate{ledger.Acked, ledger.Acked, ledger.Failed, ledger.Indeterminate}).Draw(t, "fate")
			if fate == ledger.Acked || fate == ledger.Indeterminate && rapid.Bool().Draw(t, "committed") {
				if refused := database.perform(c); refused != "" {
					t.Fatalf("%s %s: %s", c.op, c.row.entity, refused)
				}
			}
			if fate == ledger.Indeterminate {
				database.holding[c.row.key] = true // for ever
			}
			model.settle(c, fate)
		}
	})
}

func TestRowsTake(t *testing.T) {
	t.Parallel()
	model := newRows(Entities{1, 1, 1, 1}, shape{}, 1, 1)
	c := takeOne(model, Mix{1, 1, 1}, orderItem, ledger.Delete)
	if c.op != ledger.Insert || c.row.entity != customer || !c.substituted {
		t.Errorf("of nothing: %s %s, substituted %v; want the insert of a customer", c.op, c.row.entity, c.substituted)
	}
	if !uuidFormat.MatchString(c.row.key) {
		t.Errorf("key %q is no UUID of version 4", c.row.key)
	}
	if again := takeOne(model, Mix{1, 1, 1}, customer, ledger.Update); again.row == c.row {
		t.Error("a row whose insert is outstanding is updated")
	}
	model.settle(c, ledger.Acked)
	child := takeOne(model, Mix{1, 1, 1}, order, ledger.Insert)
	if child.row.parent != c.row || child.substituted {
		t.Fatalf("the order is below %v", child.row.parent)
	}
	if d := takeOne(model, Mix{1, 1, 1}, customer, ledger.Delete); d.op != ledger.Insert || !d.substituted {
		t.Error("a customer is deleted while the insert of its order is outstanding")
	}
	model.settle(child, ledger.Failed)
	if d := takeOne(model, Mix{1, 1, 1}, customer, ledger.Delete); d.op != ledger.Delete || d.row != c.row {
		t.Error("a customer without orders is not deleted")
	}
	if _, substituted := model.counts(); substituted != 3 {
		t.Errorf("%d substituted, want 3", substituted)
	}
}

func TestRowsFollowTheSeed(t *testing.T) {
	t.Parallel()
	choose := func(seed, salt int64) (choices []string, keys []string) {
		model := newRows(Entities{4, 3, 2, 1}, shape{}, seed, salt)
		for range 200 {
			c := takeOne(model, Mix{60, 30, 10}, anyEntity, "")
			choices = append(choices, string(c.op)+" "+c.row.entity.String())
			keys = append(keys, c.row.key)
			model.settle(c, ledger.Acked)
		}
		return choices, keys
	}
	first, firstKeys := choose(7, 1)
	second, secondKeys := choose(7, 2)
	other, _ := choose(8, 1)
	if !slices.Equal(first, second) {
		t.Error("one seed makes different choices")
	}
	if slices.Equal(first, other) {
		t.Error("two seeds make the same choices")
	}
	if firstKeys[0] == secondKeys[0] {
		t.Error("two runs of one seed collide in their keys")
	}
}

// A generator that runs for hours forgets rows: they would take all memory in the end. What it forgets it
// does not write again, and the others are as they were.
func TestRowsForget(t *testing.T) { // not parallel: it measures the heap
	for name, s := range map[string]shape{"uniform": {}, "zipf": {zipf: 1.1}} {
		model := newRows(Entities{4, 2, 2, 2}, s, 1, 1)
		load := func(n int) float64 {
			for range n {
				model.settle(takeOne(model, Mix{Insert: 70, Update: 20, Delete: 10}, anyEntity, ""), ledger.Acked)
			}
			return float64(heapInUse()) / (1 << 20)
		}
		first := load(200_000)
		if second := load(400_000); second > 1.1*first {
			t.Errorf("%s: %.1f MiB after 200,000 writes, %.1f after 600,000", name, first, second)
		}
		for e := range entityCount {
			live := model.live[e]
			if len(live) > mostLive {
				t.Errorf("%s: %d live rows of %s, at most %d", name, len(live), e, mostLive)
			}
			for at, r := range live {
				if r.at != at {
					t.Fatalf("%s: row %d of %s thinks it is at %d", name, at, e, r.at)
				}
			}
		}
	}
}
