package cdc

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/types"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// Transactions through the whole lab: each write has a line, all writes of a transaction share a
// fate, a time and a commit, and MongoDB shows all. Marks stand between the transactions.
func TestGeneratorTransactions(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	g, hook := generatorOn(t, target, func(o *Options) { o.Postgres, o.SeedRows = source.DSN(), 8 })
	startCopier(t, source, target, g.options.Database)
	if err := g.Mark("early", ""); err == nil || !strings.Contains(err.Error(), "not started") {
		t.Errorf("got %v", err)
	}
	if err := g.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	source.Run(t, `ALTER TABLE order_item ADD CHECK (quantity <> 13)`)
	put := func(quantity int) {
		now := g.now()
		item := tables.Part{Table: tables.OrderItem, Op: ledger.Insert,
			Fields: map[string]any{"quantity": quantity}}
		if err := g.enqueue(request{scenario: "load", mix: tables.Mix{Insert: 1},
			intendedNs: now, enqueuedNs: now, more: []tables.Part{item, item},
			Part: tables.Part{Table: tables.Order, Op: ledger.Insert}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Mark("begin", "load"); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		put(n)
	}
	put(13)
	if err := g.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := g.Mark("late", ""); err == nil || !strings.Contains(err.Error(), "drained") {
		t.Errorf("got %v", err)
	}
	_, lines, _ := readLedger(t, g)
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
			if w.Fate != group[0].Fate || w.CommittedNs == 0 && w.Fate == ledger.Acked ||
				w.SentNs != group[0].SentNs || (w.VisibleNs > 0) != (w.Fate == ledger.Acked) {
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
	marks, err := marksOf(g.options.Ledger)
	if err != nil || len(marks) != 1 || marks[0].Label != "begin" || marks[0].Scenario != "load" ||
		marks[0].AtNs <= 0 {
		t.Errorf("marks %+v, %v", marks, err)
	}
}

// marksOf are the labelled moments of a ledger, in the file's order.
func marksOf(path string) (marks []ledger.Mark, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var m ledger.Mark
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, err
		}
		if m.Kind == "mark" {
			marks = append(marks, m)
		}
	}
	return marks, nil
}

// said counts the lines of a log that have all these texts.
func said(hook *logtest.Hook, texts ...string) (n int) {
	for _, entry := range hook.AllEntries() {
		if !slices.ContainsFunc(texts, func(text string) bool {
			return !strings.Contains(entry.Message, text)
		}) {
			n++
		}
	}
	return n
}

// A write seen after the timeout is late, not lost: the drain goes on looking.
func TestDrainFindsWhatIsLate(t *testing.T) {
	t.Parallel()
	target, source := servertest.StartMongo(t), servertest.StartPostgres(t)
	g, _ := generatorOn(t, target, func(o *Options) {
		o.Postgres, o.SeedRows, o.Timeout = source.DSN(), 0, types.Duration(50*time.Millisecond)
	})
	if err := g.Start(t.Context(), &lib.Options{}); err != nil {
		t.Fatal(err)
	}
	source.Run(t, changes)
	for range 10 {
		if err := g.enqueue(request{scenario: "load", intendedNs: g.now(),
			Part: tables.Part{Table: tables.Customer, Op: ledger.Insert}}); err != nil {
			t.Fatal(err)
		}
	}
	if !g.await(t.Context(), 20*time.Second, func() bool {
		return g.tracker.Counts().TimedOut == 10
	}) {
		t.Fatalf("%+v", g.tracker.Counts())
	}
	copyChanges(t, source, target, g.options.Database)
	if err := g.Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, lines, end := readLedger(t, g)
	for _, w := range lines {
		if !w.TimedOut || w.VisibleNs == 0 || w.Fate != ledger.Acked {
			t.Errorf("%+v", w)
		}
	}
	if len(lines) != 10 || end.Outstanding != 0 {
		t.Errorf("%d lines, end %+v", len(lines), end)
	}
}
