package consumer

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
)

func itemIn(p *pipeline, t *testing.T, order int) bson.M {
	t.Helper()
	items, _ := p.document(t, "orders", uuid(order))["items"].(bson.M)
	row, _ := items[uuid(1)].(bson.M)
	return row
}

// TestItemMoves: however little the events say of where it was.
func TestItemMoves(t *testing.T) {
	t.Parallel()
	full, none := itemColumns(1, 10, 1), []debezium.Column(nil)
	keyOnly := columns("id", uuid(1), "order_id", "")
	for name, before := range map[string][2][]debezium.Column{"full": {full, itemColumns(1, 20, 2)}, "default": {none, keyOnly}} {
		for _, batches := range []bool{true, false} {
			t.Run(fmt.Sprint(name, "/one batch ", batches), func(t *testing.T) {
				t.Parallel()
				p := newPipeline()
				log := []*kgo.Record{item(insert, 1, 1, nil, itemColumns(1, 10, 1)),
					item(update, 1, 2, before[0], itemColumns(1, 20, 2)), item(remove, 1, 3, before[1], nil)}
				feed := func(from, to int) {
					if batches {
						p.feed(t, log[from:to]...)
						return
					}
					for _, r := range log[from:to] {
						p.feed(t, r)
					}
				}
				feed(0, 2)
				if row := itemIn(p, t, 10); row["ended"] != true || row["productSku"] != "SKU-1" {
					t.Errorf("where it was there is %v", row)
				}
				if row := itemIn(p, t, 20); row["ended"] != nil || row["productSku"] != "SKU-1" {
					t.Errorf("where it went there is %v", row)
				}
				feed(2, 3)
				if row := itemIn(p, t, 20); row["ended"] != true {
					t.Errorf("the deleted item is %v", row)
				}
				feed(0, 2) // again
				for _, order := range []int{10, 20} {
					if row := itemIn(p, t, order); row["ended"] != true {
						t.Errorf("after a replay the deleted item in %d is %v", order, row)
					}
				}
				if len(p.letters) > 0 {
					t.Errorf("dead letters %+v", p.letters)
				}
			})
		}
	}
}

// TestItemMovesWithLargeValue: the tombstone that a move leaves has the same position as the item. Under an
// identity of some columns the event says where the item was, and not the large value.
func TestItemMovesWithLargeValue(t *testing.T) {
	t.Parallel()
	from := func(order int) []debezium.Column { return columns("id", uuid(1), "order_id", uuid(order)) }
	at := func(order, version int, name string) []debezium.Column {
		row := itemColumns(1, order, version)
		row[3].Value = name
		return row
	}
	for _, before := range [][3][]debezium.Column{{}, {from(10), from(20), from(20)}} {
		p := newPipeline()
		for _, r := range []*kgo.Record{item(insert, 1, 1, nil, at(10, 1, "old name")), item(update, 1, 2, before[0], at(20, 2, "new name")),
			item(update, 1, 3, before[1], at(20, 3, debezium.Unavailable)), item(update, 1, 4, before[2], at(30, 4, debezium.Unavailable))} {
			p.feed(t, r)
		}
		if got := itemIn(p, t, 30)["productName"]; got != "new name" {
			t.Errorf("before %v: the item that moved without its name has %v", before[2], got)
		}
	}
}

// TestReplayedDeleteKeepsParking: an event that is older than a parked one does not set it free.
func TestReplayedDeleteKeepsParking(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, orderRow(insert, 1, 7, 2, "pending"), orderRow(remove, 1, 7, 3, ""), orderRow(insert, 1, 7, 5, "pending"))
	p.feed(t, orderRow(remove, 1, 7, 3, ""))
	if got := p.document(t, "orders", uuid(1)); got["ended"] != true {
		t.Errorf("before its customer came the order is %v", got)
	}
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, customer(insert, 1, 1, "a@x"), customer(insert, 2, 5, "b@x"),
		record("order", debezium.Truncate, 9, nil, nil, nil),
		item(insert, 1, 1, nil, itemColumns(1, 10, 1)),
		record("customer", debezium.Truncate, 3, nil, nil, nil),
		record("order_item", debezium.Truncate, 3, nil, nil, nil), customer(insert, 1, 4, "c@x"))
	if p.document(t, "customers", uuid(2))["ended"] != nil {
		t.Error("a row that came after the truncate is gone")
	}
	if got := p.document(t, "customers", uuid(1)); got["ended"] != nil || got["email"] != "c@x" {
		t.Errorf("the row that was inserted again is %v", got)
	}
	if row := itemIn(p, t, 10); row["ended"] != true {
		t.Errorf("the item is %v", row)
	}
	p.feed(t, customer(insert, 1, 1, "a@x"))
	if got := p.document(t, "customers", uuid(1)); got["email"] != "c@x" {
		t.Errorf("after a replay the row is %v", got)
	}
	again := newTestConsumer(DefaultConfig(), p.memory).pipeline(p.memory, p.topic, 1)
	for _, late := range []*pipeline{p, again} {
		late.feed(t, customer(insert, 3, 2, "late@x"))
		if got := p.document(t, "customers", uuid(3)); got != nil {
			t.Errorf("a row from before the truncate that came late is %v", got)
		}
	}
}

