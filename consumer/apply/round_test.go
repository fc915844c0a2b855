package apply

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

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

func itemIn(p *pipeline, t *testing.T, order int) bson.M {
	t.Helper()
	items, _ := p.document(t, "orders", consumertest.UUID(order))["items"].(bson.M)
	row, _ := items[consumertest.UUID(1)].(bson.M)
	return row
}

// TestItemMoves: however little the events say of the old place.
func TestItemMoves(t *testing.T) {
	t.Parallel()
	full, none := consumertest.ItemColumns(1, 10, 1), []debezium.Column(nil)
	keyOnly := consumertest.Columns("id", consumertest.UUID(1), "order_id", "")
	for name, before := range map[string][2][]debezium.Column{
		"full": {full, consumertest.ItemColumns(1, 20, 2)}, "default": {none, keyOnly}} {
		for _, batches := range []bool{true, false} {
			t.Run(fmt.Sprint(name, "/one batch ", batches), func(t *testing.T) {
				t.Parallel()
				p := newPipeline()
				log := []*kgo.Record{consumertest.Item(consumertest.Insert, 1, 1, nil,
					consumertest.ItemColumns(1, 10, 1)),
					consumertest.Item(consumertest.Update, 1, 2, before[0],
						consumertest.ItemColumns(1, 20, 2)),
					consumertest.Item(consumertest.Remove, 1, 3, before[1], nil)}
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

// TestItemMovesWithLargeValue: the tombstone left by a move has the item's position. Under an
// identity of some columns the event tells the item's old place, and not the large value.
func TestItemMovesWithLargeValue(t *testing.T) {
	t.Parallel()
	from := func(order int) []debezium.Column {
		return consumertest.Columns("id", consumertest.UUID(1), "order_id",
			consumertest.UUID(order))
	}
	at := func(order, version int, name string) []debezium.Column {
		row := consumertest.ItemColumns(1, order, version)
		row[3].Value = name
		return row
	}
	for _, before := range [][3][]debezium.Column{{}, {from(10), from(20), from(20)}} {
		p := newPipeline()
		for _, r := range []*kgo.Record{
			consumertest.Item(consumertest.Insert, 1, 1, nil, at(10, 1, "old name")),
			consumertest.Item(consumertest.Update, 1, 2, before[0], at(20, 2, "new name")),
			consumertest.Item(consumertest.Update, 1, 3, before[1],
				at(20, 3, debezium.Unavailable)),
			consumertest.Item(consumertest.Update, 1, 4, before[2],
				at(30, 4, debezium.Unavailable))} {
			p.feed(t, r)
		}
		if got := itemIn(p, t, 30)["productName"]; got != "new name" {
			t.Errorf("before %v: the item that moved without its name has %v", before[2], got)
		}
	}
}

// TestReplayedDeleteKeepsParking: an event older than a parked event does not end the parking.
func TestReplayedDeleteKeepsParking(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 2, "pending"),
		orderRow(consumertest.Remove, 1, 7, 3, ""),
		orderRow(consumertest.Insert, 1, 7, 5, "pending"))
	p.feed(t, orderRow(consumertest.Remove, 1, 7, 3, ""))
	if got := p.document(t, "orders", consumertest.UUID(1)); got["ended"] != true {
		t.Errorf("before its customer came the order is %v", got)
	}
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"),
		consumertest.Customer(consumertest.Insert, 2, 5, "b@x"),
		consumertest.Record("order", debezium.Truncate, 9, nil, nil, nil),
		consumertest.Item(consumertest.Insert, 1, 1, nil, consumertest.ItemColumns(1, 10, 1)),
		consumertest.Record("customer", debezium.Truncate, 3, nil, nil, nil),
		consumertest.Record("order_item", debezium.Truncate, 3, nil, nil, nil),
		consumertest.Customer(consumertest.Insert, 1, 4, "c@x"))
	if p.document(t, "customers", consumertest.UUID(2))["ended"] != nil {
		t.Error("a row that came after the truncate is gone")
	}
	if got := p.document(t, "customers", consumertest.UUID(1)); got["ended"] != nil ||
		got["email"] != "c@x" {
		t.Errorf("the row that was inserted again is %v", got)
	}
	if row := itemIn(p, t, 10); row["ended"] != true {
		t.Errorf("the item is %v", row)
	}
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"))
	if got := p.document(t, "customers", consumertest.UUID(1)); got["email"] != "c@x" {
		t.Errorf("after a replay the row is %v", got)
	}
	again := member(DefaultConfig(), p.memory).pipeline(p.memory)
	for _, late := range []*pipeline{p, again} {
		late.feed(t, consumertest.Customer(consumertest.Insert, 3, 2, "late@x"))
		if got := p.document(t, "customers", consumertest.UUID(3)); got != nil {
			t.Errorf("a row from before the truncate that came late is %v", got)
		}
	}
}

func orderRow(op debezium.Op, id, customer, commit int, status string) *kgo.Record {
	key := consumertest.Columns("id", consumertest.UUID(id))
	if op == debezium.Delete {
		return consumertest.Record("order", op, commit, key, key, nil)
	}
	return consumertest.Record("order", op, commit, key, nil,
		orderColumns(id, customer, commit, status))
}

func orderColumns(id, customer, commit int, status string) []debezium.Column {
	return consumertest.Columns("id", consumertest.UUID(id), "customer_id",
		consumertest.UUID(customer), "status", status, "total_amount", "1.50",
		"created_at", "2026-11-22T07:55:47.954888Z", "updated_at", "2026-11-22T07:55:47.954888Z",
		"lab_version", int64(commit))
}

// TestTransitions: judged against the state before, wherever stored, and not for a replay.
func TestTransitions(t *testing.T) {
	t.Parallel()
	log := func() []*kgo.Record {
		return []*kgo.Record{orderRow(consumertest.Insert, 1, 7, 1, "pending"),
			orderRow(consumertest.Update, 1, 7, 2, "paid"),
			orderRow(consumertest.Update, 1, 7, 3, "delivered"),
			orderRow(consumertest.Update, 1, 7, 4, "pending")}
	}
	count := func(t *testing.T, p *pipeline) int { return p.violations(t, "transition") }
	t.Run("one batch", func(t *testing.T) {
		t.Parallel()
		p := newPipeline(func(c *Config) {})
		p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
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
		p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
		for _, r := range log() {
			p.stored.states = nil // as after a restart
			p.feed(t, r)
		}
		if count(t, p) == 0 {
			t.Error("delivered -> pending raised nothing")
		}
		before := count(t, p)
		p.stored.states = nil
		p.feed(t, log()...)
		if again := count(t, p); again != before {
			t.Errorf("a replay raised %d alarms", again-before)
		}
	})
}

// TestTransitionsReplayed: a member without memory raises none of the alarms again, however the
// events are cut into batches and with or without the value before.
func TestTransitionsReplayed(t *testing.T) {
	t.Parallel()
	statuses := []string{"pending", "paid", "delivered", "pending"}
	for _, full := range []bool{false, true} {
		var log []*kgo.Record
		for i, status := range statuses {
			op, before := consumertest.Insert, []debezium.Column(nil)
			if i > 0 {
				op = consumertest.Update
			}
			if full && i > 0 {
				before = orderColumns(1, 7, i, statuses[i-1])
			}
			log = append(log, consumertest.Record("order", op, i+1,
				consumertest.Columns("id", consumertest.UUID(1)), before,
				orderColumns(1, 7, i+1, status)))
		}
		for batch := 1; batch <= len(log); batch++ {
			p := newPipeline()
			feed := func(p *pipeline) {
				for rest := log; len(rest) > 0; rest = rest[min(batch, len(rest)):] {
					p.feed(t, rest[:min(batch, len(rest))]...)
				}
			}
			p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
			feed(p)
			if n := p.violations(t, "transition"); n != 2 {
				t.Errorf("full %t, batches of %d: %d alarms, want 2", full, batch, n)
			}
			again := pipelineBeside(p)
			feed(again)
			if n := again.violations(t, "transition"); n != 2 {
				t.Errorf("full %t, batches of %d: %d alarms after a replay", full, batch, n)
			}
		}
	}
}

// TestFullMemo: rows are forgotten between batches, not between a batch's look and judgement.
func TestFullMemo(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
	p.feed(t, orderRow(consumertest.Insert, 1, 7, 1, "paid"))
	for i := len(p.stored.states); i < statesMax-1; i++ {
		p.stored.states[strconv.Itoa(i)] = rowState{}
	}
	p.feed(t, orderRow(consumertest.Insert, 2, 7, 2, "paid"),
		orderRow(consumertest.Insert, 3, 7, 2, "paid"),
		orderRow(consumertest.Update, 1, 7, 3, "pending"))
	if n := p.violations(t, "transition"); n != 1 {
		t.Errorf("%d alarms, want 1", n)
	}
	p.feed(t, orderRow(consumertest.Insert, 4, 7, 4, "paid"))
	if n := len(p.stored.states); n != 1 {
		t.Errorf("%d rows are remembered, want those of the last batch", n)
	}
}

// TestPassedOnce: an event breaking no rejecting rule counts once, even parked or breaking others.
func TestPassedOnce(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 8, 1, "b@x"),
		consumertest.Customer(consumertest.Insert, 9, 1, "no-address"),
		orderRow(consumertest.Insert, 1, 8, 2, "pending"),
		orderRow(consumertest.Update, 1, 8, 3, "delivered"),
		orderRow(consumertest.Remove, 1, 8, 4, ""),
		orderRow(consumertest.Insert, 2, 7, 2, "no status"))
	p.tick(t, time.Second)
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 5, "a@x"))
	p.tick(t, time.Second)
	if n := consumertest.ValueOf(t, p.metrics.Passed); n != 6 ||
		p.violations(t, "transition") != 1 || len(p.letters) != 1 {
		t.Errorf("%v events passed, want 6; %d alarms, dead letters %+v", n,
			p.violations(t, "transition"), p.letters)
	}
}

