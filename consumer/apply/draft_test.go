package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

func TestRejects(t *testing.T) {
	t.Parallel()
	good := consumertest.ItemColumns(1, 2, 1)
	flattened := &kgo.Record{Key: []byte(`{"id":"x"}`), Value: []byte(`{"id":"x","email":"y"}`)}
	keyless := consumertest.Customer(consumertest.Insert, 1, 1, "a@x")
	keyless.Key, keyless.Value = nil, []byte(`{"before":null,"after":null,`+
		`"source":{"name":"cdc","schema":"public","table":"customer","lsn":1},"op":"d"}`)
	for name, c := range map[string]struct {
		record *kgo.Record
		rule   string
	}{
		"no JSON":   {&kgo.Record{Value: []byte(`{"op":`)}, fate.RuleUndecodable},
		"flattened": {flattened, fate.RuleUndecodable},
		"no position": {&kgo.Record{Topic: keyless.Topic, Key: keyless.Key, Value: keyless.Value},
			fate.RuleUndecodable},
		"no key": {keyless, fate.RuleKey},
		"TOAST in a create": {consumertest.Customer(consumertest.Insert, 1, 1,
			debezium.Unavailable), fate.RuleIncomplete},
		"item without an order": {consumertest.Item(consumertest.Insert, 1, 1, nil,
			consumertest.Columns("id", consumertest.UUID(1), "order_id", nil,
				"product_sku", "S", "quantity", int64(1), "unit_price", "1", "line_total", "1")),
			fate.RuleParent},
		"item with a name that cannot be": {consumertest.Record("order_item", consumertest.Insert,
			1, consumertest.Columns("id", "a.b"), nil, good), fate.RuleKey},
		"item with a long name": {consumertest.Record("order_item", consumertest.Insert,
			1, consumertest.Columns("id", strings.Repeat("x", 257)), nil, good), fate.RuleKey},
		"required": {consumertest.Customer(consumertest.Insert, 1, 1, nil),
			entity.RuleRequired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipeline()
			got := p.feed(t, c.record, consumertest.Customer(consumertest.Insert, 9, 1, "b@x"))
			if len(got) != 1 || got[0] != c.rule {
				t.Fatalf("rejected by %v, want one by the rule %q: %+v", got, c.rule, p.letters)
			}
			if fate.Of(p.letters[0].Err) != fate.Reject || p.letters[0].Record != c.record {
				t.Errorf("%+v is not the rejection of the record", p.letters[0])
			}
			if p.document(t, "customers", consumertest.UUID(9))["email"] != "b@x" {
				t.Error("the record beside it was not written")
			}
			if p.marked != 2 {
				t.Errorf("offset %d marked, want 2", p.marked)
			}
		})
	}
}

func TestLetterSaysOfWhat(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, nil))
	if l := p.letters[0]; l.Entity != "customer" || l.Operation != "INSERT" {
		t.Errorf("the dead letter is of %s %s", l.Operation, l.Entity)
	}
}

func TestFoldsMemberwise(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, consumertest.Customer(consumertest.Insert, 1, 1, "first@x"),
		consumertest.Customer(consumertest.Update, 1, 2, "second@x"),
		consumertest.Customer(consumertest.Update, 1, 3, debezium.Unavailable),
		consumertest.Customer(consumertest.Insert, 1, 1, "first@x"), // delivered twice
		&kgo.Record{Key: []byte(`{"id":"x"}`)},
		consumertest.Customer(consumertest.Insert, 2, 1, "other@x"))
	if p.memory.Calls != 1 {
		t.Errorf("%d calls of the store, want 1", p.memory.Calls)
	}
	want := bson.M{"_id": consumertest.UUID(1), "email": "second@x", "status": "active",
		"labVersion":     int64(3),
		"updatedAt":      bson.NewDateTimeFromTime(consumertest.Time.Add(954 * time.Millisecond)),
		"updatedAtExact": "2026-11-22T07:55:47.954888Z"}
	if diff := cmp.Diff(want, p.document(t, "customers", consumertest.UUID(1))); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	for outcome, want := range map[string]float64{telemetry.OutcomeApplied: 2,
		telemetry.OutcomeFolded: 3} {
		if n := consumertest.EventCount(t, p.Shared.metrics.Registry, "customer",
			outcome); n != want {
			t.Errorf("%v events %s, want %v", n, outcome, want)
		}
	}
}

