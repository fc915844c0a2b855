package entity

import (
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"
)

func TestGenericSpec(t *testing.T) {
	t.Parallel()
	r := Default()
	for _, c := range []struct{ schema, table, collection string }{
		{"public", "notes", "notes"}, {"public", "My Table", "My Table"},
		{"sales", "order", "sales.order"},
		{"public", "orders", "public.orders"}, // a Spec's collection
		{"public", "a.b", "a．b"}, {"a", "b", "a.b"}, {"a.b", "c", "a．b.c"}, {"a", "b.c", "a.b．c"},
		{"public", "$x", "＄x"}, {"public", "a$b", "a＄b"}, {"public", "cdc_kept", "public.cdc_kept"},
		{"public", "customers_live", "customers_live_"},
		{"public", "customers_live_", "customers_live__"},
		{"public", "orders_related", "orders_related_"}, {"system", "views", "_system.views"},
	} {
		spec := r.Serving(c.schema, c.table)
		if spec.Collection != c.collection || spec.Table != c.schema+"."+c.table ||
			spec.Entity == "" ||
			len(spec.Fields) > 0 || spec.Key != "" {
			t.Errorf("%s.%s has the Spec %+v, want the collection %q", c.schema, c.table, spec,
				c.collection)
		}
	}
	for _, collection := range []string{"xs_live", "xs_related", "cdc_kept", "system.views"} {
		text := "entity: x\ntable: public.x\ncollection: " + collection +
			"\nkey: id\nfields: [{column: id, kind: int}]\n"
		_, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), "a.yaml:3: collection") {
			t.Errorf("the collection %s: %v", collection, err)
		}
	}
	if spec := r.Serving("public", "order"); spec.Collection != "orders" || len(spec.Fields) == 0 {
		t.Errorf("the order's Spec is %+v", spec)
	}
	const notes = "entity: notes\ntable: crm.x\ncollection: xs\nkey: id\n" +
		"fields: [{column: id, kind: int}]\n"
	crm, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(notes)}})
	if err != nil {
		t.Fatal(err)
	}
	if name := crm.Serving("public", "notes").Entity; name == "notes" {
		t.Error("two tables are one entity")
	}
}

// TestCollectionsAreDistinct: no two tables share a collection.
func TestCollectionsAreDistinct(t *testing.T) {
	t.Parallel()
	name := rapid.StringMatching(
		`(public|system|cdc_|order|orders|a|b|[.$_]|live|_live|_related){1,3}`)
	rapid.Check(t, func(t *rapid.T) {
		r := Default()
		a := [2]string{name.Draw(t, "schema"), name.Draw(t, "table")}
		b := [2]string{name.Draw(t, "schema"), name.Draw(t, "table")}
		one, other := r.Serving(a[0], a[1]), r.Serving(b[0], b[1])
		if a != b && one.Collection == other.Collection && a[0]+"."+a[1] != b[0]+"."+b[1] {
			t.Fatalf("%q and %q are both in %s", a, b, one.Collection)
		}
	})
}
