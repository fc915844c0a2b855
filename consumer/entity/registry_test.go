package entity

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestDefault(t *testing.T) {
	t.Parallel()
	r := Default()
	var names []string
	for _, s := range r.All() {
		names = append(names, s.Entity)
		if found, ok := r.ByTable(s.Table); !ok || found != s {
			t.Errorf("table %s finds %v", s.Table, found)
		}
		if found, ok := r.ByEntity(s.Entity); !ok || found != s {
			t.Errorf("entity %s finds %v", s.Entity, found)
		}
		if key := s.fieldOfColumn(s.Key); key.Member() != "_id" {
			t.Errorf("the key of %s is in member %q", s.Entity, key.Member())
		}
	}
	if diff := cmp.Diff([]string{"customer", "address", "order", "order_item"}, names); diff != "" {
		t.Errorf("entities (-want +got):\n%s", diff)
	}
	item, _ := r.ByTable("public.order_item")
	want := &Embed{Into: "order", Field: "items", Parent: "order_id"}
	if diff := cmp.Diff(want, item.Embed); diff != "" || item.Collection != "orders" {
		t.Errorf("order_item is in %s (-want +got):\n%s", item.Collection, diff)
	}
	if _, ok := r.ByTable("order"); ok {
		t.Error("a table without its schema is found")
	}
}

// TestAllIsACopy: a caller cannot change the registry through what All returns.
func TestAllIsACopy(t *testing.T) {
	t.Parallel()
	r := Default()
	r.All()[0] = nil
	if r.All()[0] == nil {
		t.Error("All hands out the registry's own slice")
	}
}

func TestMember(t *testing.T) {
	t.Parallel()
	for column, want := range map[string]string{
		"email": "email", "lab_version": "labVersion", "updated_at": "updatedAt", "a_b_c": "aBC",
		"_x": "_x", "a__b": "aB", "x_": "x", "line_2": "line2", "größe_öl": "größeÖl",
		"Mixed_case": "MixedCase",
	} {
		if got := (Field{Column: column}).Member(); got != want {
			t.Errorf("column %s is member %q, want %q", column, got, want)
		}
	}
	if got := (Field{Column: "a_b", Name: "other"}).Member(); got != "other" {
		t.Errorf("the given name became %q", got)
	}
}

const parent = `entity: order
table: public.order
collection: orders
key: id
fields:
  - {column: id, kind: uuid}
  - {column: status, kind: text}
`

const child = `entity: item
table: public.item
collection: orders
key: id
embed: {into: order, field: items, parent: order_id}
fields:
  - {column: id, kind: uuid}
  - {column: order_id, kind: uuid}
`

// edit replaces a part of a spec, which must be there.
func edit(text, old, replacement string) string {
	if !strings.Contains(text, old) {
		panic(old + " is not in the spec")
	}
	return strings.Replace(text, old, replacement, 1)
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ spec, want string }{
		{"entity: [", "a.yaml:1:"},
		{"", "a.yaml: holds 1 specs, want one"},
		{parent + "---\n" + child, "a.yaml: holds 2 specs, want one"},
		{parent + "colour: red\n", `a.yaml:8:1: unknown field "colour"`},
		{edit(parent, "kind: text", "kind: text, size: 5"),
			`a.yaml:7:34: unknown field "size"`},
		{edit(parent, "kind: text", "kind: text, required: maybe"), "a.yaml:7:"},
		{parent + "key: id\n", `a.yaml:8:1: mapping key "key" already defined`},
		{edit(parent, "kind: text", "kind: money"),
			`a.yaml:7: kind "money" of column "status"`},
		{edit(parent, ", kind: text", ""), `a.yaml:7: kind "" of column "status"`},
		{edit(parent, "column: status", "column: id"), `a.yaml:7: column "id" is there twice`},
		{edit(parent, "column: status, ", ""), "a.yaml:7: the field has no column"},
		{edit(parent, "column: status", "name: _id, column: status"),
			`a.yaml:7: member "_id" is the consumer's own`},
		{edit(parent, "column: status", "column: cdc_embedded"),
			`a.yaml:7: member "cdcEmbedded" is the consumer's own`},
		{edit(parent, "column: status", "column: cdc_metadata"),
			`a.yaml:7: member "cdcMetadata" is the consumer's own`},
		{edit(parent, "column: status", "name: a.b, column: status"),
			`a.yaml:7: "a.b" cannot be the name of a member`},
		{edit(parent, "column: status", "name: $a, column: status"),
			`a.yaml:7: "$a" cannot be the name of a member`},
		{parent + "  - {column: other, name: status, kind: text}\n",
			`a.yaml:8: member "status" is there twice`},
		{parent + "  - {column: at, kind: timestamp}\n  - {column: at_exact, kind: text}\n",
			`a.yaml:9: member "atExact" is there twice`},
		{edit(parent, "key: id", "key: other"),
			`a.yaml:4: the key column "other" is not among the fields`},
		{edit(parent, "key: id\n", ""), "a.yaml:1: key is missing"},
		{edit(parent, "kind: uuid", "kind: timestamp"),
			`a.yaml:4: the key column "id" is a timestamp`},
		{edit(parent, "column: id", "name: key, column: id"),
			`a.yaml:4: the key column "id" cannot be renamed`},
		{edit(parent, "public.order", "order"), `a.yaml:2: table "order" is not schema.name`},
		{edit(parent, "entity: order\n", ""), "a.yaml:1: entity is missing"},
		{parent + "references: [{column: c, entity: order}]\n",
			`a.yaml:8: the reference's column "c" is not among`},
		{parent + "references:\n  - {column: status, entity: x}\n",
			`a.yaml:9: there is no entity "x" to refer to`},
	} {
		_, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(c.spec)}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if _, err := Load(fstest.MapFS{"notes.txt": {}}); err == nil {
		t.Error("a folder without specs was loaded")
	}
}