func TestSnapshotPosition(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	first, second := consumertest.Customer(debezium.Read, 1, 0, "old@x"),
		consumertest.Customer(debezium.Read, 1, 0, "new@x")
	first.Headers, second.Headers = nil, nil
	first.Offset, second.Offset = 1, 2
	email := func() any { return p.document(t, "customers", consumertest.UUID(1))["email"] }
	for range 2 { // the second round is a redelivery
		for _, r := range []*kgo.Record{first, second} {
			p.feed(t, r)
		}
		if got := email(); got != "new@x" {
			t.Errorf("email is %v: a snapshot that began anew must win", got)
		}
	}
	for version := 1; version <= 2; version++ {
		r := consumertest.Item(debezium.Read, 1, 0, nil, consumertest.ItemColumns(1, 10, version))
		r.Headers, r.Offset = nil, int64(2+version)
		p.feed(t, r)
	}
	if got := itemIn(p, t, 10)["labVersion"]; got != int64(2) {
		t.Errorf("the item has version %v: a snapshot that began anew must win", got)
	}
	p.feed(t, consumertest.Customer(consumertest.Update, 1, 1, "stream@x"))
	p.feed(t, first, second)
	if got := email(); got != "stream@x" {
		t.Errorf("email is %v: a snapshot's row must not undo a streamed one", got)
	}
}

// TestFoldIsSequential: folding any history, redelivered anyhow and cut into any batches, ends like
// single writes in order, at the last commit.
func TestFoldIsSequential(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log, last := history(t)
		one, folded := newPipeline(), newPipeline()
		for rest := log; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "batch")
			for i := range rest[:n] {
				if err := one.work(rest[i : i+1]); err != nil {
					t.Fatal(err)
				}
			}
			if err := folded.work(rest[:n]); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(one.memory.Documents, folded.memory.Documents); diff != "" {
				t.Fatalf("(-one by one +folded):\n%s", diff)
			}
			rest = rest[n:]
		}
		if letters := append(one.letters, folded.letters...); len(letters) > 0 {
			t.Fatalf("a legal history was rejected: %v", letters[0].Err)
		}
		for id, commit := range last {
			at := documents.PositionOf(folded.memory.Documents["customers"][consumertest.UUID(id)])
			if !strings.HasPrefix(at, fmt.Sprintf("0000%016x", commit)) {
				t.Fatalf("row %d ends at %s, want commit %d", id, at, commit)
			}
		}
	})
}

// history returns a log of a few customers with parts delivered again: each time from some record
// on up to the newest, as by a restarted connector. last is each customer's last commit.
func history(t *rapid.T) (batch []telemetry.Arrival, last map[int]int) {
	exists, last := map[int]bool{}, map[int]int{}
	var first, log []*kgo.Record
	for i := range rapid.IntRange(1, 15).Draw(t, "commits") {
		id, commit := rapid.IntRange(1, 2).Draw(t, "id"), i+1
		kind, email := rapid.IntRange(0, 4).Draw(t, "kind"), fmt.Sprintf("changed%d@x", commit)
		var r *kgo.Record
		switch {
		case !exists[id]:
			r = consumertest.Customer(consumertest.Insert, id, commit,
				fmt.Sprintf("new%d@x", commit))
		case kind == 0:
			r = consumertest.Customer(consumertest.Remove, id, commit, nil)
		case kind == 1:
			r = consumertest.Customer(consumertest.Update, id, commit, debezium.Unavailable)
		case kind <= 3: // a time without need of an exact text, or unchanged
			at := []string{"2026-11-22T07:55:47Z", debezium.Unavailable}[kind-2]
			r = consumertest.Record("customer", consumertest.Update, commit,
				consumertest.Columns("id", consumertest.UUID(id)), nil,
				consumertest.Columns("id", consumertest.UUID(id),
					"email", email, "status", "active", "updated_at", at,
					"lab_version", int64(commit)))
		default:
			r = consumertest.Customer(consumertest.Update, id, commit, email)
		}
		exists[id] = !exists[id] || r.Value != nil && !isDelete(r)
		first, log, last[id] = append(first, r), append(log, r), commit
		if rapid.IntRange(0, 4).Draw(t, "replay") == 0 {
			from := rapid.IntRange(0, len(first)-1).Draw(t, "from")
			log = append(log, first[from:]...)
		}
	}
	for i, r := range log {
		again := *r
		again.Offset = int64(i)
		batch = append(batch, telemetry.Arrival{Record: &again, Polled: consumertest.Time})
	}
	return batch, last
}

func isDelete(r *kgo.Record) bool {
	var envelope struct{ Op string }
	return json.Unmarshal(r.Value, &envelope) == nil && envelope.Op == "d"
}

func TestFateOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want fate.Fate
	}{
		"rejection": {fmt.Errorf("wrapped: %w", fate.Rejectf(fate.RuleKey, "x")),
			fate.Reject},
		"halt": {fmt.Errorf("wrapped: %w", &fate.Halt{Err: errors.New("x")}),
			fate.Stop},
		"halt beside another": {errors.Join(errors.New("x"), &fate.Halt{Err: errors.New("y")}),
			fate.Stop},
		"unknown":  {errors.New("x"), fate.Later},
		"deadline": {context.DeadlineExceeded, fate.Later},
	} {
		if got := fate.Of(c.err); got != c.want {
			t.Errorf("%s: fate %v, want %v", name, got, c.want)
		}
	}
}
