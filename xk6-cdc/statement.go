package cdc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// assignment is one column and the value a write gives it.
type assignment struct {
	column string
	value  any
}

var (
	customerStatuses = []string{"active", "inactive", "suspended"}
	orderStatuses    = []string{"pending", "paid", "shipped", "delivered", "cancelled"}
	addressTypes     = []string{"billing", "shipping"}
	streets          = []string{"Main St", "Oak Ave", "Mill Ln", "Station Rd", "Am Markt", "Rue de l'Église"}
	places           = [][3]string{{"Springfield", "IL", "US"}, {"Köln", "NW", "DE"}, {"Lyon", "ARA", "FR"}, {"Osaka", "27", "JP"}}
	products         = []string{"Lamp", "Desk", "Chair", "Notebook", "Cable 2 m", "Mug \"Blue\""}
)

// writableColumns are the columns that a script may fix with write()'s third argument.
func writableColumns(e entity) []string {
	var names []string
	for _, a := range newValues(e, ledger.Insert, "", rand.New(rand.NewPCG(0, 0))) {
		names = append(names, a.column)
	}
	return names
}

// newValues are valid random values for the columns that an insert or an update of e sets, apart
// from the key, the parent, the times and lab_version.
func newValues(e entity, op ledger.Op, key string, random *rand.Rand) []assignment {
	one := func(of []string) string { return of[random.IntN(len(of))] }
	insert := op == ledger.Insert
	switch e {
	case customer:
		status := assignment{"status", one(customerStatuses)}
		if !insert {
			return []assignment{status}
		}
		return []assignment{{"email", "user-" + key + "@example.com"}, status}
	case address:
		place := places[random.IntN(len(places))]
		values := []assignment{
			{"street", fmt.Sprintf("%d %s", 1+random.IntN(999), one(streets))},
			{"city", place[0]}, {"state", place[1]}, {"postal_code", fmt.Sprintf("%05d", random.IntN(100_000))},
			{"country", place[2]}, {"is_default", random.IntN(2) == 0},
		}
		if !insert {
			return values
		}
		return append([]assignment{{"type", one(addressTypes)}}, values...)
	case order:
		return []assignment{{"status", one(orderStatuses)}, {"total_amount", cents(random.IntN(10_000_000))}}
	}
	quantity, price := 1+random.IntN(20), 1+random.IntN(100_000)
	values := []assignment{
		{"quantity", int64(quantity)}, {"unit_price", cents(price)}, {"line_total", cents(quantity * price)},
	}
	if !insert {
		return values
	}
	sku := fmt.Sprintf("SKU-%06d", random.IntN(1_000_000))
	return append([]assignment{{"product_sku", sku}, {"product_name", one(products)}}, values...)
}

// cents is an amount of money as PostgreSQL reads a numeric.
func cents(n int) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }

// statement is the one SQL statement of a write, and its arguments. fields replace the random
// values of their columns.
func statement(c choice, fields map[string]any) (string, []any) {
	e := c.row.entity
	table := `"` + e.String() + `"`
	if c.op == ledger.Delete {
		return "DELETE FROM " + table + " WHERE id = $1", []any{c.row.key}
	}
	values := newValues(e, c.op, c.row.key, rand.New(rand.NewPCG(uint64(c.values), 0)))
	values = overlay(values, e, fields)
	values = append(values, assignment{"lab_version", c.id})
	if c.op == ledger.Update {
		return update(e, table, c.row.key, values)
	}
	values = append(values, assignment{"id", c.row.key})
	if parent, ok := e.parent(); ok {
		values = append(values, assignment{parent.String() + "_id", c.row.parent.key})
	}
	var columns, places []string
	var arguments []any
	for i, a := range values {
		columns, places = append(columns, a.column), append(places, fmt.Sprintf("$%d", i+1))
		arguments = append(arguments, a.value)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(columns, ", "),
		strings.Join(places, ", ")), arguments
}

func update(e entity, table, key string, values []assignment) (string, []any) {
	var sets []string
	var arguments []any
	for i, a := range values {
		sets = append(sets, fmt.Sprintf("%s = $%d", a.column, i+1))
		arguments = append(arguments, a.value)
	}
	if e != orderItem { // the one table without the column
		sets = append(sets, "updated_at = now()")
	}
	return fmt.Sprintf("UPDATE %s SET %s WHERE id = $%d", table, strings.Join(sets, ", "), len(values)+1),
		append(arguments, key)
}

// overlay is in the order of the table's columns, so that one set of fields is one statement for
// PostgreSQL's cache of plans.
func overlay(values []assignment, e entity, fields map[string]any) []assignment {
	if len(fields) == 0 {
		return values
	}
	for _, column := range writableColumns(e) {
		value, ok := fields[column]
		if !ok {
			continue
		}
		at := slices.IndexFunc(values, func(a assignment) bool { return a.column == column })
		if at < 0 {
			values = append(values, assignment{column, value})
			continue
		}
		values[at].value = value
	}
	return values
}
