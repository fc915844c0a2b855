package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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
	change := debezium.Change{
		Key: key, Before: before, After: after, Op: op, TsUs: testTime.UnixMicro() + 2000,
		Source: debezium.Source{Connector: "postgresql", Name: "cdc", DB: "lab", Schema: "public",
			Table: table, TsUs: testTime.UnixMicro() + 1000, LSN: uint64(1<<20 - commit), TxID: 7},
	}
	value, err := change.AppendValue(nil)
	if err != nil {
		panic(err)
	}
	return &kgo.Record{
		Topic: "cdc.public." + table, Key: change.AppendKey(nil), Value: value, Timestamp: testTime,
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

func testPlanner() *planner {
	return &planner{entity.Default(), newMetrics(), func() time.Time { return testTime }}
}

func arrivals(records ...*kgo.Record) []arrival {
	batch := make([]arrival, len(records))
	for i, r := range records {
		r.Offset = int64(i)
		batch[i] = arrival{r, testTime}
	}
	return batch
}

func TestPlanRejects(t *testing.T) {
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
		"unknown table":     {record("invoice", insert, 1, good[:1], nil, good), ruleTable},
		"truncate":          {record("customer", debezium.Truncate, 1, nil, nil, nil), ruleOperation},
		"no key":            {keyless, ruleKey},
		"TOAST in a create": {customer(insert, 1, 1, debezium.Unavailable), ruleIncomplete},
		"item delete without its order": {item(remove, 1, 1,
			columns("id", uuid(1), "order_id", ""), nil), ruleParent},
		"item update without before": {item(update, 1, 1, nil, good), ruleParent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bystander := customer(insert, 9, 1, "b@x")
			got := testPlanner().plan(arrivals(c.record, bystander))
			if len(got.rejected) != 1 || got.rejected[0].rule() != c.rule {
				t.Fatalf("rejected %+v, want one by the rule %q", got.rejected, c.rule)
			}
			if fateOf(got.rejected[0].err) != reject {
				t.Errorf("%v is not a rejection", got.rejected[0].err)
			}
			if got.rejected[0].record != c.record || len(got.writes) != 1 ||
				got.writes[0].record != bystander {
				t.Errorf("the record beside it became %+v", got.writes)
			}
		})
	}
}

func TestPlanChecks(t *testing.T) {
	t.Parallel()
	p := testPlanner()
	broken := customer(insert, 1, 1, nil) // email is NOT NULL
	got := p.plan(arrivals(broken, customer(update, 2, 2, debezium.Unavailable)))
	if len(got.rejected) != 1 || got.rejected[0].record != broken {
		t.Fatalf("rejected %+v, want the customer without an email alone", got.rejected)
	}
	if letter := got.rejected[0]; letter.entity != "customer" || letter.operation != "INSERT" {
		t.Errorf("the dead letter is of %s %s", letter.operation, letter.entity)
	}
	for _, f := range got.writes[0].fields {
		if f.name == "email" {
			t.Errorf("the placeholder became %v", f.value)
		}
	}
}

