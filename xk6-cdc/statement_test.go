package cdc

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

func TestStatements(t *testing.T) {
	t.Parallel()
	parent := &row{key: "p", entity: customer}
	above := &row{key: "o", entity: order, parent: parent}
	for _, test := range []struct {
		choice choice
		want   string
	}{
		{choice{id: 5, op: ledger.Insert, row: parent}, `INSERT INTO "customer" (email, status, lab_version, id) VALUES ($1, $2, $3, $4)`},
		{choice{id: 5, op: ledger.Update, row: parent}, `UPDATE "customer" SET status = $1, lab_version = $2, updated_at = now() WHERE id = $3`},
		{choice{id: 5, op: ledger.Delete, row: parent}, `DELETE FROM "customer" WHERE id = $1`},
		{choice{id: 5, op: ledger.Insert, row: &row{key: "a", entity: address, parent: parent}},
			`INSERT INTO "address" (type, street, city, state, postal_code, country, is_default, lab_version, id, customer_id) ` +
				`VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`},
		{choice{id: 5, op: ledger.Insert, row: above},
			`INSERT INTO "order" (status, total_amount, lab_version, id, customer_id) VALUES ($1, $2, $3, $4, $5)`},
		{choice{id: 5, op: ledger.Update, row: &row{key: "i", entity: orderItem, parent: above}},
			`UPDATE "order_item" SET quantity = $1, unit_price = $2, line_total = $3, lab_version = $4 WHERE id = $5`},
		{choice{id: 5, op: ledger.Insert, row: &row{key: "i", entity: orderItem, parent: above}},
			`INSERT INTO "order_item" (product_sku, product_name, quantity, unit_price, line_total, lab_version, id, order_id) ` +
				`VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`},
	} {
		sql, arguments := statement(test.choice, nil)
		if sql != test.want {
			t.Errorf("%s %s:\n got %s\nwant %s", test.choice.op, test.choice.row.entity, sql, test.want)
		}
		if places := strings.Count(sql, "$"); places != len(arguments) {
			t.Errorf("%s: %d arguments", sql, len(arguments))
		}
		again, same := statement(test.choice, nil)
		if again != sql || !cmp.Equal(arguments, same) {
			t.Errorf("%s: a choice does not fix its values", sql)
		}
	}
}

func TestStatementFields(t *testing.T) {
	t.Parallel()
	c := choice{id: 9, op: ledger.Update, row: &row{key: "k", entity: customer}}
	sql, arguments := statement(c, map[string]any{"status": "suspended", "email": "a@example.com"})
	if want := `UPDATE "customer" SET status = $1, email = $2, lab_version = $3, updated_at = now() WHERE id = $4`; sql != want {
		t.Errorf("got %s", sql)
	}
	if diff := cmp.Diff([]any{"suspended", "a@example.com", int64(9), "k"}, arguments); diff != "" {
		t.Error(diff)
	}
}
