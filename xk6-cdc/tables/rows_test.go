package tables

import (
	"regexp"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/ledger"
)

var uuidFormat = regexp.MustCompile(
	`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// world judges the model's choices as PostgreSQL would: world knows the existing rows.
type world struct {
	exists  map[string]*Row
	holding map[string]bool
	lastID  map[string]int64
}

// perform applies a choice, and returns PostgreSQL's objection.
func (w *world) perform(c Choice) string {
	parent := c.Row.Parent
	switch {
	case c.ID <= w.lastID[c.Row.Key]:
		return "the ID does not grow"
	case c.Op == ledger.Insert && w.exists[c.Row.Key] != nil:
		return "the key exists"
	case c.Op == ledger.Insert && parent != nil && w.exists[parent.Key] == nil:
		return "the parent does not exist"
	case c.Op != ledger.Insert && w.exists[c.Row.Key] == nil:
		return "there is no such row"
	}
	if c.Op == ledger.Delete {
		for _, child := range w.exists {
			if child.Parent == c.Row {
				return "it has children"
			}
		}
		delete(w.exists, c.Row.Key)
	} else {
		w.exists[c.Row.Key] = c.Row
	}
	w.lastID[c.Row.Key] = c.ID
	return ""
}

// takeOne is a transaction of one write.
func takeOne(r *Rows, mix Mix, e Table, op ledger.Op) Choice {
	return r.Take(mix, Part{Table: e, Op: op})[0]
}

func TestRowsNeverOverlapAndNeverOrphan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weight := rapid.IntRange(0, 5)
		mix := Mix{1 + weight.Draw(t, "insert"), weight.Draw(t, "update"), weight.Draw(t, "delete")}
		entities := Entities{1, weight.Draw(t, "address"), weight.Draw(t, "order"),
			weight.Draw(t, "item")}
		shape := Shape{Reuse: rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "reuse")}
		model := NewRows(entities, shape, rapid.Int64().Draw(t, "seed"), 1)
		database := world{map[string]*Row{}, map[string]bool{}, map[string]int64{}}
		var outstanding []Choice
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			if len(outstanding) < 8 && rapid.Bool().Draw(t, "take") {
				c := takeOne(model, mix, Any, "")
				if database.holding[c.Row.Key] {
					t.Fatalf("%s %s is handed out twice", c.Row.Table, c.Row.Key)
				}
				database.holding[c.Row.Key] = true
				outstanding = append(outstanding, c)
				continue
			}
			if len(outstanding) == 0 {
				continue
			}
			at := rapid.IntRange(0, len(outstanding)-1).Draw(t, "which")
			c := outstanding[at]
			outstanding = slices.Delete(outstanding, at, at+1)
			delete(database.holding, c.Row.Key)
			fate := rapid.SampledFrom([]ledger.Fate{ledger.Acked, ledger.Acked, ledger.Failed,
				ledger.Indeterminate}).Draw(t, "fate")
			if fate == ledger.Acked || fate == ledger.Indeterminate &&
				rapid.Bool().Draw(t, "committed") {
				if refused := database.perform(c); refused != "" {
					t.Fatalf("%s %s: %s", c.Op, c.Row.Table, refused)
				}
			}
			if fate == ledger.Indeterminate {
				database.holding[c.Row.Key] = true // for ever
			}
			model.Settle(c, fate)
			if fate == ledger.Acked && c.Op == ledger.Delete && rapid.Bool().Draw(t, "seen") {
				model.End(c.Row)
			}
		}
	})
}

// TestReuse: new rows come under the keys of deleted rows of the same table, each key once, as soon
// as the deletes were seen, and never without the option.
func TestReuse(t *testing.T) {
	t.Parallel()
	for _, share := range []float64{0, 1} {
		model := NewRows(Entities{1, 1, 1, 1}, Shape{Reuse: share}, 1, 1)
		insert := func() string {
			c := takeOne(model, Mix{}, Customer, ledger.Insert)
			model.Settle(c, ledger.Acked)
			return c.Row.Key
		}
		first := insert()
		c := takeOne(model, Mix{}, Customer, ledger.Delete)
		model.Settle(c, ledger.Acked)
		before := insert()
		model.End(c.Row)
		order := takeOne(model, Mix{}, Order, ledger.Insert)
		after, another := insert(), insert()
		if before == first || order.Row.Key == first || (after == first) != (share == 1) ||
			another == first {
			t.Errorf("share %v: keys %s, %s, %s, %s after the row %s", share, before,
				order.Row.Key, after, another, first)
		}
	}
}

func TestRowsTake(t *testing.T) {
	t.Parallel()
	model := NewRows(Entities{1, 1, 1, 1}, Shape{}, 1, 1)
	c := takeOne(model, Mix{1, 1, 1}, OrderItem, ledger.Delete)
	if c.Op != ledger.Insert || c.Row.Table != Customer || !c.Substituted() {
		t.Errorf("of nothing: %s %s, substituted %v; want the insert of a customer", c.Op,
			c.Row.Table, c.Substituted())
	}
	if !uuidFormat.MatchString(c.Row.Key) {
		t.Errorf("key %q is no UUID of version 4", c.Row.Key)
	}
	if again := takeOne(model, Mix{1, 1, 1}, Customer, ledger.Update); again.Row == c.Row {
		t.Error("a row whose insert is outstanding is updated")
	}
	model.Settle(c, ledger.Acked)
	child := takeOne(model, Mix{1, 1, 1}, Order, ledger.Insert)
	if child.Row.Parent != c.Row || child.Substituted() {
		t.Fatalf("the order is below %v", child.Row.Parent)
	}
	if d := takeOne(model, Mix{1, 1, 1}, Customer, ledger.Delete); d.Op != ledger.Insert ||
		!d.Substituted() {
		t.Error("a customer is deleted while the insert of its order is outstanding")
	}
	model.Settle(child, ledger.Failed)
	if d := takeOne(model, Mix{1, 1, 1}, Customer, ledger.Delete); d.Op != ledger.Delete ||
		d.Row != c.Row {
		t.Error("a customer without orders is not deleted")
	}
	if _, substituted := model.Counts(); substituted != 3 {
		t.Errorf("%d substituted, want 3", substituted)
	}
}

func TestRowsFollowTheSeed(t *testing.T) {
	t.Parallel()
	choose := func(seed, salt int64) (choices []string, keys []string) {
		model := NewRows(Entities{4, 3, 2, 1}, Shape{}, seed, salt)
		for range 200 {
			c := takeOne(model, Mix{60, 30, 10}, Any, "")
			choices = append(choices, string(c.Op)+" "+c.Row.Table.String())
			keys = append(keys, c.Row.Key)
			model.Settle(c, ledger.Acked)
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

// heapInUse returns the size of all reachable memory in bytes.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A generator running for hours forgets rows, because rows would take all memory in the end. A
// forgotten row is not written again, and the other rows are as before.
func TestRowsForget(t *testing.T) { // not parallel: it measures the heap
	for name, s := range map[string]Shape{"uniform": {}, "zipf": {Zipf: 1.1}} {
		model := NewRows(Entities{4, 2, 2, 2}, s, 1, 1)
		load := func(n int) float64 {
			for range n {
				model.Settle(takeOne(model, Mix{Insert: 70, Update: 20, Delete: 10}, Any, ""),
					ledger.Acked)
			}
			return float64(heapInUse()) / (1 << 20)
		}
		first := load(200_000)
		if second := load(400_000); second > 1.1*first {
			t.Errorf("%s: %.1f MiB after 200,000 writes, %.1f after 600,000", name, first, second)
		}
		for e := range Count {
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

// An order's items belong to the order when one transaction makes both.
func TestTransactionIsRelated(t *testing.T) {
	t.Parallel()
	model := NewRows(Entities{1, 1, 1, 1}, Shape{}, 1, 1)
	insertAll(model, 20, Customer)
	insertAll(model, 20, Order)
	insert := func(e Table) Part { return Part{Table: e, Op: ledger.Insert} }
	for range 20 {
		c := settled(model, model.Take(Mix{}, insert(Customer), insert(Address), insert(Order),
			insert(OrderItem), insert(OrderItem)))
		if c[1].Row.Parent != c[0].Row || c[2].Row.Parent != c[0].Row ||
			c[3].Row.Parent != c[2].Row || c[4].Row.Parent != c[2].Row {
			t.Fatalf("not related: %+v", c)
		}
		if c[2].Row.children != 2 {
			t.Errorf("the order has %d children", c[2].Row.children)
		}
		for i := range c[1:] {
			if c[i+1].ID != c[i].ID+1 {
				t.Errorf("IDs %d, %d", c[i].ID, c[i+1].ID)
			}
		}
	}
}

// Every key of a run carries the run's marker, in every stripe and for rows in and outside the
// model.
func TestKeysOfARunCarryItsMarker(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		marker := ledger.Marker(rapid.Uint64Range(1, 1<<48-1).Draw(t, "marker"))
		model := NewRows(Entities{1, 1, 1, 1}, Shape{}, rapid.Int64().Draw(t, "seed"), 1)
		model.Mark(marker)
		model.BeIn(Stripe{number: rapid.Int64Range(0, 1<<stripeBits-1).Draw(t, "stripe"),
			isPart: rapid.Bool().Draw(t, "is part")})
		first, last := marker.Bounds()
		for range 20 {
			if _, key := model.Outside(); key < first || key > last {
				t.Fatalf("%s is not between %s and %s", key, first, last)
			}
		}
	})
}
