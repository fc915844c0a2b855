package tables

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/ledger"
)

func TestStatements(t *testing.T) {
	t.Parallel()
	parent := &Row{Key: "p", Table: Customer}
	above := &Row{Key: "o", Table: Order, Parent: parent}
	for _, test := range []struct {
		choice Choice
		want   string
	}{
		{Choice{ID: 5, Op: ledger.Insert, Row: parent},
			`INSERT INTO public."customer" (email, status, lab_version, id) VALUES ($1, $2, $3, ` +
				`$4)`},
		{Choice{ID: 5, Op: ledger.Update, Row: parent},
			`UPDATE public."customer" SET status = $1, lab_version = $2, updated_at = now() ` +
				`WHERE id = $3`},
		{Choice{ID: 5, Op: ledger.Delete, Row: parent},
			`DELETE FROM public."customer" WHERE id = $1`},
		{Choice{ID: 5, Op: ledger.Insert, Row: &Row{Key: "a", Table: Address, Parent: parent}},
			`INSERT INTO public."address" (type, street, city, state, postal_code, country, ` +
				`is_default, ` +
				`lab_version, id, customer_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`},
		{Choice{ID: 5, Op: ledger.Insert, Row: above},
			`INSERT INTO public."order" (status, total_amount, lab_version, id, customer_id) ` +
				`VALUES ($1, $2, $3, $4, $5)`},
		{Choice{ID: 5, Op: ledger.Update, Row: &Row{Key: "i", Table: OrderItem, Parent: above}},
			`UPDATE public."order_item" SET quantity = $1, unit_price = $2, line_total = $3, ` +
				`lab_version = $4 WHERE id = $5`},
		{Choice{ID: 5, Op: ledger.Insert, Row: &Row{Key: "i", Table: OrderItem, Parent: above}},
			`INSERT INTO public."order_item" (product_sku, product_name, quantity, unit_price, ` +
				`line_total, lab_version, id, order_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`},
	} {
		sql, arguments := Statement(test.choice, nil)
		if sql != test.want {
			t.Errorf("%s %s:\n got %s\nwant %s", test.choice.Op, test.choice.Row.Table, sql,
				test.want)
		}
		if places := strings.Count(sql, "$"); places != len(arguments) {
			t.Errorf("%s: %d arguments", sql, len(arguments))
		}
		again, same := Statement(test.choice, nil)
		if again != sql || !cmp.Equal(arguments, same) {
			t.Errorf("%s: a choice does not fix its values", sql)
		}
	}
}

func TestStatementFields(t *testing.T) {
	t.Parallel()
	c := Choice{ID: 9, Op: ledger.Update, Row: &Row{Key: "k", Table: Customer}}
	sql, arguments := Statement(c, map[string]any{"status": "suspended", "email": "a@example.com"})
	want := `UPDATE public."customer" SET status = $1, email = $2, lab_version = $3, ` +
		`updated_at = now() WHERE id = $4`
	if sql != want {
		t.Errorf("got %s", sql)
	}
	if diff := cmp.Diff([]any{"suspended", "a@example.com", int64(9), "k"}, arguments); diff != "" {
		t.Error(diff)
	}
}
