package tables

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/ledger"
)

// Statement returns the one SQL statement of a write, and the statement's arguments. fields replace
// the random values of their columns.
func Statement(c Choice, fields map[string]any) (string, []any) {
	e := c.Row.Table
	table := `public."` + e.String() + `"`
	if c.Op == ledger.Delete {
		return "DELETE FROM " + table + " WHERE id = $1", []any{c.Row.Key}
	}
	values := newValues(c.Row, c.Op, c.status, rand.New(rand.NewPCG(uint64(c.values), 0)))
	values = overlay(values, e, fields)
	values = append(values, assignment{"lab_version", c.ID})
	if c.Op == ledger.Update {
		return update(e, table, c.Row.Key, values)
	}
	values = append(values, assignment{"id", c.Row.Key})
	if parent, ok := e.parent(); ok {
		values = append(values, assignment{parent.String() + "_id", c.Row.Parent.Key})
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

func update(e Table, table, key string, values []assignment) (string, []any) {
	var sets []string
	var arguments []any
	for i, a := range values {
		sets = append(sets, fmt.Sprintf("%s = $%d", a.column, i+1))
		arguments = append(arguments, a.value)
	}
	if e != OrderItem { // the one table without the column
		sets = append(sets, "updated_at = now()")
	}
	sql := fmt.Sprintf("UPDATE %s SET %s WHERE id = $%d",
		table, strings.Join(sets, ", "), len(values)+1)
	return sql, append(arguments, key)
}

// overlay replaces values in the order of the table's columns, so that PostgreSQL's cache of plans
// holds one statement for a set of fields.
func overlay(values []assignment, e Table, fields map[string]any) []assignment {
	if len(fields) == 0 {
		return values
	}
	for _, column := range WritableColumns(e) {
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