// TestEveryRule: after a rule that rejects, the other rules are still asked.
func TestEveryRule(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		p := newPipeline()
		p.feed(t, consumertest.Customer(consumertest.Insert, 7, 1, "a@x"))
		p.feed(t, orderRow(consumertest.Insert, 1, 7, 1, "paid"))
		if !known {
			p.stored.states = nil
		}
		row := orderColumns(1, 7, 2, "pending")
		row[3].Value = "-1"
		rules := p.feed(t, consumertest.Record("order", consumertest.Update, 2,
			consumertest.Columns("id", consumertest.UUID(1)), nil, row))
		if len(rules) != 1 || rules[0] != "range" || p.violations(t, "range") != 1 ||
			p.violations(t, "transition") != 1 {
			t.Errorf("known %t: dead letters by %v, range broken %d times, transition %d",
				known, rules, p.violations(t, "range"), p.violations(t, "transition"))
		}
		p.feed(t, orderRow(consumertest.Update, 1, 7, 3, "shipped"))
		if n := p.violations(t, "transition"); n != 1 ||
			p.document(t, "orders", consumertest.UUID(1))["status"] != "shipped" {
			t.Errorf("known %t: what was rejected counts as the state before: %d alarms", known, n)
		}
	}
	p := newPipeline()
	bad := consumertest.ItemColumns(1, 10, 1)
	bad[4].Value, bad[1].Value = int64(-1), nil
	rules := p.feed(t, consumertest.Item(consumertest.Insert, 1, 1, nil, bad))
	if len(rules) != 1 || rules[0] != fate.RuleParent || p.violations(t, "required") != 1 ||
		p.violations(t, "range") != 1 {
		t.Errorf("an item without its order: dead letters by %v", rules)
	} else if reason := p.letters[0].Reason(); !strings.Contains(reason, "quantity") {
		t.Errorf("the letter's reason is %q", reason)
	}
}