// TestLoadErrorsOfTwo: a second spec contradicts the first.
func TestLoadErrorsOfTwo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ spec, want string }{
		{edit(edit(parent, "public.order", "public.b"), "orders", "b"),
			`b.yaml:1: entity "order" is already in a.yaml`},
		{edit(edit(parent, "entity: order", "entity: b"), "orders", "b"),
			`b.yaml:2: table "public.order" is already in a.yaml`},
		{edit(edit(parent, "entity: order", "entity: b"), "public.order", "p.b"),
			`b.yaml:3: collection "orders" is already in a.yaml`},
		{edit(child, "into: order", "into: x"),
			`b.yaml:5: there is no entity "x" to embed into`},
		{edit(child, "into: order", "into: item"),
			`b.yaml:5: entity "item" is embedded itself`},
		{edit(child, "parent: order_id", "parent: x"),
			`b.yaml:5: the parent column "x" is not among the fields`},
		{edit(child, "field: items", "field: status"),
			`b.yaml:5: order has a member "status" already`},
		{edit(child, "field: items", "field: cdcMetadata"),
			`b.yaml:5: order has a member "cdcMetadata" already`},
		{edit(child, "field: items", "field: a.b"),
			`b.yaml:5: "a.b" cannot be the name of a member`},
		{edit(child, "collection: orders", "collection: items"),
			`b.yaml:3: collection "items" is not that of order, "orders"`},
		{edit(child, "column: order_id", "name: cdcMetadata, column: order_id"),
			`b.yaml:8: member "cdcMetadata" is the consumer's own`},
	} {
		folder := fstest.MapFS{"a.yaml": {Data: []byte(parent)}, "b.yaml": {Data: []byte(c.spec)}}
		if _, err := Load(folder); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// TestLoadReportsAll: a person mends every mistake at once.
func TestLoadReportsAll(t *testing.T) {
	t.Parallel()
	bad := strings.Replace(parent, "kind: text", "kind: money", 1)
	_, err := Load(fstest.MapFS{
		"a.yaml": {Data: []byte(strings.Replace(bad, "key: id", "key: x", 1))},
		"b.yaml": {Data: []byte(strings.Replace(child, "parent: order_id", "parent: x", 1))},
	})
	for _, want := range []string{"a.yaml:4:", "a.yaml:7:", "b.yaml:5:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %s", err, want)
		}
	}
}

// TestLoadCycles: tables that refer to each other, and to themselves, have an order too.
func TestLoadCycles(t *testing.T) {
	t.Parallel()
	spec := func(name, refersTo string) *fstest.MapFile {
		text := strings.NewReplacer("order", name).Replace(parent) +
			"references: [{column: status, entity: " + refersTo + "}]\n"
		return &fstest.MapFile{Data: []byte(text)}
	}
	r, err := Load(fstest.MapFS{"a.yaml": spec("a", "b"), "b.yaml": spec("b", "a"),
		"c.yaml": spec("c", "c")})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range r.All() {
		names = append(names, s.Entity)
	}
	if diff := cmp.Diff([]string{"b", "a", "c"}, names); diff != "" {
		t.Errorf("entities (-want +got):\n%s", diff)
	}
}

func TestLoadOther(t *testing.T) {
	t.Parallel()
	r, err := Load(fstest.MapFS{"b.yaml": {Data: []byte(parent)}, "a.yaml": {Data: []byte(child)}})
	if err != nil {
		t.Fatal(err)
	}
	if all := r.All(); len(all) != 2 || all[0].Entity != "order" {
		t.Errorf("the parent is not first: %v", all)
	}
}