func TestPlanFoldsFieldwise(t *testing.T) {
	t.Parallel()
	s := newMemoryStore()
	got := testPlanner().plan(arrivals(customer(insert, 1, 1, "first@x"),
		customer(update, 1, 2, "second@x"), customer(update, 1, 3, debezium.Unavailable),
		customer(insert, 1, 1, "first@x"), // delivered twice
		&kgo.Record{Key: []byte(`{"id":"x"}`)}, customer(insert, 2, 1, "other@x")))
	if len(got.writes) != 2 || len(got.rejected) != 0 || len(got.writes[0].from) != 4 {
		t.Fatalf("got %+v, want two writes, the first of four changes", got)
	}
	step(t, s, []string{OutcomeApplied, OutcomeApplied}, got.writes...)
	want := bson.M{"_id": uuid(1), "email": "second@x", "status": "active", "labVersion": int64(3),
		"updatedAt":      bson.NewDateTimeFromTime(testTime.Add(954 * time.Millisecond)),
		"updatedAtExact": "2026-11-22T07:55:47.954888Z"}
	document := s.read("customers", uuid(1))
	if meta := document["cdcMetadata"].(bson.M); meta["kafkaOffset"] != int64(2) {
		t.Errorf("cdcMetadata is of offset %v, want 2", meta["kafkaOffset"])
	}
	if diff := cmp.Diff(want, without(document)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

func TestPlanMovesItem(t *testing.T) {
	t.Parallel()
	s := newMemoryStore()
	got := testPlanner().plan(arrivals(
		item(insert, 1, 1, nil, itemColumns(1, 10, 1)),
		item(update, 1, 2, itemColumns(1, 10, 1), itemColumns(1, 20, 2))))
	step(t, s, []string{OutcomeApplied, OutcomeApplied}, got.writes...)
	for order, deleted := range map[int]any{10: true, 20: nil} {
		placed := s.read("orders", uuid(order))["items"].(bson.M)[uuid(1)].(bson.M)
		if placed["deleted"] != deleted || placed["productSku"] != "SKU-1" {
			t.Errorf("in order %d the item is %v", order, placed)
		}
	}
	// The move stands once in the counts: as folded into nothing, applied at its new place.
	m := newMetrics()
	for i := range got.writes {
		m.settled(&got.writes[i], OutcomeApplied)
	}
	if n := eventCount(t, m, "order_item", OutcomeApplied); n != 1 {
		t.Errorf("%v events applied, want 1", n)
	}
}

func TestSnapshotPosition(t *testing.T) {
	t.Parallel()
	first, second := customer(debezium.Read, 1, 0, "old@x"), customer(debezium.Read, 1, 0, "new@x")
	first.Headers, second.Headers = nil, nil
	s := newMemoryStore()
	for range 2 { // the second round is a redelivery
		for _, a := range arrivals(first, second) {
			s.apply(context.Background(), testPlanner().plan([]arrival{a}).writes)
		}
		if got := s.read("customers", uuid(1))["email"]; got != "new@x" {
			t.Errorf("email is %v: a snapshot that began anew must win", got)
		}
	}
	s.apply(context.Background(), testPlanner().plan(arrivals(customer(update, 1, 1, "stream@x"))).writes)
	s.apply(context.Background(), testPlanner().plan(arrivals(first, second)).writes)
	if got := s.read("customers", uuid(1))["email"]; got != "stream@x" {
		t.Errorf("email is %v: a snapshot's row must not undo a streamed one", got)
	}
}

// TestFoldIsSequential: whatever the history, whatever is delivered again and however it is cut
// into batches, folding ends where one write at a time ends, and that is the last commit.
func TestFoldIsSequential(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := history(t)
		one, folded := newMemoryStore(), newMemoryStore()
		p := testPlanner()
		for _, a := range log {
			one.apply(context.Background(), p.plan([]arrival{a}).writes)
		}
		for rest := log; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "batch")
			folded.apply(context.Background(), p.plan(rest[:n]).writes)
			rest = rest[n:]
		}
		if diff := cmp.Diff(one.documents, folded.documents); diff != "" {
			t.Fatalf("(-one by one +folded):\n%s", diff)
		}
	})
}

// history is a log of a few customers, of which parts are delivered again: each time from some
// record on up to the newest, as a restarted connector does.
func history(t *rapid.T) []arrival {
	exists := map[int]bool{}
	var first, log []*kgo.Record
	for commit := 1; commit <= rapid.IntRange(1, 15).Draw(t, "commits"); commit++ {
		id := rapid.IntRange(1, 2).Draw(t, "id")
		var r *kgo.Record
		switch {
		case !exists[id]:
			r = customer(insert, id, commit, fmt.Sprint("new", commit))
		case rapid.Bool().Draw(t, "delete"):
			r = customer(remove, id, commit, nil)
		case rapid.Bool().Draw(t, "toast"):
			r = customer(update, id, commit, debezium.Unavailable)
		default:
			r = customer(update, id, commit, fmt.Sprint("changed", commit))
		}
		exists[id] = !exists[id] || r.Value != nil && !isDelete(r)
		first, log = append(first, r), append(log, r)
		if rapid.IntRange(0, 4).Draw(t, "replay") == 0 {
			from := rapid.IntRange(0, len(first)-1).Draw(t, "from")
			log = append(log, first[from:]...)
		}
	}
	batch := make([]arrival, len(log))
	for i, r := range log {
		again := *r
		again.Offset = int64(i)
		batch[i] = arrival{&again, testTime}
	}
	return batch
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
