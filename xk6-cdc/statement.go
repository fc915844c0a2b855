package cdc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// statement is the one SQL statement of a write, and its arguments. fields replace the random
// values of their columns.
func statement(c choice, fields map[string]any) (string, []any) {
	e := c.row.entity
	table := `"` + e.String() + `"`
	if c.op == ledger.Delete {
		return "DELETE FROM " + table + " WHERE id = $1", []any{c.row.key}
	}
	values := newValues(c.row, c.op, c.status, rand.New(rand.NewPCG(uint64(c.values), 0)))
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
