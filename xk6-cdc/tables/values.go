package tables

import (
	"fmt"
	"math/rand/v2"

	"github.com/cdclab/cdclab/ledger"
)

// assignment is one column and the column's new value.
type assignment struct {
	column string
	value  any
}

// freeText is the column of each entity for any text; a customer and an order have none.
var freeText = map[Table]string{Address: "street", OrderItem: "product_name"}

// rewriteLarge says that one in 10 updates of a row with an out-of-line text sets the text too. The
// other updates leave the text alone, so that PostgreSQL does not send the text: the consumer must
// keep the old text.
const rewriteLarge = 10

// The values to choose from.
var (
	firstStatus  = map[Table]string{Customer: "active", Order: "pending"}
	addressTypes = []string{"billing", "shipping"}
	streets      = []string{"Main St", "Oak Ave", "Mill Ln", "Station Rd", "Am Markt",
		"Rue de l'Église"}
	places = [][3]string{
		{"Springfield", "IL", "US"}, {"Köln", "NW", "DE"}, {"Lyon", "ARA", "FR"},
		{"Osaka", "27", "JP"},
	}
	products = []string{"Lamp", "Desk", "Chair", "Notebook", "Cable 2 m", "Mug \"Blue\""}
)

// WritableColumns returns the columns that a script may fix with write()'s third argument.
func WritableColumns(e Table) []string {
	var names []string
	for _, a := range newValues(&Row{Table: e}, ledger.Insert, "", rand.New(rand.NewPCG(0, 0))) {
		names = append(names, a.column)
	}
	return names
}

// nextStatus returns a status that may follow the row's; "" for an entity without one. A delivered
// order stays delivered.
func (r *Row) nextStatus(op ledger.Op, random *rand.Rand) string {
	if op == ledger.Insert || r.status == "" {
		return firstStatus[r.Table]
	}
	if next := Shelves[r.Table].follow[r.status]; len(next) > 0 {
		return next[random.IntN(len(next))]
	}
	return r.status
}

// newValues returns valid random values for the columns set by an insert or an update of the row,
// apart from the key, the parent, the times and lab_version.
func newValues(r *Row, op ledger.Op, status string, random *rand.Rand) []assignment {
	one := func(of []string) string { return of[random.IntN(len(of))] }
	insert := op == ledger.Insert
	switch r.Table {
	case Customer:
		if !insert {
			return []assignment{{"status", status}}
		}
		return []assignment{{"email", "user-" + r.Key + "@example.com"}, {"status", status}}
	case Address:
		place := places[random.IntN(len(places))]
		street := fmt.Sprintf("%d %s", 1+random.IntN(999), one(streets))
		values := []assignment{
			{"street", r.freeText(street, random)},
			{"city", place[0]}, {"state", place[1]},
			{"postal_code", fmt.Sprintf("%05d", random.IntN(100_000))},
			{"country", place[2]}, {"is_default", random.IntN(2) == 0},
		}
		if !insert {
			if r.isLarge && random.IntN(rewriteLarge) > 0 {
				return values[1:]
			}
			return values
		}
		return append([]assignment{{"type", one(addressTypes)}}, values...)
	case Order:
		return []assignment{{"status", status}, {"total_amount", cents(random.IntN(10_000_000))}}
	}
	quantity, price := 1+random.IntN(20), 1+random.IntN(100_000)
	values := []assignment{
		{"quantity", int64(quantity)}, {"unit_price", cents(price)},
		{"line_total", cents(quantity * price)},
	}
	if !insert {
		return values
	}
	sku := fmt.Sprintf("SKU-%06d", random.IntN(1_000_000))
	return append([]assignment{{"product_sku", sku},
		{"product_name", r.freeText(one(products), random)}}, values...)
}

// freeText returns a text of the row's length, beginning with some words. The rest is random, so
// that no compression shortens the text.
func (r *Row) freeText(words string, random *rand.Rand) string {
	if int(r.text) <= len(words) {
		return words
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text := append(make([]byte, 0, r.text), words+" "...)
	for len(text) < int(r.text) {
		bits := random.Uint64()
		for range min(10, int(r.text)-len(text)) {
			text = append(text, letters[bits&63])
			bits >>= 6
		}
	}
	return string(text[:r.text])
}

// cents returns an amount of money in PostgreSQL's notation of a numeric.
func cents(n int) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }
