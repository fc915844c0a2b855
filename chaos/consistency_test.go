package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

func wrong(entity, key string, status Status, row bool) finding {
	return finding{Example: Example{Entity: entity, Key: key, Status: status}, row: row}
}

func TestConcludeCountsEveryKeyOnce(t *testing.T) {
	t.Parallel()
	first := []finding{
		wrong("order", "3", Lost, true), wrong("order", "1", Lost, true), wrong("order", "2", Stale, true),
		wrong("customer", "9", Lost, true), wrong("order", "7", Phantom, false), wrong("order", "8", Phantom, false),
	}
	last := []finding{
		wrong("order", "1", Stale, true), wrong("order", "3", Lost, true),
		wrong("customer", "9", Lost, true), wrong("order", "8", Phantom, false),
	}
	f := &fates{byKey: map[string]map[string]*fate{"order": {"1": {timedOut: 2}, "2": {timedOut: 3}, "4": {timedOut: 4}}}}
	c := Consistency{Rows: 10, Documents: 9, Counts: map[Status]int{}}
	c.conclude(first, last, f, 1)
	want := Consistency{
		Rows: 10, Documents: 9, LateWrites: 7,
		Counts: map[Status]int{Lost: 2, Resurrected: 0, Corrupt: 0, WrongParent: 0, Stale: 1, Phantom: 1,
			SourceLoss: 0, Late: 2, OK: 6},
		Examples: []Example{
			{"customer", "9", Lost, nil, ""}, {"order", "1", Stale, nil, ""}, {"order", "8", Phantom, nil, ""},
			{"order", "2", Late, nil, "stale at the first look"},
		},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if c.Bad() != 4 {
		t.Errorf("Bad() = %d, want 4", c.Bad())
	}
}

func TestFates(t *testing.T) {
	t.Parallel()
	insert, update, remove := ledger.Insert, ledger.Update, ledger.Delete
	w := func(id int64, op ledger.Op, fate ledger.Fate) ledger.Write {
		return ledger.Write{ID: id, Entity: "order", Key: "k", Op: op, Fate: fate}
	}
	const acked, failed, perhaps = ledger.Acked, ledger.Failed, ledger.Indeterminate
	for name, c := range map[string]struct {
		writes []ledger.Write
		// row is the version that PostgreSQL has, 0 for no row.
		row     int64
		loss    bool
		deleted bool
	}{
		"as acked":                      {[]ledger.Write{w(1, insert, acked), w(2, update, acked)}, 2, false, false},
		"in any order":                  {[]ledger.Write{w(2, update, acked), w(1, insert, acked)}, 1, true, false},
		"insert gone":                   {[]ledger.Write{w(1, insert, acked)}, 0, true, false},
		"update gone":                   {[]ledger.Write{w(1, insert, acked), w(2, update, acked)}, 1, true, false},
		"failed update":                 {[]ledger.Write{w(1, insert, acked), w(2, update, failed)}, 1, false, false},
		"failed insert":                 {[]ledger.Write{w(1, insert, failed)}, 0, false, false},
		"indeterminate, there":          {[]ledger.Write{w(1, insert, acked), w(2, update, perhaps)}, 2, false, false},
		"indeterminate, not there":      {[]ledger.Write{w(1, insert, acked), w(2, update, perhaps)}, 1, false, false},
		"indeterminate insert":          {[]ledger.Write{w(1, insert, perhaps)}, 0, false, false},
		"deleted":                       {[]ledger.Write{w(1, insert, acked), w(2, remove, acked)}, 0, false, true},
		"not deleted":                   {[]ledger.Write{w(1, insert, acked), w(2, remove, acked)}, 1, true, true},
		"failed delete":                 {[]ledger.Write{w(1, insert, acked), w(2, remove, failed)}, 0, true, false},
		"perhaps deleted":               {[]ledger.Write{w(1, insert, acked), w(2, remove, perhaps)}, 0, false, true},
		"perhaps not":                   {[]ledger.Write{w(1, insert, acked), w(2, remove, perhaps)}, 1, false, true},
		"deleted and inserted":          {[]ledger.Write{w(2, remove, acked), w(3, insert, acked)}, 3, false, false},
		"inserted again and lost":       {[]ledger.Write{w(2, remove, acked), w(3, insert, acked)}, 0, true, false},
		"deleted, perhaps inserted":     {[]ledger.Write{w(2, remove, acked), w(3, insert, perhaps)}, 3, false, true},
		"perhaps deleted before update": {[]ledger.Write{w(2, remove, perhaps), w(3, update, acked)}, 0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fates{byKey: map[string]map[string]*fate{}}
			for _, w := range c.writes {
				f.add(&w)
			}
			var r *record
			if c.row > 0 {
				r = &record{version: c.row}
			}
			k := f.of("order", "k")
			if loss := k.sourceLoss(r); (loss != "") != c.loss {
				t.Errorf("loss %q, want %t", loss, c.loss)
			}
			if how := k.deleted(); (how != "") != c.deleted {
				t.Errorf("deleted %q, want %t", how, c.deleted)
			}
		})
	}
}

