package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// uuid is an id that a person can tell from others.
func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// columns is a row in pairs of name and value.
func columns(pairs ...any) []debezium.Column {
	var row []debezium.Column
	for i := 0; i < len(pairs); i += 2 {
		row = append(row, debezium.Column{Name: pairs[i].(string), Value: pairs[i+1]})
	}
	return row
}

// record is what the lab's connector would send for a change of table, in the given commit.
func record(table string, op debezium.Op, commit int, key, before, after []debezium.Column) *kgo.Record {
	return wire(changeOf(table, op, commit, key, before, after), commit)
}

func changeOf(table string, op debezium.Op, commit int, key, before, after []debezium.Column) debezium.Change {
	return debezium.Change{
		Key: key, Before: before, After: after, Op: op, TsUs: testTime.UnixMicro() + 2000,
		Source: debezium.Source{Connector: "postgresql", Name: "cdc", DB: "lab", Schema: "public",
			Table: table, TsUs: testTime.UnixMicro() + 1000, LSN: uint64(1<<20 - commit), TxID: 7},
	}
}

func wire(change debezium.Change, commit int) *kgo.Record {
	value, err := change.AppendValue(nil)
	if err != nil {
		panic(err)
	}
	return &kgo.Record{
		Topic: "cdc.public." + change.Source.Table, Key: change.AppendKey(nil), Value: value, Timestamp: testTime,
		Headers: []kgo.RecordHeader{{Key: debezium.HeaderCommitLSN, Value: []byte(strconv.Itoa(commit))}},
	}
}

func customer(op debezium.Op, id, commit int, email any) *kgo.Record {
	key := columns("id", uuid(id))
	if op == debezium.Delete {
		return record("customer", op, commit, key, columns("id", uuid(id), "email", "", "status", ""), nil)
	}
	return record("customer", op, commit, key, nil, columns("id", uuid(id), "email", email,
		"status", "active", "updated_at", "2026-11-22T07:55:47.954888Z", "lab_version", int64(commit)))
}

func itemColumns(id, order, version int) []debezium.Column {
	return columns("id", uuid(id), "order_id", uuid(order), "product_sku", "SKU-1",
		"product_name", "Thing", "quantity", int64(2), "unit_price", "1.50", "line_total", "3.00",
		"lab_version", int64(version))
}

func item(op debezium.Op, id, commit int, before, after []debezium.Column) *kgo.Record {
	return record("order_item", op, commit, columns("id", uuid(id)), before, after)
}

