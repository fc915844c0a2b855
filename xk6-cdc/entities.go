package cdc

import (
	"fmt"
	"math/rand/v2"
	"slices"

	specs "github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// entity is one of the four tables, in the order in which parents come before children.
type entity int8

const (
	customer entity = iota
	address
	order
	orderItem
	entityCount
	anyEntity entity = -1
)

var entityNames = [entityCount]string{"customer", "address", "order", "order_item"}

func (e entity) String() string { return entityNames[e] }

func entityByName(name string) (entity, bool) {
	for i, n := range entityNames {
		if n == name {
			return entity(i), true
		}
	}
	return 0, false
}

// parent is the entity that rows of e belong to; false for a customer.
func (e entity) parent() (entity, bool) {
	switch e {
	case address, order:
		return customer, true
	case orderItem:
		return order, true
	}
	return 0, false
}

// shelf is where the rows of an entity show in MongoDB: as documents of the collection, or where
// field is set, as members of that map inside the document of their parent.
type shelf struct {
	collection, field string
	// follow says which statuses may follow each; nil for an entity without one.
	follow map[string][]string
}

// What the tracker must know of the documents, from the consumer's specs.
var (
	shelves = readShelves(specs.Default())
	// watched are the collections whose changes matter; embeddings the maps of embedded rows in them.
	watched, embeddings = overview(shelves)
)

func readShelves(registry *specs.Registry) (all [entityCount]shelf) {
	for e := range entityCount {
		spec, ok := registry.ByEntity(e.String())
		if !ok {
			panic("cdc: no spec of " + e.String()) // TestEntitiesHaveSpecs
		}
		all[e].collection = spec.Collection
		for _, f := range spec.Fields {
			if f.Column == "status" {
				all[e].follow = f.Transitions
			}
		}
		if spec.Embed != nil {
			all[e].field = spec.Embed.Field
		}
	}
	return all
}

func overview(shelves [entityCount]shelf) (collections, fields []string) {
	collections = []string{selftestCollection}
	for _, s := range shelves {
		if !slices.Contains(collections, s.collection) {
			collections = append(collections, s.collection)
		}
		if s.field != "" && !slices.Contains(fields, s.field) {
			fields = append(fields, s.field)
		}
	}
	return collections, fields
}

// assignment is one column and the value a write gives it.
type assignment struct {
	column string
	value  any
}

// freeText is the column of each entity that can hold any text; a customer and an order have none.
var freeText = map[entity]string{address: "street", orderItem: "product_name"}

// rewriteLarge is one in how many updates of a row whose text is out of line sets that text too. The
// others leave it alone, so that PostgreSQL does not send it: the consumer must keep what it has.
const rewriteLarge = 10

var (
	firstStatus  = map[entity]string{customer: "active", order: "pending"}
	addressTypes = []string{"billing", "shipping"}
	streets      = []string{"Main St", "Oak Ave", "Mill Ln", "Station Rd", "Am Markt", "Rue de l'Église"}
	places       = [][3]string{
		{"Springfield", "IL", "US"}, {"Köln", "NW", "DE"}, {"Lyon", "ARA", "FR"}, {"Osaka", "27", "JP"},
	}
	products = []string{"Lamp", "Desk", "Chair", "Notebook", "Cable 2 m", "Mug \"Blue\""}
)

// writableColumns are the columns that a script may fix with write()'s third argument.
func writableColumns(e entity) []string {
	var names []string
	for _, a := range newValues(&row{entity: e}, ledger.Insert, "", rand.New(rand.NewPCG(0, 0))) {
		names = append(names, a.column)
	}
	return names
}

// nextStatus is one that may follow the row's; "" for an entity without one. An order that is
// delivered stays so.
func (r *row) nextStatus(op ledger.Op, random *rand.Rand) string {
	if op == ledger.Insert || r.status == "" {
		return firstStatus[r.entity]
	}
	if next := shelves[r.entity].follow[r.status]; len(next) > 0 {
		return next[random.IntN(len(next))]
	}
	return r.status
}

// newValues are valid random values for the columns that an insert or an update of the row sets,
// apart from the key, the parent, the times and lab_version.
func newValues(r *row, op ledger.Op, status string, random *rand.Rand) []assignment {
	one := func(of []string) string { return of[random.IntN(len(of))] }
	insert := op == ledger.Insert
	switch r.entity {
	case customer:
		if !insert {
			return []assignment{{"status", status}}
		}
		return []assignment{{"email", "user-" + r.key + "@example.com"}, {"status", status}}
	case address:
		place := places[random.IntN(len(places))]
		street := fmt.Sprintf("%d %s", 1+random.IntN(999), one(streets))
		values := []assignment{
			{"street", r.freeText(street, random)},
			{"city", place[0]}, {"state", place[1]}, {"postal_code", fmt.Sprintf("%05d", random.IntN(100_000))},
			{"country", place[2]}, {"is_default", random.IntN(2) == 0},
		}
		if !insert {
			if r.isLarge && random.IntN(rewriteLarge) > 0 {
				return values[1:]
			}
			return values
		}
		return append([]assignment{{"type", one(addressTypes)}}, values...)
	case order:
		return []assignment{{"status", status}, {"total_amount", cents(random.IntN(10_000_000))}}
	}
	quantity, price := 1+random.IntN(20), 1+random.IntN(100_000)
	values := []assignment{
		{"quantity", int64(quantity)}, {"unit_price", cents(price)}, {"line_total", cents(quantity * price)},
	}
	if !insert {
		return values
	}
	sku := fmt.Sprintf("SKU-%06d", random.IntN(1_000_000))
	return append([]assignment{{"product_sku", sku}, {"product_name", r.freeText(one(products), random)}}, values...)
}

// freeText is a text of the row's length that begins with some words. The rest is random, so that no
// compression makes it short.
func (r *row) freeText(words string, random *rand.Rand) string {
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

// cents is an amount of money as PostgreSQL reads a numeric.
func cents(n int) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }
