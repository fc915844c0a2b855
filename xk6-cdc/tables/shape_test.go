package tables

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/servertest"
	"github.com/cdclab/cdclab/xk6-cdc/source"
)

// settled gives back the choices of a transaction, as acknowledged.
func settled(r *Rows, choices []Choice) []Choice {
	for _, c := range choices {
		r.Settle(c, ledger.Acked)
	}
	return choices
}

func insertAll(r *Rows, n int, e Table) {
	for range n {
		settled(r, r.Take(Mix{Insert: 1}, Part{Table: e, Op: ledger.Insert}))
	}
}

// The updates of a row are as frequent as the row's rank says: rank k gets 1/k^s of the updates of
// the first.
func TestZipf(t *testing.T) {
	t.Parallel()
	const n, draws, exponent = 50, 20_000, 1.5
	model := NewRows(Entities{Customer: 1}, Shape{Zipf: exponent}, 3, 1)
	insertAll(model, n, Customer)
	rank := map[*Row]int{}
	for i, r := range model.ranks[Customer].rows {
		rank[r] = i
	}
	hits := make([]int, n)
	for range draws {
		c := settled(model, model.Take(Mix{}, Part{Table: Customer, Op: ledger.Update}))[0]
		hits[rank[c.Row]]++
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
	model := NewRows(Entities{Customer: 1}, Shape{Zipf: 5}, 3, 1)
	insertAll(model, 200, Customer)
	first := model.Take(Mix{}, Part{Table: Customer, Op: ledger.Update},
		Part{Table: Customer, Op: ledger.Update})
	if first[0].Row == first[1].Row || first[0].Op != ledger.Update ||
		first[1].Op != ledger.Update {
		t.Fatalf("one row has two writes at once: %+v", first)
	}
	settled(model, first)
	for range 190 {
		settled(model, model.Take(Mix{}, Part{Table: Customer, Op: ledger.Delete}))
	}
	for range 200 {
		c := settled(model, model.Take(Mix{}, Part{Table: Customer, Op: ledger.Update}))[0]
		if c.Op != ledger.Update || c.Row.at == gone {
			t.Fatalf("got %+v", c)
		}
	}
	if left := len(model.ranks[Customer].rows); left > 50 {
		t.Errorf("%d ranks for 10 rows", left)
	}
	model.Take(Mix{}, Part{Table: Customer, Op: ledger.Update})
	for range 9 {
		model.Take(Mix{}, Part{Table: Customer, Op: ledger.Delete})
	}
	if c := model.Take(Mix{}, Part{Table: Customer, Op: ledger.Update})[0]; c.Op != ledger.Insert ||
		!c.Substituted() {
		t.Errorf("no row is free: %+v", c)
	}
}

func TestFreeText(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	for bytes, want := range map[int32]string{0: "Mug", 3: "Mug", 4: "Mug "} {
		if got := (&Row{text: bytes}).freeText("Mug", random); got != want {
			t.Errorf("%d bytes: got %q", bytes, got)
		}
	}
	if got := (&Row{text: 1000}).freeText("Mug", random); len(got) != 1000 ||
		!strings.HasPrefix(got, "Mug ") {
		t.Errorf("1000 bytes: got %d, %q", len(got), got)
	}
	model := NewRows(Entities{Address: 1}, Shape{RowBytes: 300, LargeShare: 0.25}, 1, 1)
	// the address's customer
	settled(model, model.Take(Mix{}, Part{Table: Address, Op: ledger.Insert}))
	large := 0
	for range 1000 {
		c := settled(model, model.Take(Mix{}, Part{Table: Address, Op: ledger.Insert}))[0]
		_, arguments := Statement(c, nil)
		size := 0
		for _, a := range arguments {
			if text, ok := a.(string); ok {
				size = max(size, len(text))
			}
		}
		if c.Row.isLarge {
			large++
		}
		if want := map[bool]int{false: 300, true: largeText}[c.Row.isLarge]; size != want {
			t.Fatalf("large %v: %d bytes, want %d", c.Row.isLarge, size, want)
		}
	}
	if large < 200 || large > 300 {
		t.Errorf("%d of 1000 rows are large, want about 250", large)
	}
}

// A large text lies out of line in PostgreSQL, and most updates of the row do not touch the text.
func TestLargeTextIsOutOfLine(t *testing.T) {
	t.Parallel()
	database := servertest.StartPostgres(t)
	source, err := source.Open(t.Context(), database.DSN(), 1, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	model := NewRows(Entities{Address: 1}, Shape{LargeShare: 1}, 1, 1)
	perform := func(e Table, op ledger.Op) string {
		c := model.Take(Mix{}, Part{Table: e, Op: op})[0]
		sql, arguments := Statement(c, nil)
		if fate, err := source.Execute(t.Context(), sql, arguments); fate != ledger.Acked {
			t.Fatal(err)
		}
		model.Settle(c, ledger.Acked)
		return sql
	}
	perform(Customer, ledger.Insert)
	const inserts, updates = 5, 100
	for range inserts {
		perform(Address, ledger.Insert)
	}
	rewritten := 0
	for range updates {
		if strings.Contains(perform(Address, ledger.Update), "street") {
			rewritten++
		}
	}
	if rewritten == 0 || rewritten > updates/3 {
		t.Errorf("%d of %d updates set the large text", rewritten, updates)
	}
	var chunks, short int
	database.Scan(t, fmt.Sprintf(`SELECT
		(SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'address'::regclass),
		(SELECT count(*) FROM address WHERE octet_length(street) <> %d)`, largeText),
		&chunks, &short)
	if chunks < inserts*largeText || short > 0 {
		t.Errorf("%d bytes are out of line, %d rows are short", chunks, short)
	}
}