func TestReadFates(t *testing.T) {
	t.Parallel()
	known, err := readFates(writeLedger(t), entity.Default())
	if err != nil {
		t.Fatal(err)
	}
	if known.writes != 4 {
		t.Errorf("%d writes, want 4: those of the selftest are of no row", known.writes)
	}
	if k := known.of("customer", deletedKey); k.deleted() == "" || k.sourceLoss(nil) != "" {
		t.Errorf("%+v, want a delete", k)
	}
	if known, err = readFates("", entity.Default()); err != nil || known.of("customer", deletedKey) != nil {
		t.Errorf("without a ledger: %+v, %v", known, err)
	}
}

const (
	customerKey = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a01"
	orderKey    = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a02"
	otherOrder  = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a03"
	itemKey     = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a04"
	deletedKey  = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a05"
)

// fill writes rows by SQL and their documents as a consumer would.
func (s *servers) fill(t *testing.T) {
	t.Helper()
	schema, err := os.ReadFile("../stack/postgres/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	s.exec(t, string(schema))
	s.exec(t, `INSERT INTO customer VALUES ($1, 'a@b.c', 'active', '2026-11-22 07:55:47.954888+00', 1)`, customerKey)
	for _, key := range []string{orderKey, otherOrder} {
		s.exec(t, `INSERT INTO "order" VALUES ($1, $2, 'new', 12.50, '2026-11-22 13:25:47+05:30', '2026-11-22 07:55:47.9+00', 2)`,
			key, customerKey)
	}
	s.exec(t, `INSERT INTO order_item VALUES ($1, $2, 'sku', 'ä thing', 3, 0.10, 0.30, 4)`, itemKey, orderKey)

	at := func(text string) bson.DateTime {
		parsed, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return bson.NewDateTimeFromTime(parsed)
	}
	decimal := func(text string) bson.Decimal128 {
		d, err := bson.ParseDecimal128(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	s.replace(t, "customers", bson.M{"_id": customerKey, "email": "a@b.c", "status": "active",
		"updatedAt": at("2026-11-22T07:55:47.954Z"), "updatedAtExact": "2026-11-22T07:55:47.954888Z", "labVersion": int64(1)})
	s.replace(t, "customers", bson.M{"_id": deletedKey, "cdcMetadata": bson.M{"deleted": true}})
	for _, key := range []string{orderKey, otherOrder} {
		s.replace(t, "orders", bson.M{"_id": key, "customerId": customerKey, "status": "new", "totalAmount": decimal("12.5"),
			"createdAt": at("2026-11-22T07:55:47Z"), "updatedAt": at("2026-11-22T07:55:47.9Z"), "labVersion": int64(2)})
	}
	s.update(t, "orders", orderKey, bson.M{"$set": bson.M{"items." + itemKey: bson.M{
		"orderId": orderKey, "productSku": "sku", "productName": "ä thing", "quantity": int64(3),
		"unitPrice": decimal("0.1"), "lineTotal": decimal("0.300"), "labVersion": int64(4)}}})
	s.update(t, "orders", otherOrder, bson.M{"$set": bson.M{"items." + itemKey: bson.M{"cdcMetadata": bson.M{"deleted": true}}}})
}

// writeLedger says that everything of fill was acknowledged, and that one customer was deleted.
func writeLedger(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	w, err := ledger.Create(path, ledger.Header{})
	if err != nil {
		t.Fatal(err)
	}
	for n, key := range []string{customerKey, deletedKey} {
		w.Append(&ledger.Write{ID: 1, Entity: "customer", Op: ledger.Insert, Key: key, Fate: ledger.Acked, TimedOut: n == 0})
	}
	w.Append(&ledger.Write{ID: 2, Scenario: "selftest", Entity: "selftest", Op: ledger.Insert, Key: "k", Fate: ledger.Acked})
	w.Append(&ledger.Write{ID: 3, Entity: "customer", Op: ledger.Delete, Key: deletedKey, Fate: ledger.Acked})
	w.Append(&ledger.Write{ID: 4, Entity: "order_item", Op: ledger.Insert, Key: itemKey, Fate: ledger.Acked})
	if err := w.Close(ledger.End{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCheckAgainstServers goes through the whole check with real servers on both sides.
func TestCheckAgainstServers(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	config := DefaultCheckConfig()
	config.PostgresDSN, config.MongoURI, config.Settle = s.dsn, s.uri, 0
	if _, err := Check(t.Context(), config); err == nil || !strings.Contains(err.Error(), "read public.customer") {
		t.Errorf("without tables: %v", err)
	}
	s.fill(t)
	config.LedgerPath = writeLedger(t)

	check := func(t *testing.T, want map[Status]int) {
		t.Helper()
		got, err := Check(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range Statuses {
			if got.Counts[status] != want[status] {
				t.Errorf("%d %s, want %d; examples %+v", got.Counts[status], status, want[status], got.Examples)
			}
		}
		if got.Rows != 4 || got.LedgerWrites != 4 {
			t.Errorf("%d rows, %d writes of the ledger, want 4 and 4", got.Rows, got.LedgerWrites)
		}
	}
	clean := map[Status]int{OK: 4}
	t.Run("nothing wrong", func(t *testing.T) { check(t, clean) })
	t.Run("stale", func(t *testing.T) {
		s.update(t, "customers", customerKey, bson.M{"$set": bson.M{"labVersion": int64(0)}})
		check(t, map[Status]int{OK: 3, Stale: 1})
		s.update(t, "customers", customerKey, bson.M{"$set": bson.M{"labVersion": int64(1)}})
	})
	t.Run("a microsecond", func(t *testing.T) {
		s.update(t, "customers", customerKey, bson.M{"$set": bson.M{"updatedAtExact": "2026-11-22T07:55:47.954889Z"}})
		check(t, map[Status]int{OK: 3, Corrupt: 1})
		s.update(t, "customers", customerKey, bson.M{"$set": bson.M{"updatedAtExact": "2026-11-22T07:55:47.954888Z"}})
	})
	t.Run("resurrected", func(t *testing.T) {
		s.update(t, "customers", deletedKey, bson.M{"$unset": bson.M{"cdcMetadata.deleted": ""}})
		check(t, map[Status]int{OK: 4, Resurrected: 1})
		s.update(t, "customers", deletedKey, bson.M{"$set": bson.M{"cdcMetadata.deleted": true}})
	})
	t.Run("in two orders", func(t *testing.T) {
		s.update(t, "orders", otherOrder, bson.M{"$unset": bson.M{"items." + itemKey + ".cdcMetadata.deleted": ""}})
		check(t, map[Status]int{OK: 3, WrongParent: 1})
		s.update(t, "orders", otherOrder, bson.M{"$set": bson.M{"items." + itemKey + ".cdcMetadata.deleted": true}})
	})
	t.Run("only the ledger's", func(t *testing.T) {
		s.exec(t, "INSERT INTO customer VALUES ('00000000-0000-4000-8000-0000000000ff', 'x@y.z', 'active', now(), 9)")
		defer s.exec(t, "DELETE FROM customer WHERE lab_version = 9")
		check := func(only bool, want map[Status]int) {
			t.Helper()
			c := config
			c.OnlyLedger = only
			got, err := Check(t.Context(), c)
			if err != nil || got.Counts[OK] != want[OK] || got.Bad() != want[Lost] {
				t.Errorf("%+v, %v, want %v", got, err, want)
			}
		}
		check(false, map[Status]int{OK: 4, Lost: 1})
		check(true, map[Status]int{OK: 2})
		s.update(t, "customers", deletedKey, bson.M{"$unset": bson.M{"cdcMetadata.deleted": ""}})
		check(true, map[Status]int{OK: 2, Lost: 1})
		s.update(t, "customers", deletedKey, bson.M{"$set": bson.M{"cdcMetadata.deleted": true}})
	})
	t.Run("settles", func(t *testing.T) { s.settles(t, config) })
	t.Run("still clean", func(t *testing.T) { check(t, clean) })
	t.Run("a failed read is no result", func(t *testing.T) { s.fails(t, config) })
}

// settles: what is wrong at the first look is looked at again, and only that.
func (s *servers) settles(t *testing.T, config CheckConfig) {
	s.update(t, "orders", orderKey, bson.M{"$set": bson.M{"items." + itemKey + ".cdcMetadata.deleted": true}})
	s.update(t, "orders", otherOrder, bson.M{"$unset": bson.M{"customerId": ""}})
	s.update(t, "customers", deletedKey, bson.M{"$unset": bson.M{"cdcMetadata.deleted": ""}})
	l, err := openLook(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close(t.Context())
	known, err := readFates(config.LedgerPath, config.Registry)
	if err != nil {
		t.Fatal(err)
	}
	ts, err := l.first(t.Context(), config, known)
	if err != nil {
		t.Fatal(err)
	}
	first := ts.findings(known)
	if len(first) != 3 {
		t.Fatalf("first look %+v, want 3 findings", first)
	}
	s.update(t, "orders", orderKey, bson.M{"$unset": bson.M{"items." + itemKey + ".cdcMetadata.deleted": ""}})
	s.update(t, "customers", deletedKey, bson.M{"$set": bson.M{"cdcMetadata.deleted": true}})
	last, err := l.settle(t.Context(), first, known, time.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if len(last) != 1 || last[0].Status != WrongParent || last[0].Key != otherOrder {
		t.Errorf("after settling %+v, want the order's reference", last)
	}
	s.update(t, "orders", otherOrder, bson.M{"$set": bson.M{"customerId": customerKey}})
	if last, err = l.settle(t.Context(), last, known, time.Now().Add(time.Minute)); err != nil || len(last) > 0 {
		t.Errorf("after all is right: %+v, %v", last, err)
	}
}

func (s *servers) fails(t *testing.T, config CheckConfig) {
	for name, change := range map[string]func(*CheckConfig){
		"PostgreSQL away": func(c *CheckConfig) { c.PostgresDSN = fmt.Sprintf("postgres://cdc@127.0.0.1:%d/x", freePort(t)) },
		"MongoDB away": func(c *CheckConfig) {
			c.MongoURI = fmt.Sprintf("mongodb://127.0.0.1:%d/?serverSelectionTimeoutMS=200", freePort(t))
		},
		"no ledger": func(c *CheckConfig) { c.LedgerPath += ".none" },
		"ledger of another lab": func(c *CheckConfig) {
			c.LedgerPath = filepath.Join(t.TempDir(), "other")
			w, err := ledger.Create(c.LedgerPath, ledger.Header{})
			if err != nil {
				t.Fatal(err)
			}
			w.Append(&ledger.Write{ID: 1, Entity: "invoice", Key: "k", Op: ledger.Insert, Fate: ledger.Acked})
			if err := w.Close(ledger.End{}); err != nil {
				t.Fatal(err)
			}
		},
		"half a ledger": func(c *CheckConfig) {
			c.LedgerPath = filepath.Join(t.TempDir(), "half")
			if err := os.WriteFile(c.LedgerPath, []byte(`{"version":1}`+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		c := config
		change(&c)
		if got, err := Check(t.Context(), c); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := Check(canceled, config); err == nil {
		t.Errorf("canceled: %+v", got)
	}
	s.exec(t, `TRUNCATE customer, address, "order", order_item`)
	if err := s.mongo.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	config.LedgerPath = ""
	if got, err := Check(t.Context(), config); err == nil || !strings.Contains(err.Error(), "nothing to compare") {
		t.Errorf("empty: %+v, %v", got, err)
	}
}
