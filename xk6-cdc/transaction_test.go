package cdc

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/types"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

const testStatementTimeout = 5 * time.Second

// An order's items belong to it when one transaction makes both.
func TestTransactionIsRelated(t *testing.T) {
	t.Parallel()
	model := newRows(Entities{1, 1, 1, 1}, shape{}, 1, 1)
	insertAll(model, 20, customer)
	insertAll(model, 20, order)
	insert := func(e entity) part { return part{entity: e, op: ledger.Insert} }
	for range 20 {
		c := settled(model, model.take(Mix{}, insert(customer), insert(address), insert(order), insert(orderItem), insert(orderItem)))
		if c[1].row.parent != c[0].row || c[2].row.parent != c[0].row || c[3].row.parent != c[2].row || c[4].row.parent != c[2].row {
			t.Fatalf("not related: %+v", c)
		}
		if c[2].row.children != 2 {
			t.Errorf("the order has %d children", c[2].row.children)
		}
		for i := range c[1:] {
			if c[i+1].id != c[i].id+1 {
				t.Errorf("IDs %d, %d", c[i].id, c[i+1].id)
			}
		}
	}
}

func TestTransactFates(t *testing.T) {
	t.Parallel()
	database := startDatabase(t)
	s, err := openSource(t.Context(), database.dsn(), 1, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	const key = "4c6f7574-0000-4000-8000-00000000000"
	insert := func(n string) query {
		return query{`INSERT INTO customer (id, email, status) VALUES ($1, 'a@example.com', 'active')`, []any{key + n}}
	}
	check := func(name string, want ledger.Fate, reason string, statements ...query) error {
		t.Helper()
		fate, err := s.transact(t.Context(), statements)
		if fate != want || (err == nil) != (want == ledger.Acked) || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: got %s, %v; want %s %q", name, fate, err, want, reason)
		}
		return err
	}
	rows := func(want int) {
		t.Helper()
		var got int
		if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM customer`).Scan(&got); err != nil || got != want {
			t.Errorf("%d rows, %v; want %d", got, err, want)
		}
	}
	check("two", ledger.Acked, "", insert("1"), insert("2"))
	check("a key twice", ledger.Failed, "write 2 of a transaction of 3: ERROR", insert("3"), insert("1"), insert("4"))
	rows(2)
	err = check("no such row", ledger.Failed, "write 2 of a transaction of 2: the statement did not change one row: DELETE 0",
		insert("5"), query{`DELETE FROM customer WHERE id = $1`, []any{key + "9"}})
	var missing *noRowError
	if !errors.As(err, &missing) || missing.statement != 1 {
		t.Errorf("got %#v", err)
	}
	check("too slow", ledger.Failed, "57014", insert("6"), query{`UPDATE customer SET status = 'x' || pg_sleep(5)`, nil})
	check("its session is ended before the commit", ledger.Failed, "57P01", insert("7"),
		query{`UPDATE customer SET status = pg_terminate_backend(pg_backend_pid())::text WHERE id = $1`, []any{key + "1"}})
	rows(2)
	database.run(t, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON customer DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	check("refused by the commit", ledger.Failed, "commit a transaction of 2: ERROR: refused", insert("8"),
		query{`DELETE FROM customer WHERE id = $1`, []any{key + "1"}})
	rows(2)
	database.run(t, `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$`)
	check("its session is ended by the commit", ledger.Indeterminate, "57P01", insert("8"),
		query{`DELETE FROM customer WHERE id = $1`, []any{key + "1"}})
	rows(2)
	database.kill()
	check("the server is away", ledger.Failed, "", insert("8"), insert("9"))
}

// Transactions through the whole lab: each write has its own line, all of one share a fate, a time
// and a commit, and MongoDB shows all of them. Marks stand between them.
func TestLabTransactions(t *testing.T) {
	t.Parallel()
	target, source := startServer(t), startDatabase(t)
	lab, hook := labOn(t, target, func(o *Options) { o.Postgres, o.SeedRows = source.dsn(), 8 })
	startCopier(t, source, target, lab.options.Database)
	if err := lab.Mark("early", ""); err == nil || !strings.Contains(err.Error(), "not started") {
		t.Errorf("got %v", err)
	}
	if err := lab.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	source.run(t, `ALTER TABLE order_item ADD CHECK (quantity <> 13)`)
	put := func(quantity int) {
		now := lab.now()
		item := part{orderItem, ledger.Insert, map[string]any{"quantity": quantity}}
		if err := lab.enqueue(request{scenario: "load", mix: Mix{Insert: 1}, intendedNs: now, enqueuedNs: now,
			part: part{entity: order, op: ledger.Insert}, more: []part{item, item}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Mark("begin", "load"); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		put(n)
	}
	put(13)
	if err := lab.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := lab.Mark("late", ""); err == nil || !strings.Contains(err.Error(), "drained") {
		t.Errorf("got %v", err)
	}
	_, lines, _ := readLedger(t, lab)
	groups := map[int64][]ledger.Write{}
	for _, w := range lines {
		if w.Scenario == "load" {
			groups[w.IntendedNs] = append(groups[w.IntendedNs], w)
		}
	}
	failed, ids := 0, map[int64]bool{}
	for _, group := range groups {
		if len(group) != 3 {
			t.Fatalf("%d lines of one transaction", len(group))
		}
		for _, w := range group {
			ids[w.ID] = true
			if w.Fate != group[0].Fate || w.CommittedNs == 0 && w.Fate == ledger.Acked || w.SentNs != group[0].SentNs ||
				(w.VisibleNs > 0) != (w.Fate == ledger.Acked) {
				t.Errorf("%+v\nbeside %+v", w, group[0])
			}
		}
		if group[0].Fate == ledger.Failed {
			failed++
		}
	}
	if len(groups) != 21 || len(ids) != 63 || failed != 2 {
		t.Errorf("%d transactions, %d IDs, %d failed", len(groups), len(ids), failed)
	}
	if n := said(hook, "a write (insert of order) is failed: ", "SQLSTATE 23514"); n != 1 {
		t.Errorf("the failure and its reason were said %d times, want 1", n)
	}
	marks, err := ledger.Marks(lab.options.Ledger)
	if err != nil || len(marks) != 1 || marks[0].Label != "begin" || marks[0].Scenario != "load" || marks[0].AtNs <= 0 {
		t.Errorf("marks %+v, %v", marks, err)
	}
}

// said is how many lines of a log have all these texts.
func said(hook *logtest.Hook, texts ...string) (n int) {
	for _, entry := range hook.AllEntries() {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(entry.Message, text) }) {
			n++
		}
	}
	return n
}

// What comes after the timeout is late, not lost: the drain goes on looking for it.
func TestDrainFindsWhatIsLate(t *testing.T) {
	t.Parallel()
	target, source := startServer(t), startDatabase(t)
	lab, _ := labOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Timeout = source.dsn(), 0, types.Duration(50*time.Millisecond)
	})
	if err := lab.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	source.run(t, changes)
	for range 10 {
		if err := lab.enqueue(request{scenario: "load", intendedNs: lab.now(), part: part{entity: customer, op: ledger.Insert}}); err != nil {
			t.Fatal(err)
		}
	}
	if !lab.await(t.Context(), 20*time.Second, func() bool { return lab.tracker.snapshot().timedOut == 10 }) {
		t.Fatalf("%+v", lab.tracker.snapshot())
	}
	copyChanges(t, source, target, lab.options.Database)
	if err := lab.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, lines, end := readLedger(t, lab)
	for _, w := range lines {
		if !w.TimedOut || w.VisibleNs == 0 || w.Fate != ledger.Acked {
			t.Errorf("%+v", w)
		}
	}
	if len(lines) != 10 || end.Outstanding != 0 {
		t.Errorf("%d lines, end %+v", len(lines), end)
	}
}