func orderRow(op debezium.Op, id, customer, commit int, status string) *kgo.Record {
	key := columns("id", uuid(id))
	if op == debezium.Delete {
		return record("order", op, commit, key, key, nil)
	}
	return record("order", op, commit, key, nil, orderColumns(id, customer, commit, status))
}

func orderColumns(id, customer, commit int, status string) []debezium.Column {
	return columns("id", uuid(id), "customer_id", uuid(customer), "status", status, "total_amount", "1.50",
		"created_at", "2026-11-22T07:55:47.954888Z", "updated_at", "2026-11-22T07:55:47.954888Z",
		"lab_version", int64(commit))
}

// TestTransitions: judged against the state before, wherever that is, and not for a replay.
func TestTransitions(t *testing.T) {
	t.Parallel()
	log := func() []*kgo.Record {
		return []*kgo.Record{orderRow(insert, 1, 7, 1, "pending"), orderRow(update, 1, 7, 2, "paid"),
			orderRow(update, 1, 7, 3, "delivered"), orderRow(update, 1, 7, 4, "pending")}
	}
	count := func(t *testing.T, p *pipeline) int { return p.violations(t, "transition") }
	t.Run("one batch", func(t *testing.T) {
		t.Parallel()
		p := newPipeline(func(c *Config) {})
		p.feed(t, customer(insert, 7, 1, "a@x"))
		p.feed(t, log()...)
		first := count(t, p)
		if first == 0 {
			t.Error("delivered -> pending raised nothing")
		}
		p.feed(t, log()...)
		for _, r := range log() {
			p.feed(t, r)
		}
		if again := count(t, p); again != first {
			t.Errorf("a replay raised %d alarms", again-first)
		}
	})
	t.Run("stored", func(t *testing.T) {
		t.Parallel()
		p := newPipeline()
		p.feed(t, customer(insert, 7, 1, "a@x"))
		for _, r := range log() {
			p.settler.memo.states = nil // as after a restart
			p.feed(t, r)
		}
		if count(t, p) == 0 {
			t.Error("delivered -> pending raised nothing")
		}
		before := count(t, p)
		p.settler.memo.states = nil
		p.feed(t, log()...)
		if again := count(t, p); again != before {
			t.Errorf("a replay raised %d alarms", again-before)
		}
	})
}

// TestTransitionsReplayed: a member that remembers nothing raises none of the alarms again, however
// the events are cut into batches and whether or not they tell the value before.
func TestTransitionsReplayed(t *testing.T) {
	t.Parallel()
	statuses := []string{"pending", "paid", "delivered", "pending"}
	for _, full := range []bool{false, true} {
		var log []*kgo.Record
		for i, status := range statuses {
			op, before := insert, []debezium.Column(nil)
			if i > 0 {
				op = update
			}
			if full && i > 0 {
				before = orderColumns(1, 7, i, statuses[i-1])
			}
			log = append(log, record("order", op, i+1, columns("id", uuid(1)), before, orderColumns(1, 7, i+1, status)))
		}
		for batch := 1; batch <= len(log); batch++ {
			p := newPipeline()
			feed := func(p *pipeline) {
				for rest := log; len(rest) > 0; rest = rest[min(batch, len(rest)):] {
					p.feed(t, rest[:min(batch, len(rest))]...)
				}
			}
			p.feed(t, customer(insert, 7, 1, "a@x"))
			feed(p)
			if n := p.violations(t, "transition"); n != 2 {
				t.Errorf("full %t, batches of %d: %d alarms, want 2", full, batch, n)
			}
			again := pipelineBeside(p, 0)
			feed(again)
			if n := again.violations(t, "transition"); n != 2 {
				t.Errorf("full %t, batches of %d: %d alarms after a replay", full, batch, n)
			}
		}
	}
}

