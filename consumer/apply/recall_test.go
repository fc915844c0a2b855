package apply

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/order"
)

// customerOf is a customer's change in the transaction tx, committed so long after the others.
func customerOf(op debezium.Op, id, commit int, tx uint32, after time.Duration) *kgo.Record {
	event := consumertest.ChangeOf("customer", op, commit,
		consumertest.Columns("id", consumertest.UUID(id)), nil,
		consumertest.Columns("id", consumertest.UUID(id), "email", "new@x", "status", "active",
			"updated_at", "2026-11-22T07:55:47Z", "lab_version", int64(commit)))
	event.Source.TxID = tx
	event.Source.TsUs += after.Microseconds()
	return consumertest.Wire(event, commit)
}

// restarted is the partition's next owner, who reads the records before again, if recalls.
func (p *pipeline) restarted(t *testing.T, recalls bool, before ...*kgo.Record) *pipeline {
	t.Helper()
	next := pipelineBeside(p)
	next.offset = p.offset
	if err := next.BeginAt(context.Background(), before[0].Topic, p.offset, 0); err != nil {
		t.Fatal(err)
	}
	if !recalls {
		return next
	}
	if err := next.Recall(func(visit func(*kgo.Record) error) error {
		for _, r := range before {
			if err := visit(r); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return next
}

// TestLogBegunAnewAfterRestart: right after a restart, a create of a log that began anew raises the
// alarm, though the transaction is older, and a change sent again by the connector does not.
func TestLogBegunAnewAfterRestart(t *testing.T) {
	t.Parallel()
	before := func() []*kgo.Record {
		return []*kgo.Record{customerOf(debezium.Create, 1, 50, 700, 0),
			customerOf(debezium.Create, 2, 100, 701, 0),
			customerOf(debezium.Update, 2, 110, 702, 0)}
	}
	for name, c := range map[string]struct {
		record          *kgo.Record
		recalls, alarms bool
	}{
		"created at once": {customerOf(debezium.Create, 2, 70, 690, 0), true, true},
		"sent again":      {customerOf(debezium.Create, 2, 100, 701, 0), true, false},
		"sent again, by a clock that stepped back": {customerOf(debezium.Create, 2, 100, 701,
			time.Hour), true, false},
		"created before all known": {customerOf(debezium.Create, 2, 40, 690, 2*time.Minute), true,
			true},
		"sent again from before all known": {customerOf(debezium.Create, 2, 40, 690, 0), true,
			false},
		"created, nothing known": {customerOf(debezium.Create, 2, 70, 690, 2*time.Minute), false,
			true},
		"a new row": {customerOf(debezium.Create, 3, 70, 690, 0), true, false},
	} {
		p := newPipeline()
		p.feed(t, before()...)
		next := p.restarted(t, c.recalls, before()...)
		next.Take(next.batch(c.record))
		err := next.Step(context.Background())
		if alarmed := order.AlarmOf(err) != ""; alarmed != c.alarms || err != nil && !alarmed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMetElsewhere: a change met in another partition of the topic before was sent again. No other
// record ends the alarm, and the other partitions are asked until the answer was whole.
func TestMetElsewhere(t *testing.T) {
	t.Parallel()
	resent := func() *kgo.Record { return customerOf(debezium.Update, 2, 105, 690, 0) }
	letter := resent()
	letter.Headers = append(letter.Headers,
		kgo.RecordHeader{Key: deadletter.HeaderReplayed, Value: []byte("id")})
	for name, c := range map[string]struct {
		there  *kgo.Record
		fails  bool
		alarms bool
		asked  int
	}{
		"the change":               {there: resent(), asked: 1},
		"the change, then failing": {there: resent(), fails: true, asked: 1},
		"nothing, failing":         {fails: true, alarms: true, asked: 2},
		"nothing":                  {alarms: true, asked: 1},
		"of another transaction": {there: customerOf(debezium.Update, 2, 105, 691, 0),
			alarms: true, asked: 1},
		"committed at another time": {there: customerOf(debezium.Update, 2, 105, 690, time.Second),
			alarms: true, asked: 1},
		"of another row": {there: customerOf(debezium.Update, 3, 105, 690, 0), alarms: true,
			asked: 1},
		"a replayed letter": {there: letter, alarms: true, asked: 1},
	} {
		p := newPipeline()
		p.feed(t, customerOf(debezium.Create, 1, 50, 680, 0),
			customerOf(debezium.Update, 2, 110, 702, 0))
		asked := 0
		p.Elsewhere = func(_ context.Context, before *kgo.Record,
			visit func(*kgo.Record) error) error {
			if asked++; before.Offset != 2 {
				t.Errorf("%s: asked for what was before offset %d", name, before.Offset)
			}
			if c.there != nil {
				if err := visit(c.there); err != nil {
					return err
				}
			}
			if c.fails {
				return consumertest.ErrAway
			}
			return nil
		}
		p.Take(p.batch(resent()))
		for range 2 {
			err := p.Step(context.Background())
			if alarmed := order.AlarmOf(err) != ""; alarmed != c.alarms || err != nil && !alarmed {
				t.Errorf("%s: %v", name, err)
			}
		}
		if asked != c.asked {
			t.Errorf("%s: asked %d times, want %d", name, asked, c.asked)
		}
	}
}

// TestItemOfALogBegunAnewAfterRestart: a row of a lost tail of the log, made anew in another
// document right after a restart, does not live in both.
func TestItemOfALogBegunAnewAfterRestart(t *testing.T) {
	t.Parallel()
	item := func(order, commit int) *kgo.Record {
		return consumertest.Item(consumertest.Insert, 1, commit, nil,
			consumertest.ItemColumns(1, order, commit))
	}
	before := func() []*kgo.Record {
		return []*kgo.Record{consumertest.Item(consumertest.Insert, 2, 50, nil,
			consumertest.ItemColumns(2, 1, 50)), item(1, 100)}
	}
	for _, c := range []struct {
		record *kgo.Record
		alarms bool
	}{{item(2, 70), true}, {item(1, 100), false}} {
		p := newPipeline()
		p.feed(t, before()...)
		next := p.restarted(t, true, before()...)
		next.Take(next.batch(c.record))
		err := next.Step(context.Background())
		if alarmed := order.AlarmOf(err) != ""; alarmed != c.alarms || err != nil && !alarmed {
			t.Errorf("alarm wanted %t: %v", c.alarms, err)
		}
	}
}

// TestRecallFails: after an error of the reading nothing is remembered, and the error is the
// reading's.
func TestRecallFails(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	err := p.Recall(func(visit func(*kgo.Record) error) error {
		for _, commit := range []int{50, 100} {
			if err := visit(customerOf(debezium.Create, 1, commit, 700, 0)); err != nil {
				return err
			}
		}
		return consumertest.ErrAway
	})
	if !errors.Is(err, consumertest.ErrAway) {
		t.Errorf("the error became %v", err)
	}
	p.feed(t, customerOf(debezium.Create, 1, 80, 700, 0))
	p.Take(p.batch(customerOf(debezium.Update, 1, 70, 690, 0)))
	if err := p.Step(context.Background()); err != nil {
		t.Errorf("a change is judged by what was not read to the end: %v", err)
	}
	if got := p.document(t, "customers", consumertest.UUID(1))["labVersion"]; got != int64(80) {
		t.Errorf("version %v", got)
	}
}

// TestNullRecordAfterRestart: a null record right behind its delete, with a restart between, asks
// for nothing, also with a hole before.
func TestNullRecordAfterRestart(t *testing.T) {
	t.Parallel()
	row := consumertest.Columns("id", int64(0), "v", int64(1))
	before := []*kgo.Record{consumertest.Record("job", debezium.Create, 50, row[:1], nil, row),
		consumertest.Record("job", debezium.Delete, 60, row[:1], row, nil)}
	p := newPipeline()
	p.feed(t, before...)
	next := p.restarted(t, true, before...)
	null := &kgo.Record{Topic: before[0].Topic, Key: before[0].Key, Offset: p.offset + 1}
	if rules := next.feed(t, null); rules != nil {
		t.Errorf("dead letters: %v", rules)
	}
}

// TestNullRecordAgain: a null record that is delivered again, after the row was made again, asks
// for nothing.
func TestNullRecordAgain(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.planner.tables = ticketTables(t)
	p.feed(t, consumertest.Customer(consumertest.Insert, 7, 5, "a@x"))
	p.offset = 9
	p.feed(t, ticket(debezium.Create, 1, "", 3, 10))
	next := pipelineBeside(p)
	next.planner.tables = p.planner.tables
	null := ticket(debezium.Delete, 1, "", 0, 0)
	null.Value, null.Headers, null.Offset = nil, nil, 5
	if err := next.BeginAt(t.Context(), null.Topic, 2, 0); err != nil {
		t.Fatal(err)
	}
	if rules := next.feed(t, null); rules != nil {
		t.Errorf("dead letters: %v", rules)
	}
	if p.document(t, "tickets", "") == nil {
		t.Error("the row made again has ended")
	}
}

// TestSnapshotOfALogBegunAnew: a row of a snapshot with a place in the log, as of the lab's own
// connector, raises the alarm when the place is below what is stored; a replay raises none.
func TestSnapshotOfALogBegunAnew(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	snapshot := consumertest.Customer(debezium.Read, 1, 40, "first@x")
	p.feed(t, consumertest.Customer(debezium.Read, 2, 40, "b@x"), snapshot)
	p.feed(t, consumertest.Customer(consumertest.Update, 1, 100, "a@x"), snapshot)
	restored := consumertest.Customer(debezium.Read, 1, 50, "restored@x")
	restored.Offset = 9
	p.Take(p.batch(restored))
	err := p.Step(context.Background())
	if order.AlarmOf(err) == "" || fate.Of(err) != fate.Later {
		t.Fatalf("a snapshot of a log that began anew ended with %v, want the alarm", err)
	}
	p.withHigherEpoch().feed(t, restored)
	if got := p.document(t, "customers", consumertest.UUID(1))["email"]; got != "restored@x" {
		t.Errorf("with a higher epoch the email is %v", got)
	}
}
