package cdc

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// settled gives back what a transaction took, as acknowledged.
func settled(r *rows, choices []choice) []choice {
	for _, c := range choices {
		r.settle(c, ledger.Acked)
	}
	return choices
}

func insertAll(r *rows, n int, e entity) {
	for range n {
		settled(r, r.take(Mix{Insert: 1}, part{entity: e, op: ledger.Insert}))
	}
}

// The updates of a row are as frequent as its rank says: rank k gets 1/k^s of what the first gets.
func TestZipf(t *testing.T) {
	t.Parallel()
	const n, draws, exponent = 50, 20_000, 1.5
	model := newRows(Entities{Customer: 1}, shape{zipf: exponent}, 3, 1)
	insertAll(model, n, customer)
	rank := map[*row]int{}
	for i, r := range model.ranks[customer].rows {
		rank[r] = i
	}
	hits := make([]int, n)
	for range draws {
		c := settled(model, model.take(Mix{}, part{entity: customer, op: ledger.Update}))[0]
		hits[rank[c.row]]++
	}
	sum := 0.0
	for k := 1; k <= n; k++ {
		sum += math.Pow(float64(k), -exponent)
	}
	for _, k := range []int{1, 2, 5, 20} {
		want := draws * math.Pow(float64(k), -exponent) / sum
		if got := float64(hits[k-1]); math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("rank %d was updated %v times, want about %.0f", k, got, want)
		}
	}
}

// Rows that are gone, or have an outstanding write, are stepped over, and do not pile up.
func TestZipfStepsOver(t *testing.T) {
	t.Parallel()
	model := newRows(Entities{Customer: 1}, shape{zipf: 5}, 3, 1)
	insertAll(model, 200, customer)
	first := model.take(Mix{}, part{entity: customer, op: ledger.Update}, part{entity: customer, op: ledger.Update})
	if first[0].row == first[1].row || first[0].op != ledger.Update || first[1].op != ledger.Update {
		t.Fatalf("one row has two writes at once: %+v", first)
	}
	settled(model, first)
	for range 190 {
		settled(model, model.take(Mix{}, part{entity: customer, op: ledger.Delete}))
	}
	for range 200 {
		c := settled(model, model.take(Mix{}, part{entity: customer, op: ledger.Update}))[0]
		if c.op != ledger.Update || c.row.at == gone {
			t.Fatalf("got %+v", c)
		}
	}
	if left := len(model.ranks[customer].rows); left > 50 {
		t.Errorf("%d ranks for 10 rows", left)
	}
	model.take(Mix{}, part{entity: customer, op: ledger.Update})
	for range 9 {
		model.take(Mix{}, part{entity: customer, op: ledger.Delete})
	}
	if c := model.take(Mix{}, part{entity: customer, op: ledger.Update})[0]; c.op != ledger.Insert || !c.substituted {
		t.Errorf("no row is free: %+v", c)
	}
}

func TestFreeText(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	for bytes, want := range map[int32]string{0: "Mug", 3: "Mug", 4: "Mug "} {
		if got := (&row{text: bytes}).freeText("Mug", random); got != want {
			t.Errorf("%d bytes: got %q", bytes, got)
		}
	}
	if got := (&row{text: 1000}).freeText("Mug", random); len(got) != 1000 || !strings.HasPrefix(got, "Mug ") {
		t.Errorf("1000 bytes: got %d, %q", len(got), got)
	}
	model := newRows(Entities{Address: 1}, shape{rowBytes: 300, largeShare: 0.25}, 1, 1)
	settled(model, model.take(Mix{}, part{entity: address, op: ledger.Insert})) // its customer
	large := 0
	for range 1000 {
		c := settled(model, model.take(Mix{}, part{entity: address, op: ledger.Insert}))[0]
		_, arguments := statement(c, nil)
		size := 0
		for _, a := range arguments {
			if text, ok := a.(string); ok {
				size = max(size, len(text))
			}
		}
		if c.row.isLarge {
			large++
		}
		if want := map[bool]int{false: 300, true: largeText}[c.row.isLarge]; size != want {
			t.Fatalf("large %v: %d bytes, want %d", c.row.isLarge, size, want)
		}
	}
	if large < 200 || large > 300 {
		t.Errorf("%d of 1000 rows are large, want about 250", large)
	}
}

// A large text lies out of line in PostgreSQL, and most updates of its row do not touch it.
func TestLargeTextIsOutOfLine(t *testing.T) {
	t.Parallel()
	database := startDatabase(t)
	source, err := openSource(t.Context(), database.dsn(), 1, testStatementTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer source.close()
	model := newRows(Entities{Address: 1}, shape{largeShare: 1}, 1, 1)
	perform := func(e entity, op ledger.Op) string {
		c := model.take(Mix{}, part{entity: e, op: op})[0]
		sql, arguments := statement(c, nil)
		if fate, err := source.execute(t.Context(), sql, arguments); fate != ledger.Acked {
			t.Fatal(err)
		}
		model.settle(c, ledger.Acked)
		return sql
	}
	perform(customer, ledger.Insert)
	const inserts, updates = 5, 100
	for range inserts {
		perform(address, ledger.Insert)
	}
	rewritten := 0
	for range updates {
		if strings.Contains(perform(address, ledger.Update), "street") {
			rewritten++
		}
	}
	if rewritten == 0 || rewritten > updates/3 {
		t.Errorf("%d of %d updates set the large text", rewritten, updates)
	}
	var chunks, short int
	row := source.pool.QueryRow(t.Context(), `SELECT
		(SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'address'::regclass),
		(SELECT count(*) FROM address WHERE octet_length(street) <> $1)`, largeText)
	if err := row.Scan(&chunks, &short); err != nil {
		t.Fatal(err)
	}
	if chunks < inserts*largeText || short > 0 {
		t.Errorf("%d bytes are out of line, %d rows are short", chunks, short)
	}
}
