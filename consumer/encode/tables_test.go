package encode

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/names"
	"github.com/cdclab/cdclab/consumer/entity"
)

// membersOf are the members of a row with these columns, by column.
func membersOf(t failer, table *Table, columns []string, types map[string]*debezium.Type) []string {
	var row []string
	for _, column := range columns {
		row = append(row, quote(column)+`:null`)
	}
	var members []string
	e := encode(t, table, change{key: `{"k":1,"id":1}`, after: "{" + strings.Join(row, ",") + "}",
		types: types})
	elements, err := bson.Raw(elementsToDocument(e.Elements)).Elements()
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, element := range elements {
		members = append(members, element.Key())
	}
	return members
}

func TestNaming(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ columns, members []string }{
		{[]string{"email", "postal_code", "line_2", "a_b_c", "Mixed_Case", "camelCase", "_x", "x_",
			"a__b", "größe_x", "1_a"},
			[]string{"email", "postalCode", "line2", "aBC", "Mixed_Case", "camelCase", "_x", "x_",
				"a__b", "größe_x", "1_a"}},
		{[]string{"a_b", "aB"}, []string{"a_b", "aB"}},
		{[]string{"a1_b", "a_1_b"}, []string{"a1_b", "a_1_b"}},
		{[]string{"_id", "_id_", "cdcMetadata", "cdc_metadata", "cdc_embedded"},
			[]string{"_id__", "_id_", "cdcMetadata_", "cdc_metadata", "cdc_embedded"}},
		{[]string{"deleted", "position", "deleted_at", "shell"},
			[]string{"deleted", "position", "deletedAt", "shell"}},
		{[]string{"a.b", "$c", "$", "a．b"}, []string{"a．b", "＄c", "＄", "a．b_"}},
		{[]string{"ts", "ts_exact"}, []string{"ts", "ts_exact"}},
		{[]string{"ts", "tsExact"}, []string{"ts", "tsExact_"}},
		{[]string{"tsExact", "ts", "ts_exact", "tsExactExact"},
			[]string{"tsExact_", "ts", "ts_exact", "tsExactExact"}},
	} {
		types := map[string]*debezium.Type{"ts": debeziumType("int64", "time.MicroTimestamp")}
		if diff := cmp.Diff(c.members, membersOf(t, generic(), c.columns, types)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.columns, diff)
		}
	}
}

// TestNamelessColumnsHoldNoMember: a column without a name, and a column with a NUL in the name,
// are never written, so that neither holds a member nor comes into the store's log of names.
func TestNamelessColumnsHoldNoMember(t *testing.T) {
	t.Parallel()
	table := generic()
	for i, after := range []string{`{"id":1,"":1,"a\u0000b":2}`,
		`{"id":1,"":1,"a\u0000b":2,"ab":3}`} {
		e := encode(t, table, change{key: `{"id":1}`, after: after, commit: int64(i + 1)})
		want := []string{"name  warn", "name a\x00b warn"}
		if rules := rulesOf(e.Violations); !slices.Equal(rules, want) {
			t.Errorf("%s: broken rules %q, want %q", after, rules, want)
		}
	}
	want := []names.Entry{{Member: "ab", Column: "ab"}}
	if got, _ := table.UnkeptNames(); !slices.Equal(got, want) {
		t.Errorf("names to keep %q, want %q", got, want)
	}
}