func TestPositionsWentBack(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 100, "a@x"))
	p.feed(t, consumertest.Customer(consumertest.Update, 1, 50, "replayed@x"))
	event := consumertest.ChangeOf("customer", consumertest.Update, 60,
		consumertest.Columns("id", consumertest.UUID(1)), nil,
		consumertest.Columns("id", consumertest.UUID(1), "email", "new@x", "status", "active",
			"updated_at", "2026-11-22T07:55:47Z", "lab_version", int64(1)))
	event.Source.TsUs += (2 * time.Hour).Microseconds()
	restored := consumertest.Wire(event, 60)
	p.Take(p.batch(restored))
	if err := p.Step(context.Background()); err == nil || fate.Of(err) != fate.Later {
		t.Fatalf("a log that began anew ended with %v, want it to wait for the operator", err)
	}
	p.withHigherEpoch().feed(t, restored)
	if got := p.document(t, "customers", consumertest.UUID(1))["email"]; got != "new@x" {
		t.Errorf("with a higher epoch the email is %v", got)
	}
}

func TestDocumentsOfUnknownTables(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	row := consumertest.Columns("id", int64(7), "some_text", "x", "deleted", true, "position",
		int64(3))
	p.feed(t, consumertest.Record("invoice", consumertest.Insert, 1, row[:1], nil, row))
	want := bson.M{"_id": "7", "someText": "x", "deleted": true, "position": int64(3)}
	if diff := cmp.Diff(want, p.document(t, "invoice", "7")); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

// TestSettleUnfolds: of the events folded into a refused write, only the refused is a dead letter.
func TestSettleUnfolds(t *testing.T) {
	t.Parallel()
	s := newPipeline()
	s.memory.Refuse = func(w *documents.Write) error {
		email, _ := documents.AsDocument(w.Elements).Lookup("email").StringValueOK()
		if email == "too@large" {
			return fate.Rejectf(fate.RuleDocument, "too large")
		}
		return nil
	}
	refused := consumertest.Customer(consumertest.Update, 1, 3, "too@large")
	s.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "a@x"),
		consumertest.Customer(consumertest.Update, 1, 2, "b@x"), refused,
		consumertest.Customer(consumertest.Insert, 2, 1, "c@x"))
	if got := s.document(t, "customers", consumertest.UUID(1))["email"]; got != "b@x" {
		t.Errorf("email is %v, want that of the last event that could be written", got)
	}
	if len(s.letters) != 1 || s.letters[0].Record != refused {
		t.Errorf("dead letters %+v, want one", s.letters)
	}
	for outcome, want := range map[string]float64{
		telemetry.OutcomeApplied: 3, telemetry.OutcomeDeadLetter: 1, telemetry.OutcomeFolded: 0} {
		n := consumertest.EventCount(t, s.Shared.metrics.Registry, "customer", outcome)
		if n != want {
			t.Errorf("%v events %s, want %v", n, outcome, want)
		}
	}
}
