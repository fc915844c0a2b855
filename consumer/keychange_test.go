package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// keyChange is the delete and the create of a customer whose id changes in one commit, without the
// value of email, as under the default replica identity where that is a large one.
func keyChange(from, to, commit int) (gone, made *kgo.Record) {
	gone, made = customer(remove, from, commit, nil), customer(insert, to, commit, debezium.Unavailable)
	header := func(r *kgo.Record, key string, id int) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key,
			Value: fmt.Appendf(nil, `{"id":%q}`, uuid(id))})
	}
	header(gone, debezium.HeaderNewKey, to)
	header(made, debezium.HeaderOldKey, from)
	return gone, made
}

func TestKeyChangeMovesValues(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	gone, made := keyChange(1, 2, 3)
	if got := p.feed(t, customer(insert, 1, 1, "one@x"), customer(update, 1, 2, "two@x"), gone, made,
		customer(update, 2, 4, debezium.Unavailable)); got != nil {
		t.Fatalf("rejected by %v", got)
	}
	if got := p.document(t, "customers", uuid(2))["email"]; got != "two@x" {
		t.Errorf("the row under its new key has the email %v", got)
	}
	if p.document(t, "customers", uuid(1))["ended"] != true {
		t.Error("the row is still there under its old key")
	}
}

// TestKeyChangeAcrossPartitions: the create waits for the delete, and gets the values that the old
// key had then, even where the old key has another row by now.
func TestKeyChangeAcrossPartitions(t *testing.T) {
	t.Parallel()
	old := newPipeline()
	fresh := pipelineBeside(old, 1)
	old.feed(t, customer(insert, 1, 1, "one@x"))
	gone, made := keyChange(1, 2, 3)
	fresh.planner.plan(&fresh.job, fresh.batch(made))
	if err := fresh.settler.try(context.Background(), &fresh.job); err == nil || fateOf(err) != later {
		t.Fatalf("the create ended with %v, want it to wait", err)
	}
	old.feed(t, gone, customer(insert, 1, 4, "another@x"))
	if err := fresh.settler.try(context.Background(), &fresh.job); err != nil {
		t.Fatal(err)
	}
	if got := old.document(t, "customers", uuid(2))["email"]; got != "one@x" {
		t.Errorf("the row under its new key has the email %v", got)
	}
	if got := old.document(t, "customers", uuid(1))["email"]; got != "another@x" {
		t.Errorf("the next row under the old key has the email %v", got)
	}
}

// pipelineBeside is another partition of the same process, over the same store.
func pipelineBeside(p *pipeline, number int32) *pipeline {
	c := &Consumer{config: DefaultConfig(), registry: p.planner.registry, metrics: p.planner.metrics,
		log: p.settler.log, room: p.settler.parking.room, parents: p.settler.parents, tracer: noTracer()}
	return c.pipeline(p.memory, p.topic, number)
}

// waits takes records whose last one has to wait.
func (p *pipeline) waits(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	p.planner.plan(&p.job, p.batch(records...))
	if err := p.try(); !errors.Is(err, errWaiting) {
		t.Fatalf("ended with %v, want it to wait", err)
	}
}

func (p *pipeline) try() error { return p.settler.try(context.Background(), &p.job) }

// TestKeyChangeLate: time alone does not end the wait for the delete.
func TestKeyChangeLate(t *testing.T) {
	t.Parallel()
	old := newPipeline()
	fresh := pipelineBeside(old, 1)
	old.feed(t, customer(insert, 1, 1, "one@x"))
	gone, made := keyChange(1, 2, 3)
	fresh.waits(t, made)
	fresh.clock = fresh.clock.Add(2 * time.Minute)
	if err := fresh.try(); !errors.Is(err, errWaiting) {
		t.Fatalf("after two minutes the create ended with %v", err)
	}
	old.feed(t, gone)
	if err := fresh.try(); err != nil || len(fresh.letters) > 0 {
		t.Fatal(err, fresh.letters)
	}
	if got := old.document(t, "customers", uuid(2))["email"]; got != "one@x" {
		t.Errorf("the row under its new key has the email %v", got)
	}
}