// TestNamingBesidesFields: a column without a Field does not touch the Fields' members, nor the map
// of the embedded rows.
func TestNamingBesidesFields(t *testing.T) {
	t.Parallel()
	table := lab().Table("public", "order")
	got := membersOf(t, table, []string{"status", "items", "updatedAt", "updatedAtExact", "new_one",
		"customerId", "customer_id"}, nil)
	want := []string{"status", "items_", "updatedAt_", "updatedAtExact_", "newOne", "customerId_",
		"customerId"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNamesAreDistinct: columns of any names, in any order, each have a member of their own.
func TestNamesAreDistinct(t *testing.T) {
	t.Parallel()
	column := rapid.OneOf(rapid.StringMatching(`(a|b|1|_|[.$]|Exact|exact|_id|cdcMetadata){1,4}`),
		rapid.StringMatching(`[a-c]_[a-c]`))
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.SliceOfNDistinct(column, 1, 8, rapid.ID).Draw(t, "columns")
		types := map[string]*debezium.Type{}
		for _, c := range columns {
			if rapid.Bool().Draw(t, "timestamp") {
				types[c] = debeziumType("string", "time.ZonedTimestamp")
			}
		}
		taken := map[string]bool{entity.KeyMember: true, entity.MetadataMember: true}
		name := func(columns []string) map[string]string {
			named := map[string]string{}
			seen := maps.Clone(taken)
			for i, member := range membersOf(t, generic(), columns, types) {
				named[columns[i]] = member
				claimed := []string{member}
				if types[columns[i]] != nil {
					claimed = append(claimed, member+entity.ExactSuffix)
				}
				for _, m := range claimed {
					if seen[m] || strings.ContainsAny(m, ".\x00") || strings.HasPrefix(m, "$") {
						t.Fatalf("%q: member %q", columns, m)
					}
					seen[m] = true
				}
			}
			return named
		}
		first := name(columns)
		slices.Reverse(columns)
		if diff := cmp.Diff(first, name(columns)); diff != "" {
			t.Fatalf("the names depend on the order:\n%s", diff)
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	micro, zoned := debeziumType("int64", "time.MicroTimestamp"), debeziumType("string",
		"time.ZonedTimestamp")
	for _, c := range []struct {
		key   string
		types map[string]*debezium.Type
		want  string
	}{
		{`{"id":7}`, nil, "7"}, {`{"id":-9223372036854775808}`, nil, "-9223372036854775808"},
		{`{"id":"a b"}`, nil, "a b"}, {`{"k":true}`, nil, "true"}, {`{"k":""}`, nil, ""},
		{`{"id":` + quote(strings.ToUpper(someUUID)) + `}`,
			map[string]*debezium.Type{"id": debeziumType("string", "data.Uuid")}, someUUID},
		{`{"id":` + quote(strings.ToUpper(someUUID)) + `}`, nil,
			strings.ToUpper(someUUID)}, // a text
		{`{"id":"APo="}`, map[string]*debezium.Type{"id": scaled(2)}, "2.50"},
		{`{"id":{"scale":1,"value":"Dw=="}}`,
			map[string]*debezium.Type{"id": debeziumType("struct", "data.VariableScaleDecimal")},
			"1.5"},
		{`{"id":"2.50"}`, nil, "2.50"},
		{`{"id":1795334147954888}`, map[string]*debezium.Type{"id": micro},
			"2026-11-22T07:55:47.954888Z"},
		{`{"id":1795334147000000}`, map[string]*debezium.Type{"id": micro}, "2026-11-22T07:55:47Z"},
		{`{"id":"2026-11-22T07:55:47.500000Z"}`, map[string]*debezium.Type{"id": zoned},
			"2026-11-22T07:55:47.5Z"},
		{`{"id":"2026-11-22T07:55:47.500000Z"}`, nil, "2026-11-22T07:55:47.5Z"},
		{`{"id":"infinity"}`, map[string]*debezium.Type{"id": zoned}, "infinity"},
		{`{"id":20779}`, map[string]*debezium.Type{"id": debeziumType("int32", "time.Date")},
			"2026-11-22"},
		{`{"id":46862346}`, map[string]*debezium.Type{"id": debeziumType("int32", "time.Time")},
			"13:01:02.346"},
		{`{"id":"AQID/w=="}`, map[string]*debezium.Type{"id": named("bytes", "")}, "AQID/w=="},
		{`{"id":1.5}`, map[string]*debezium.Type{"id": named("double", "")}, "1.5"},
		{`{"id":1.0}`, map[string]*debezium.Type{"id": named("double", "")}, "1.0"},
		{`{"id":1.0}`, nil, "1.0"},
		{`{"id":2.50}`, nil, "2.50"}, // decimal.format=NUMERIC
		{`{"id":false}`, map[string]*debezium.Type{"id": named("boolean", "")}, "false"},
		{`{"id":"2026-11-22T07:55:47.500000Z"}`,
			map[string]*debezium.Type{"id": named("string", "")},
			"2026-11-22T07:55:47.500000Z"}, // a text
		{`{"id":"AQID/w=="}`, nil, "AQID/w=="},
		{`{"id":"NaN"}`, map[string]*debezium.Type{"id": named("double", "")}, "NaN"},
		{`{"id":[1,"a"]}`, nil, `[1,"a"]`},
		{`{"a":1,"b":"x\"\\\u0001é😀"}`, nil, `["1","x\"\\\u0001é😀"]`},
		{`{"b":"1","a":2}`, nil, `["1","2"]`},
	} {
		e := encode(t, generic(), change{key: c.key, after: `{"other":1}`, types: c.types})
		if e.ID != c.want {
			t.Errorf("key %s is %q, want %q", c.key, e.ID, c.want)
		}
	}
}

// TestKeyMembers: the columns of a key stay members, unless the key is the single column id.
func TestKeyMembers(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bson.M{
		`{"id":1}`:         {"b": "x"},
		`{"b":"x"}`:        {"id": int64(1), "b": "x"},
		`{"id":1,"b":"x"}`: {"id": int64(1), "b": "x"},
	} {
		e := encode(t, generic(), change{key: key, after: `{"id":1,"b":"x"}`})
		if diff := cmp.Diff(want, readBack(t, e.Elements)); diff != "" {
			t.Errorf("key %s (-want +got):\n%s", key, diff)
		}
	}
}

func TestKeyErrors(t *testing.T) {
	t.Parallel()
	customer := lab().Table("public", "customer")
	for _, c := range []struct {
		table *Table
		key   string
		want  string
	}{
		{generic(), "", "public.nospec has a row without a key: it needs a primary key"},
		{generic(), `{}`, "public.nospec has a row without a key: it needs a primary key"},
		{generic(), `{"a":1,"b":null}`, "public.nospec has a null in its key column b"},
		{customer, "", "public.customer has a row without a key: it needs a primary key"},
		{customer, `{"x":1}`, "public.customer has a key without the column id"},
		{customer, `{"id":null}`, "public.customer has a null in its key column id"},
	} {
		var keyed *KeyError
		e, err := new(Encoder).Encode(c.table, change{key: c.key, after: `{"b":1}`}.event(t),
			Facts{})
		if e != nil || !errors.As(err, &keyed) || err.Error() != c.want {
			t.Errorf("key %s: error %v, want %q", c.key, err, c.want)
		}
	}
}

// TestKeyOfAnotherMessage: where the message's key is of other columns, the row has the table's.
func TestKeyOfAnotherMessage(t *testing.T) {
	t.Parallel()
	e := encode(t, lab().Table("public", "customer"),
		change{key: `{"region":"eu"}`, after: `{"id":` + quote(someUUID) + `}`})
	if e.ID != someUUID {
		t.Errorf("the id is %q", e.ID)
	}
}

// TestKeyText: the header of a changed key has no types; a table with a Spec and a table without
// have the same texts.
func TestKeyText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header, key string
		typ         *debezium.Type
		want        string
	}{
		{`"APo="`, `"AA=="`, scaled(2), "2.50"},
		{`2.50`, `"AA=="`, scaled(2), "2.50"},
		{`{"scale":1,"value":"Dw=="}`, `{"scale":0,"value":"AA=="}`,
			debeziumType("struct", "data.VariableScaleDecimal"), "1.5"},
		{`"2026-11-22"`, `0`, kafkaType("int32", "Date"), "2026-11-22"},
		{`"2026-11-22T07:55:47.500Z"`, `0`, kafkaType("int64", "Timestamp"),
			"2026-11-22T07:55:47.5Z"},
		{`1.0`, `2.0`, named("double", ""), "1.0"},
		{`true`, `false`, named("boolean", ""), "true"},
		{`"AQID/w=="`, `""`, named("bytes", ""), "AQID/w=="},
	} {
		typed := map[string]*debezium.Type{"id": c.typ}
		got, err := generic().KeyText(cells(t, `{"id":`+c.header+`}`, nil),
			cells(t, `{"id":`+c.key+`}`, typed))
		if err != nil || got != c.want {
			t.Errorf("%s is the key %q, %v; want %q", c.header, got, err, c.want)
		}
	}
	for json, typ := range map[string]*debezium.Type{
		quote(someUUID): debeziumType("string", "data.Uuid"), `"a"`: named("string", ""),
		`5`: named("int64", ""),
	} {
		for _, kind := range []string{"uuid", "text", "int"} {
			if natural := formOfType(typ).naturalKind(); kind != string(natural) && kind != "uuid" {
				continue
			}
			spec := "entity: t\ntable: public.t\ncollection: ts\nkey: id\n" +
				"fields: [{column: id, kind: " + kind + "}]\n"
			table := tables(t, map[string]string{"t.yaml": spec}).Table("public", "t")
			c := change{key: `{"id":` + json + `}`, after: `{"id":` + json + `}`,
				types: map[string]*debezium.Type{"id": typ}}
			if one, other := encode(t, table, c).ID, encode(t, generic(), c).ID; one != other {
				t.Errorf("%s as %s is %q, and %q without a Spec", json, kind, one, other)
			}
		}
	}
	if _, err := generic().KeyText(nil, nil); err == nil {
		t.Error("no key has a text")
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	registry := entity.Default()
	r := NewTables(registry)
	same, err := r.Reload(specsFolder(t))
	if err != nil || same {
		t.Errorf("the same files changed something: %t, %v", same, err)
	}
	note, customer, all := r.Table("public", "note"), r.Table("public",
		"customer"), len(registry.All())
	folder := specsFolder(t)
	folder["note.yaml"] = &fstest.MapFile{Data: []byte("entity: note\ntable: public.note\n" +
		"collection: notes\nkey: id\nfields: [{column: id, kind: int}]\n")}
	folder["broken.yaml"] = &fstest.MapFile{Data: []byte("entity: [")}
	if changed, err := r.Reload(folder); err == nil || changed ||
		r.Table("public", "note") != note || len(registry.All()) != all {
		t.Errorf("a broken file changed something: %t, %v", changed, err)
	}
	if r.Table("public", "note") != note {
		t.Error("one table has two Tables")
	}
	delete(folder, "broken.yaml")
	if changed, err := r.Reload(folder); err != nil || !changed {
		t.Errorf("nothing changed: %v", err)
	}
	if served := r.Table("public", "note"); served == note || served.Spec().Collection != "notes" {
		t.Errorf("the note is served by %+v", served.Spec())
	}
	if r.Table("public", "customer") != customer {
		t.Error("a table whose Spec is the same is another")
	}
	if _, known := registry.ByEntity("note"); !known || len(registry.All()) != all+1 {
		t.Error("the new Spec is not among all")
	}
}

// specsFolder is a copy of the built-in specs.
func specsFolder(t failer) fstest.MapFS {
	t.Helper()
	folder := fstest.MapFS{}
	for _, name := range []string{"address", "customer", "order", "order_item"} {
		text, err := os.ReadFile("../entity/specs/" + name + ".yaml")
		if err != nil {
			t.Fatalf("%v", err)
		}
		folder[name+".yaml"] = &fstest.MapFile{Data: text}
	}
	return folder
}
