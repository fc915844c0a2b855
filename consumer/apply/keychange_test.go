package apply

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

func TestKeyChangeMovesValues(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	gone, made := consumertest.CustomerKeyChange(1, 2, 3)
	if got := p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"),
		consumertest.Customer(consumertest.Update, 1, 2, "two@x"), gone, made,
		consumertest.Customer(consumertest.Update, 2, 4, debezium.Unavailable)); got != nil {
		t.Fatalf("rejected by %v", got)
	}
	if got := p.document(t, "customers", consumertest.UUID(2))["email"]; got != "two@x" {
		t.Errorf("the row under its new key has the email %v", got)
	}
	if p.document(t, "customers", consumertest.UUID(1))["ended"] != true {
		t.Error("the row is still there under its old key")
	}
}

// TestKeyChangeAcrossPartitions: the create waits for the delete, and gets the old key's values of
// the time of the delete, even where the old key has another row by now.
func TestKeyChangeAcrossPartitions(t *testing.T) {
	t.Parallel()
	old := newPipeline()
	fresh := pipelineBeside(old)
	old.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"))
	gone, made := consumertest.CustomerKeyChange(1, 2, 3)
	fresh.Take(fresh.batch(made))
	if err := fresh.Step(context.Background()); err == nil || fate.Of(err) != fate.Later {
		t.Fatalf("the create ended with %v, want it to wait", err)
	}
	old.feed(t, gone, consumertest.Customer(consumertest.Insert, 1, 4, "another@x"))
	if err := fresh.Step(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := old.document(t, "customers", consumertest.UUID(2))["email"]; got != "one@x" {
		t.Errorf("the row under its new key has the email %v", got)
	}
	if got := old.document(t, "customers", consumertest.UUID(1))["email"]; got != "another@x" {
		t.Errorf("the next row under the old key has the email %v", got)
	}
}

// pipelineBeside is another partition of the same process, over the same store.
func pipelineBeside(p *pipeline) *pipeline { return p.Shared.pipeline(p.memory) }

// waits takes records, the last of which has to wait.
func (p *pipeline) waits(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	p.Take(p.batch(records...))
	if err := p.try(); !errors.Is(err, ErrWaiting) {
		t.Fatalf("ended with %v, want it to wait", err)
	}
}

func (p *pipeline) try() error { return p.Step(context.Background()) }

// TestKeyChangeLate: time alone does not end the wait for the delete.
func TestKeyChangeLate(t *testing.T) {
	t.Parallel()
	old := newPipeline()
	fresh := pipelineBeside(old)
	old.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"))
	gone, made := consumertest.CustomerKeyChange(1, 2, 3)
	fresh.waits(t, made)
	fresh.clock = fresh.clock.Add(2 * time.Minute)
	if err := fresh.try(); !errors.Is(err, ErrWaiting) {
		t.Fatalf("after two minutes the create ended with %v", err)
	}
	old.feed(t, gone)
	if err := fresh.try(); err != nil || len(fresh.letters) > 0 {
		t.Fatal(err, fresh.letters)
	}
	if got := old.document(t, "customers", consumertest.UUID(2))["email"]; got != "one@x" {
		t.Errorf("the row under its new key has the email %v", got)
	}
}

// TestKeyChangeWithoutDelete: the store's row under the old key shows that the delete will not
// come.
func TestKeyChangeWithoutDelete(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	gone, made := consumertest.CustomerKeyChange(1, 2, 3)
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 4, "another@x"))
	if got := p.feed(t, made); len(got) != 1 || got[0] != fate.RuleIncomplete {
		t.Errorf("rejected by %v, want %s", got, fate.RuleIncomplete)
	}
	p.feed(t, gone)
	if got := p.feed(t, made); len(got) != 1 {
		t.Errorf("rejected by %v: the values of another row were taken", got)
	}
}

// TestKeyChangeGivenUp: the dead letter is worth something when the delete comes at last.
func TestKeyChangeGivenUp(t *testing.T) {
	t.Parallel()
	old := newPipeline()
	fresh := pipelineBeside(old)
	old.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"))
	gone, made := consumertest.CustomerKeyChange(1, 2, 3)
	fresh.waits(t, made)
	fresh.clock = fresh.clock.Add(keyChangeBound)
	if err := fresh.try(); err != nil {
		t.Fatal(err)
	}
	if len(fresh.letters) != 1 || fresh.letters[0].Rule() != fate.RuleIncomplete {
		t.Fatalf("dead letters %+v, want one for the rule %s", fresh.letters, fate.RuleIncomplete)
	}
	fresh.feed(t, consumertest.Customer(consumertest.Update, 2, 5, debezium.Unavailable))
	fresh.waits(t, made) // a replay of the letter: too early
	old.feed(t, gone)
	if err := fresh.try(); err != nil || len(fresh.letters) != 1 {
		t.Fatal(err, fresh.letters)
	}
	got := old.document(t, "customers", consumertest.UUID(2))
	if got["email"] != "one@x" || got["labVersion"] != int64(5) {
		t.Errorf("after the replay the row is %v", got)
	}
}

// TestKeyChangeReplayed: a stale create does not need the expired values put aside.
func TestKeyChangeReplayed(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	gone, made := consumertest.CustomerKeyChange(1, 2, 3)
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "one@x"), gone, made)
	delete(p.memory.Documents, documents.KeptCollection)
	if got := p.feed(t, made); got != nil {
		t.Errorf("rejected by %v", got)
	}
	if n := consumertest.EventCount(t, p.Shared.metrics.Registry, "customer",
		telemetry.OutcomeStale); n != 1 {
		t.Errorf("%v events stale, want 1", n)
	}
}

// TestKeyChangeOfItemBesideItsId: the item moves to another order in the same update.
func TestKeyChangeOfItemBesideItsId(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	row := consumertest.ItemColumns(1, 20, 2)
	row[3].Value = debezium.Unavailable
	gone, made := consumertest.Item(consumertest.Remove, 1, 2,
		consumertest.Columns("id", consumertest.UUID(1), "order_id", ""), nil),
		consumertest.Item(consumertest.Insert, 1, 2, nil, row)
	other := fmt.Appendf(nil, `{"id":%q,"at":5}`, consumertest.UUID(1))
	gone.Headers = append(gone.Headers, kgo.RecordHeader{Key: debezium.HeaderNewKey, Value: other})
	made.Headers = append(made.Headers, kgo.RecordHeader{Key: debezium.HeaderOldKey, Value: other})
	if got := p.feed(t, consumertest.Item(consumertest.Insert, 1, 1, nil,
		consumertest.ItemColumns(1, 10, 1)), gone, made); got != nil {
		t.Fatalf("rejected by %v", got)
	}
	if row := itemIn(p, t, 10); row["ended"] != true {
		t.Errorf("where it was there is %v", row)
	}
	if row := itemIn(p, t, 20); row["ended"] != nil ||
		row["productName"] != consumertest.ItemColumns(1, 10, 1)[3].Value {
		t.Errorf("where it went there is %v", row)
	}
}

// TestResentIsNotLookedAt: a change that the partition met before costs no look at the store, as
// long as the process remembers the change.
func TestResentIsNotLookedAt(t *testing.T) {
	t.Parallel()
	for _, resent := range []bool{false, true} {
		c := change{draft: &draft{op: debezium.Update, resent: resent}}
		if c.mayBeNewer() == resent {
			t.Errorf("sent again %t: may be newer %t", resent, c.mayBeNewer())
		}
	}
}