// TestKeyChangeWithoutDelete: what is stored under the old key shows that the delete will not come.
func TestKeyChangeWithoutDelete(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	gone, made := keyChange(1, 2, 3)
	p.feed(t, customer(insert, 1, 4, "another@x"))
	if got := p.feed(t, made); len(got) != 1 || got[0] != ruleIncomplete {
		t.Errorf("rejected by %v, want %s", got, ruleIncomplete)
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
	fresh := pipelineBeside(old, 1)
	old.feed(t, customer(insert, 1, 1, "one@x"))
	gone, made := keyChange(1, 2, 3)
	fresh.waits(t, made)
	fresh.clock = fresh.clock.Add(keyChangeBound)
	if err := fresh.try(); err != nil {
		t.Fatal(err)
	}
	if len(fresh.letters) != 1 || fresh.letters[0].rule() != ruleIncomplete {
		t.Fatalf("dead letters %+v, want one for the rule %s", fresh.letters, ruleIncomplete)
	}
	fresh.feed(t, customer(update, 2, 5, debezium.Unavailable))
	fresh.waits(t, made) // a replay of the letter: too early
	old.feed(t, gone)
	if err := fresh.try(); err != nil || len(fresh.letters) != 1 {
		t.Fatal(err, fresh.letters)
	}
	got := old.document(t, "customers", uuid(2))
	if got["email"] != "one@x" || got["labVersion"] != int64(5) {
		t.Errorf("after the replay the row is %v", got)
	}
}

// TestKeyChangeReplayed: a create that is stale does not need what was put aside and has expired.
func TestKeyChangeReplayed(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	gone, made := keyChange(1, 2, 3)
	p.feed(t, customer(insert, 1, 1, "one@x"), gone, made)
	delete(p.memory.documents, keptCollection)
	if got := p.feed(t, made); got != nil {
		t.Errorf("rejected by %v", got)
	}
	if n := eventCount(t, p.settler.metrics, "customer", OutcomeStale); n != 1 {
		t.Errorf("%v events stale, want 1", n)
	}
}

// TestKeyChangeShows: a partition that waits is seen.
func TestKeyChangeShows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline()
		_, made := keyChange(1, 2, 3)
		time.AfterFunc(time.Minute, func() { close(p.stopped) })
		time.AfterFunc(time.Minute/2, func() {
			if paused := valueOf(t, p.settler.metrics.paused); paused != 1 {
				t.Errorf("%v partitions paused, want 1", paused)
			}
		})
		if err := p.work(context.Background(), p.batch(made)); !errors.Is(err, errLeft) || p.marked != -1 {
			t.Errorf("ended with %v, offset %d marked", err, p.marked)
		}
		if n := valueOf(t, p.settler.metrics.retries.WithLabelValues("key_change")); n == 0 {
			t.Error("the looks for the delete are not counted")
		}
	})
}

// TestKeyChangeOfItemBesideItsId: the item moves to another order in the same update.
func TestKeyChangeOfItemBesideItsId(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	row := itemColumns(1, 20, 2)
	row[3].Value = debezium.Unavailable
	gone, made := item(remove, 1, 2, columns("id", uuid(1), "order_id", ""), nil), item(insert, 1, 2, nil, row)
	other := fmt.Appendf(nil, `{"id":%q,"at":5}`, uuid(1))
	gone.Headers = append(gone.Headers, kgo.RecordHeader{Key: debezium.HeaderNewKey, Value: other})
	made.Headers = append(made.Headers, kgo.RecordHeader{Key: debezium.HeaderOldKey, Value: other})
	if got := p.feed(t, item(insert, 1, 1, nil, itemColumns(1, 10, 1)), gone, made); got != nil {
		t.Fatalf("rejected by %v", got)
	}
	if row := itemIn(p, t, 10); row["ended"] != true {
		t.Errorf("where it was there is %v", row)
	}
	if row := itemIn(p, t, 20); row["ended"] != nil || row["productName"] != itemColumns(1, 10, 1)[3].Value {
		t.Errorf("where it went there is %v", row)
	}
}
