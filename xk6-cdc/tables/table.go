// Package tables chooses the generator's writes: the row, the values and the SQL. Rows is the model
// of the existing rows: no two writes of one row are ever on their way at once, and every statement
// can succeed. A seed decides every choice.
//
// Start reading at Rows.Take (rows.go), the choice of a row. Then read weights.go (table and
// operation), shape.go (popularity and size of rows), values.go and statement.go (SQL), and
// stripe.go (the division among several processes of one test).
package tables

import (
	"slices"

	specs "github.com/cdclab/cdclab/consumer/entity"
)

// Table is one of the four tables; parents come before children.
type Table int8

// The tables; Count is the number of tables, Any leaves a table to chance.
const (
	Customer Table = iota
	Address
	Order
	OrderItem
	Count
	Any Table = -1
)

// Names are the tables' names in PostgreSQL and in scripts.
var Names = [Count]string{"customer", "address", "order", "order_item"}

func (e Table) String() string { return Names[e] }

// ByName returns the table of a name; false where there is none.
func ByName(name string) (Table, bool) {
	for i, n := range Names {
		if n == name {
			return Table(i), true
		}
	}
	return 0, false
}

// parent returns the table of the parents of e's rows; false for a customer.
func (e Table) parent() (Table, bool) {
	switch e {
	case Address, Order:
		return Customer, true
	case OrderItem:
		return Order, true
	}
	return 0, false
}

// Shelf is the place of an entity's rows in MongoDB: documents of the collection or, where Field is
// set, members of the map Field inside the parent's document.
type Shelf struct {
	Collection, Field string
	// follow lists the statuses that may follow each status; nil for an entity without one.
	follow map[string][]string
}

// Place is the place of a row in MongoDB: a document or, where Field is set, the member under the
// row's key of the map Field in the document.
type Place struct{ Collection, Document, Field string }

// Place returns the place of a row on the shelf.
func (s *Shelf) Place(r *Row) Place {
	at := Place{Collection: s.Collection, Document: r.Key, Field: s.Field}
	if at.Field != "" {
		at.Document = r.Parent.Key
	}
	return at
}

// Facts about the documents, from the consumer's specs.
var (
	// Shelves are the shelves of the tables.
	Shelves = readShelves(specs.Default())
	// Collections are the collections with rows; Embeddings the maps of embedded rows in documents.
	Collections, Embeddings = overview(Shelves)
)

func readShelves(registry *specs.Registry) (all [Count]Shelf) {
	for e := range Count {
		spec, ok := registry.ByEntity(e.String())
		if !ok {
			panic("cdc: no spec of " + e.String()) // TestEntitiesHaveSpecs
		}
		all[e].Collection = spec.Collection
		for _, f := range spec.Fields {
			if f.Column == "status" {
				all[e].follow = f.Transitions
			}
		}
		if spec.Embed != nil {
			all[e].Field = spec.Embed.Field
		}
	}
	return all
}

func overview(shelves [Count]Shelf) (collections, fields []string) {
	for _, s := range shelves {
		if !slices.Contains(collections, s.Collection) {
			collections = append(collections, s.Collection)
		}
		if s.Field != "" && !slices.Contains(fields, s.Field) {
			fields = append(fields, s.Field)
		}
	}
	return collections, fields
}