// TestFullMemo: rows are forgotten between batches, not between a batch's look at what is stored and its
// judgement.
func TestFullMemo(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, customer(insert, 7, 1, "a@x"))
	p.feed(t, orderRow(insert, 1, 7, 1, "paid"))
	for i := len(p.settler.memo.states); i < statesMax-1; i++ {
		p.settler.memo.states[strconv.Itoa(i)] = rowState{}
	}
	p.feed(t, orderRow(insert, 2, 7, 2, "paid"), orderRow(insert, 3, 7, 2, "paid"), orderRow(update, 1, 7, 3, "pending"))
	if n := p.violations(t, "transition"); n != 1 {
		t.Errorf("%d alarms, want 1", n)
	}
	p.feed(t, orderRow(insert, 4, 7, 4, "paid"))
	if n := len(p.settler.memo.states); n != 1 {
		t.Errorf("%d rows are remembered, want those of the last batch", n)
	}
}

// TestPassedOnce: an event that breaks no rule that rejects is counted once, also one that only breaks
// others, and one that is parked.
func TestPassedOnce(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, customer(insert, 8, 1, "b@x"), customer(insert, 9, 1, "no-address"), orderRow(insert, 1, 8, 2, "pending"),
		orderRow(update, 1, 8, 3, "delivered"), orderRow(remove, 1, 8, 4, ""), orderRow(insert, 2, 7, 2, "no status"))
	p.tick(t, time.Second)
	p.feed(t, customer(insert, 7, 5, "a@x"))
	p.tick(t, time.Second)
	if n := valueOf(t, p.settler.metrics.passed); n != 6 || p.violations(t, "transition") != 1 || len(p.letters) != 1 {
		t.Errorf("%v events passed, want 6; %d alarms, dead letters %+v", n, p.violations(t, "transition"), p.letters)
	}
}

// TestEveryRule: one that rejects does not keep the others from being asked.
func TestEveryRule(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		p := newPipeline()
		p.feed(t, customer(insert, 7, 1, "a@x"))
		p.feed(t, orderRow(insert, 1, 7, 1, "paid"))
		if !known {
			p.settler.memo.states = nil
		}
		row := orderColumns(1, 7, 2, "pending")
		row[3].Value = "-1"
		rules := p.feed(t, record("order", update, 2, columns("id", uuid(1)), nil, row))
		if len(rules) != 1 || rules[0] != "range" || p.violations(t, "range") != 1 || p.violations(t, "transition") != 1 {
			t.Errorf("known %t: dead letters by %v, range broken %d times, transition %d", known, rules,
				p.violations(t, "range"), p.violations(t, "transition"))
		}
		p.feed(t, orderRow(update, 1, 7, 3, "shipped"))
		if n := p.violations(t, "transition"); n != 1 || p.document(t, "orders", uuid(1))["status"] != "shipped" {
			t.Errorf("known %t: what was rejected counts as the state before: %d alarms", known, n)
		}
	}
	p := newPipeline()
	bad := itemColumns(1, 10, 1)
	bad[4].Value = int64(-1)
	bad[1].Value = nil
	rules := p.feed(t, item(insert, 1, 1, nil, bad))
	if len(rules) != 1 || rules[0] != ruleParent || p.violations(t, "required") != 1 || p.violations(t, "range") != 1 {
		t.Errorf("an item without its order: dead letters by %v", rules)
	} else if reason := p.letters[0].reason(); !strings.Contains(reason, "quantity") {
		t.Errorf("the letter's reason is %q", reason)
	}
}

func TestPositionsWentBack(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, customer(insert, 1, 100, "a@x"))
	p.feed(t, customer(update, 1, 50, "replayed@x"))
	event := changeOf("customer", update, 60, columns("id", uuid(1)), nil,
		columns("id", uuid(1), "email", "new@x", "status", "active", "updated_at", "2026-11-22T07:55:47Z",
			"lab_version", int64(1)))
	event.Source.TsUs += (2 * time.Hour).Microseconds()
	restored := wire(event, 60)
	p.planner.plan(&p.job, p.batch(restored))
	err := p.settler.try(context.Background(), &p.job)
	if err == nil || fateOf(err) != later {
		t.Fatalf("a log that began anew ended with %v, want it to wait for the operator", err)
	}
	higher := newPipeline(func(c *Config) { c.Epoch = 1 })
	higher.memory = p.memory
	higher.settler.store = p.memory
	higher.feed(t, restored)
	if got := p.document(t, "customers", uuid(1))["email"]; got != "new@x" {
		t.Errorf("with a higher epoch the email is %v", got)
	}
}

func TestDocumentsOfUnknownTables(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	row := columns("id", int64(7), "some_text", "x", "deleted", true, "position", int64(3))
	p.feed(t, record("invoice", insert, 1, row[:1], nil, row))
	want := bson.M{"_id": "7", "someText": "x", "deleted": true, "position": int64(3)}
	if diff := cmp.Diff(want, p.document(t, "invoice", "7")); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}
