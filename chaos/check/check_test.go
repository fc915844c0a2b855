package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack/process"
)

func wrong(entity, key string, status reports.RowStatus, row bool) finding {
	return finding{Example: reports.Example{Entity: entity, Key: key, Status: status}, row: row}
}

func TestConcludeCountsEveryKeyOnce(t *testing.T) {
	t.Parallel()
	first := []finding{
		wrong("order", "3", reports.Lost, true), wrong("order", "1", reports.Lost, true),
		wrong("order", "2", reports.Stale, true),
		wrong("customer", "9", reports.Lost, true), wrong("order", "7", reports.Phantom, false),
		wrong("order", "8", reports.Phantom, false),
	}
	last := []finding{
		wrong("order", "1", reports.Stale, true), wrong("order", "3", reports.Lost, true),
		wrong("customer", "9", reports.Lost, true), wrong("order", "8", reports.Phantom, false),
	}
	c := reports.Consistency{Rows: 10, Documents: 9}
	conclude(&c, first, last, 1)
	want := reports.Consistency{
		Checked: true, Rows: 10, Documents: 9,
		Counts: map[reports.RowStatus]int64{
			reports.Lost: 2, reports.Resurrected: 0, reports.Corrupt: 0, reports.WrongParent: 0,
			reports.Stale: 1, reports.Phantom: 1, reports.SourceLoss: 0, reports.Late: 2,
			reports.OK: 6, reports.Pending: 0,
		},
		Examples: []reports.Example{
			{Entity: "customer", Key: "9", Status: reports.Lost},
			{Entity: "order", Key: "1", Status: reports.Stale},
			{Entity: "order", Key: "8", Status: reports.Phantom},
			{Entity: "order", Key: "2", Status: reports.Late, Detail: "stale at first"},
		},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

// TestConcludeBoundsTheExamples: a Run holds so many examples and no more, the bad statuses first.
func TestConcludeBoundsTheExamples(t *testing.T) {
	t.Parallel()
	var first, last []finding
	for n := range reports.MaxExamples {
		key := fmt.Sprintf("%03d", n)
		first = append(first, wrong("order", "a"+key, reports.Corrupt, true),
			wrong("order", "b"+key, reports.Stale, true))
		last = append(last, wrong("order", "a"+key, reports.Corrupt, true))
	}
	c := reports.Consistency{Rows: 100}
	conclude(&c, first, last, reports.MaxExamples)
	if c.Counts[reports.Late] != reports.MaxExamples || len(c.Examples) != reports.MaxExamples ||
		slices.ContainsFunc(c.Examples, func(e reports.Example) bool {
			return e.Status != reports.Corrupt
		}) {
		t.Errorf("%v, %+v", c.Counts, c.Examples)
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
	schema, err := os.ReadFile("../../stack/postgres/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	s.exec(t, string(schema))
	s.exec(t, `INSERT INTO customer `+
		`VALUES ($1, 'a@b.c', 'active', '2026-11-22 07:55:47.954888+00', 1)`, customerKey)
	for _, key := range []string{orderKey, otherOrder} {
		s.exec(t, `INSERT INTO "order" VALUES ($1, $2, 'new', 12.50, `+
			`'2026-11-22 13:25:47+05:30', '2026-11-22 07:55:47.9+00', 2)`, key, customerKey)
	}
	s.exec(t, `INSERT INTO order_item VALUES ($1, $2, 'sku', 'ä thing', 3, 0.10, 0.30, 4)`,
		itemKey, orderKey)

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
		"updatedAt":      at("2026-11-22T07:55:47.954Z"),
		"updatedAtExact": "2026-11-22T07:55:47.954888Z", "labVersion": int64(1)})
	s.replace(t, "customers", bson.M{"_id": deletedKey, "cdcMetadata": bson.M{"deleted": true}})
	for _, key := range []string{orderKey, otherOrder} {
		s.replace(t, "orders", bson.M{"_id": key, "customerId": customerKey, "status": "new",
			"totalAmount": decimal("12.5"), "createdAt": at("2026-11-22T07:55:47Z"),
			"updatedAt": at("2026-11-22T07:55:47.9Z"), "labVersion": int64(2)})
	}
	s.update(t, "orders", orderKey, bson.M{"$set": bson.M{"items." + itemKey: bson.M{
		"orderId": orderKey, "productSku": "sku", "productName": "ä thing", "quantity": int64(3),
		"unitPrice": decimal("0.1"), "lineTotal": decimal("0.300"), "labVersion": int64(4)}}})
	s.update(t, "orders", otherOrder, bson.M{"$set": bson.M{
		"items." + itemKey: bson.M{"cdcMetadata": bson.M{"deleted": true}}}})
}

// writeLedger acknowledges every row of fill, and the delete of a customer.
func writeLedger(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	w, err := ledger.Create(path, ledger.Header{})
	if err != nil {
		t.Fatal(err)
	}
	for n, key := range []string{customerKey, deletedKey} {
		w.Append(&ledger.Write{ID: 1, Entity: "customer", Op: ledger.Insert, Key: key,
			Fate: ledger.Acked, TimedOut: n == 0})
	}
	w.Append(&ledger.Write{ID: 2, Scenario: "selftest", Entity: "selftest", Op: ledger.Insert,
		Key: "k", Fate: ledger.Acked})
	w.Append(&ledger.Write{ID: 3, Entity: "customer", Op: ledger.Delete, Key: deletedKey,
		Fate: ledger.Acked})
	w.Append(&ledger.Write{ID: 4, Entity: "order_item", Op: ledger.Insert, Key: itemKey,
		Fate: ledger.Acked})
	if err := w.Close(ledger.End{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCheckAgainstServers goes through the whole check with real servers on both sides.
func TestCheckAgainstServers(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	config := DefaultConfig()
	config.PostgresDSN, config.MongoURI, config.Settle = s.dsn, s.uri, 0
	config.Database = s.database
	if _, err := Tables(t.Context(), config); err == nil ||
		!strings.Contains(err.Error(), "read public.customer") {
		t.Errorf("without tables: %v", err)
	}
	s.fill(t)
	config.LedgerPath = writeLedger(t)

	check := func(t *testing.T, want map[reports.RowStatus]int64) {
		t.Helper()
		got, err := Tables(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range reports.RowStatuses {
			if got.Counts[status] != want[status] {
				t.Errorf("%d %s, want %d; examples %+v", got.Counts[status], status, want[status],
					got.Examples)
			}
		}
		if got.Rows != 4 {
			t.Errorf("%d rows, want 4", got.Rows)
		}
	}
	clean := map[reports.RowStatus]int64{reports.OK: 4}
	t.Run("nothing wrong", func(t *testing.T) { check(t, clean) })
	t.Run("stale", func(t *testing.T) {
		s.update(t, "customers", customerKey, bson.M{"$set": bson.M{"labVersion": int64(0)}})
		check(t, map[reports.RowStatus]int64{reports.OK: 3, reports.Stale: 1})
		s.update(t, "customers", customerKey, bson.M{"$set": bson.M{"labVersion": int64(1)}})
	})
	t.Run("a microsecond", func(t *testing.T) {
		s.update(t, "customers", customerKey,
			bson.M{"$set": bson.M{"updatedAtExact": "2026-11-22T07:55:47.954889Z"}})
		check(t, map[reports.RowStatus]int64{reports.OK: 3, reports.Corrupt: 1})
		s.update(t, "customers", customerKey,
			bson.M{"$set": bson.M{"updatedAtExact": "2026-11-22T07:55:47.954888Z"}})
	})
	t.Run("resurrected", func(t *testing.T) {
		s.update(t, "customers", deletedKey, bson.M{"$unset": bson.M{"cdcMetadata.deleted": ""}})
		check(t, map[reports.RowStatus]int64{reports.OK: 4, reports.Resurrected: 1})
		s.update(t, "customers", deletedKey, bson.M{"$set": bson.M{"cdcMetadata.deleted": true}})
	})
	t.Run("in two orders", func(t *testing.T) {
		s.update(t, "orders", otherOrder,
			bson.M{"$unset": bson.M{"items." + itemKey + ".cdcMetadata.deleted": ""}})
		check(t, map[reports.RowStatus]int64{reports.OK: 3, reports.WrongParent: 1})
		s.update(t, "orders", otherOrder,
			bson.M{"$set": bson.M{"items." + itemKey + ".cdcMetadata.deleted": true}})
	})
	t.Run("only the ledger's", func(t *testing.T) { s.onlyLedger(t, config) })
	t.Run("settles", func(t *testing.T) { s.settles(t, config) })
	t.Run("still clean", func(t *testing.T) { check(t, clean) })
	t.Run("a failed read is no result", func(t *testing.T) { s.fails(t, config) })
}

// onlyLedger: rows outside the ledger are somebody else's.
func (s *servers) onlyLedger(t *testing.T, config Config) {
	s.exec(t, "INSERT INTO customer VALUES "+
		"('00000000-0000-4000-8000-0000000000ff', 'x@y.z', 'active', now(), 9)")
	defer s.exec(t, "DELETE FROM customer WHERE lab_version = 9")
	check := func(only bool, want map[reports.RowStatus]int64) {
		t.Helper()
		c := config
		c.OnlyLedger = only
		got, err := Tables(t.Context(), c)
		var bad int64
		for status, n := range got.Counts {
			if status.Bad() {
				bad += n
			}
		}
		if err != nil || got.Counts[reports.OK] != want[reports.OK] || bad != want[reports.Lost] {
			t.Errorf("%+v, %v, want %v", got, err, want)
		}
	}
	check(false, map[reports.RowStatus]int64{reports.OK: 4, reports.Lost: 1})
	check(true, map[reports.RowStatus]int64{reports.OK: 2})
	s.update(t, "customers", deletedKey, bson.M{"$unset": bson.M{"cdcMetadata.deleted": ""}})
	check(true, map[reports.RowStatus]int64{reports.OK: 2, reports.Lost: 1})
	s.update(t, "customers", deletedKey, bson.M{"$set": bson.M{"cdcMetadata.deleted": true}})
}

// settles: only keys wrong at first are read again.
func (s *servers) settles(t *testing.T, config Config) {
	s.update(t, "orders", orderKey,
		bson.M{"$set": bson.M{"items." + itemKey + ".cdcMetadata.deleted": true}})
	s.update(t, "orders", otherOrder, bson.M{"$unset": bson.M{"customerId": ""}})
	s.update(t, "customers", deletedKey, bson.M{"$unset": bson.M{"cdcMetadata.deleted": ""}})
	l, err := connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close(t.Context())
	known, err := readFates(config.LedgerPath, config.Registry)
	if err != nil {
		t.Fatal(err)
	}
	ts, err := l.readAll(t.Context(), config, known)
	if err != nil {
		t.Fatal(err)
	}
	first := ts.findings(known)
	if len(first) != 3 {
		t.Fatalf("first %+v, want 3 findings", first)
	}
	s.update(t, "orders", orderKey,
		bson.M{"$unset": bson.M{"items." + itemKey + ".cdcMetadata.deleted": ""}})
	s.update(t, "customers", deletedKey, bson.M{"$set": bson.M{"cdcMetadata.deleted": true}})
	last, err := l.settle(t.Context(), first, known, time.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if len(last) != 1 || last[0].Status != reports.WrongParent || last[0].Key != otherOrder {
		t.Errorf("after settling %+v, want the order's reference", last)
	}
	s.update(t, "orders", otherOrder, bson.M{"$set": bson.M{"customerId": customerKey}})
	if last, err = l.settle(t.Context(), last, known, time.Now().Add(time.Minute)); err != nil ||
		len(last) > 0 {
		t.Errorf("after all is right: %+v, %v", last, err)
	}
}

func (s *servers) fails(t *testing.T, config Config) {
	for name, change := range map[string]func(*Config){
		"PostgreSQL away": func(c *Config) {
			c.PostgresDSN = fmt.Sprintf("postgres://cdc@127.0.0.1:%d/x", freePort(t))
		},
		"MongoDB away": func(c *Config) {
			c.MongoURI = fmt.Sprintf("mongodb://127.0.0.1:%d/?serverSelectionTimeoutMS=200",
				freePort(t))
		},
		"no ledger": func(c *Config) { c.LedgerPath += ".none" },
		"ledger of another lab": func(c *Config) {
			c.LedgerPath = filepath.Join(t.TempDir(), "other")
			w, err := ledger.Create(c.LedgerPath, ledger.Header{})
			if err != nil {
				t.Fatal(err)
			}
			w.Append(&ledger.Write{ID: 1, Entity: "invoice", Key: "k", Op: ledger.Insert,
				Fate: ledger.Acked})
			if err := w.Close(ledger.End{}); err != nil {
				t.Fatal(err)
			}
		},
		"half a ledger": func(c *Config) {
			c.LedgerPath = filepath.Join(t.TempDir(), "half")
			if err := os.WriteFile(c.LedgerPath, []byte(`{"version":1}`+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		c := config
		change(&c)
		if got, err := Tables(t.Context(), c); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := Tables(canceled, config); err == nil {
		t.Errorf("canceled: %+v", got)
	}
	s.exec(t, `TRUNCATE customer, address, "order", order_item`)
	if err := s.mongo.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	config.LedgerPath = ""
	if got, err := Tables(t.Context(), config); err == nil ||
		!strings.Contains(err.Error(), "nothing to compare") {
		t.Errorf("empty: %+v, %v", got, err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}