func TestRejects(t *testing.T) {
	t.Parallel()
	good := itemColumns(1, 2, 1)
	flattened := &kgo.Record{Key: []byte(`{"id":"x"}`), Value: []byte(`{"id":"x","email":"y"}`)}
	keyless := customer(insert, 1, 1, "a@x")
	keyless.Key, keyless.Value = nil, []byte(
		`{"before":null,"after":null,"source":{"schema":"public","table":"customer","lsn":1},"op":"d"}`)
	for name, c := range map[string]struct {
		record *kgo.Record
		rule   string
	}{
		"no JSON":           {&kgo.Record{Value: []byte(`{"op":`)}, ruleUndecodable},
		"flattened":         {flattened, ruleUndecodable},
		"no position":       {&kgo.Record{Key: keyless.Key, Value: keyless.Value}, ruleUndecodable},
		"no key":            {keyless, ruleKey},
		"TOAST in a create": {customer(insert, 1, 1, debezium.Unavailable), ruleIncomplete},
		"item without an order": {item(insert, 1, 1, nil, columns("id", uuid(1), "order_id", nil,
			"product_sku", "S", "quantity", int64(1), "unit_price", "1", "line_total", "1")), ruleParent},
		"item with a name that cannot be": {record("order_item", insert, 1, columns("id", "a.b"), nil, good), ruleKey},
		"required":                        {customer(insert, 1, 1, nil), entity.RuleRequired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipeline()
			got := p.feed(t, c.record, customer(insert, 9, 1, "b@x"))
			if len(got) != 1 || got[0] != c.rule {
				t.Fatalf("rejected by %v, want one by the rule %q: %+v", got, c.rule, p.letters)
			}
			if fateOf(p.letters[0].err) != reject || p.letters[0].record != c.record {
				t.Errorf("%+v is not the rejection of the record", p.letters[0])
			}
			if p.document(t, "customers", uuid(9))["email"] != "b@x" {
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
	p.feed(t, customer(insert, 1, 1, nil))
	if l := p.letters[0]; l.entity != "customer" || l.operation != "INSERT" {
		t.Errorf("the dead letter is of %s %s", l.operation, l.entity)
	}
}

func TestFoldsMemberwise(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	p.feed(t, customer(insert, 1, 1, "first@x"),
		customer(update, 1, 2, "second@x"), customer(update, 1, 3, debezium.Unavailable),
		customer(insert, 1, 1, "first@x"), // delivered twice
		&kgo.Record{Key: []byte(`{"id":"x"}`)}, customer(insert, 2, 1, "other@x"))
	if p.memory.calls != 1 {
		t.Errorf("%d calls of the store, want 1", p.memory.calls)
	}
	want := bson.M{"_id": uuid(1), "email": "second@x", "status": "active", "labVersion": int64(3),
		"updatedAt":      bson.NewDateTimeFromTime(testTime.Add(954 * time.Millisecond)),
		"updatedAtExact": "2026-11-22T07:55:47.954888Z"}
	if diff := cmp.Diff(want, p.document(t, "customers", uuid(1))); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	for outcome, want := range map[string]float64{OutcomeApplied: 2, OutcomeFolded: 3} {
		if n := eventCount(t, p.settler.metrics, "customer", outcome); n != want {
			t.Errorf("%v events %s, want %v", n, outcome, want)
		}
	}
}

func TestSnapshotPosition(t *testing.T) {
	t.Parallel()
	p := newPipeline()
	first, second := customer(debezium.Read, 1, 0, "old@x"), customer(debezium.Read, 1, 0, "new@x")
	first.Headers, second.Headers = nil, nil
	first.Offset, second.Offset = 1, 2
	email := func() any { return p.document(t, "customers", uuid(1))["email"] }
	for range 2 { // the second round is a redelivery
		for _, r := range []*kgo.Record{first, second} {
			p.feed(t, r)
		}
		if got := email(); got != "new@x" {
			t.Errorf("email is %v: a snapshot that began anew must win", got)
		}
	}
	for version := 1; version <= 2; version++ {
		r := item(debezium.Read, 1, 0, nil, itemColumns(1, 10, version))
		r.Headers, r.Offset = nil, int64(2+version)
		p.feed(t, r)
	}
	if got := itemIn(p, t, 10)["labVersion"]; got != int64(2) {
		t.Errorf("the item has version %v: a snapshot that began anew must win", got)
	}
	p.feed(t, customer(update, 1, 1, "stream@x"))
	p.feed(t, first, second)
	if got := email(); got != "stream@x" {
		t.Errorf("email is %v: a snapshot's row must not undo a streamed one", got)
	}
}

// TestFoldIsSequential: whatever the history, whatever is delivered again and however it is cut
// into batches, folding ends where one write at a time ends, and that is the last commit.
func TestFoldIsSequential(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log, last := history(t)
		one, folded := newPipeline(), newPipeline()
		for rest := log; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "batch")
			for i := range rest[:n] {
				if err := one.work(context.Background(), rest[i:i+1]); err != nil {
					t.Fatal(err)
				}
			}
			if err := folded.work(context.Background(), rest[:n]); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(one.memory.documents, folded.memory.documents); diff != "" {
				t.Fatalf("(-one by one +folded):\n%s", diff)
			}
			rest = rest[n:]
		}
		if letters := append(one.letters, folded.letters...); len(letters) > 0 {
			t.Fatalf("a legal history was rejected: %v", letters[0].err)
		}
		for id, commit := range last {
			if at := positionOf(folded.memory.documents["customers"][uuid(id)]); !strings.HasPrefix(at, fmt.Sprintf("0000%016x", commit)) {
				t.Fatalf("row %d ends at %s, want commit %d", id, at, commit)
			}
		}
	})
}

// history is a log of a few customers, of which parts are delivered again: each time from some
// record on up to the newest, as a restarted connector does. last is each customer's last commit.
func history(t *rapid.T) (batch []arrival, last map[int]int) {
	exists, last := map[int]bool{}, map[int]int{}
	var first, log []*kgo.Record
	for i := range rapid.IntRange(1, 15).Draw(t, "commits") {
		id, commit := rapid.IntRange(1, 2).Draw(t, "id"), i+1
		kind, email := rapid.IntRange(0, 4).Draw(t, "kind"), fmt.Sprintf("changed%d@x", commit)
		var r *kgo.Record
		switch {
		case !exists[id]:
			r = customer(insert, id, commit, fmt.Sprintf("new%d@x", commit))
		case kind == 0:
			r = customer(remove, id, commit, nil)
		case kind == 1:
			r = customer(update, id, commit, debezium.Unavailable)
		case kind <= 3: // a time that needs no exact text beside it, or one that is left alone
			at := []string{"2026-11-22T07:55:47Z", debezium.Unavailable}[kind-2]
			r = record("customer", update, commit, columns("id", uuid(id)), nil, columns("id", uuid(id),
				"email", email, "status", "active", "updated_at", at, "lab_version", int64(commit)))
		default:
			r = customer(update, id, commit, email)
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
		batch = append(batch, arrival{&again, testTime})
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
		want fate
	}{
		"rejection":           {fmt.Errorf("wrapped: %w", rejectf(ruleKey, "x")), reject},
		"halt":                {fmt.Errorf("wrapped: %w", &haltError{errors.New("x")}), stop},
		"halt beside another": {errors.Join(errors.New("x"), &haltError{errors.New("y")}), stop},
		"unknown":             {errors.New("x"), later},
		"deadline":            {context.DeadlineExceeded, later},
	} {
		if got := fateOf(c.err); got != c.want {
			t.Errorf("%s: fate %v, want %v", name, got, c.want)
		}
	}
}
