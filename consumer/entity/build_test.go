package entity

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// failer is what the builders need of *testing.T, *testing.B, *testing.F and *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

const someUUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

func parse(t failer, text string) debezium.Value {
	t.Helper()
	v, err := debezium.ParseValue(text)
	if err != nil {
		t.Fatalf("%.100s: %v", text, err)
	}
	return v
}

// cells reads a row from a JSON object; types may be nil, and lack columns.
func cells(t failer, object string, types map[string]*debezium.Type) debezium.Row {
	t.Helper()
	if object == "" {
		return nil
	}
	var row debezium.Row
	parse(t, object).Each(func(name []byte, v debezium.Value) {
		row = append(row, debezium.Cell{Name: string(name), Value: v, Type: types[string(name)]})
	})
	return row
}

// quote is the text as JSON.
func quote(text string) string {
	raw, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// change is a row event of one table.
type change struct {
	op                 debezium.Op
	key, before, after string
	types              map[string]*debezium.Type
	commit             int64
}

func (c change) event(t failer) *debezium.Event {
	t.Helper()
	if c.op == "" {
		c.op = debezium.Update
	}
	return &debezium.Event{Op: c.op, Key: cells(t, c.key, c.types), Before: cells(t, c.before, c.types),
		After: cells(t, c.after, c.types), Source: debezium.Source{TsUs: c.commit}}
}

func encode(t failer, table *Table, c change) *Encoded {
	t.Helper()
	e, err := new(Encoder).Encode(table, c.event(t), Facts{})
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return e
}

// readBack reads elements as a reader of MongoDB would.
func readBack(t failer, elements []byte) bson.M {
	t.Helper()
	raw := bson.Raw(elementsToDocument(elements))
	if err := raw.Validate(); err != nil {
		t.Fatalf("%x is no BSON: %v", raw, err)
	}
	var read bson.M
	decoder := bson.NewDecoder(bson.NewDocumentReader(strings.NewReader(string(raw))))
	decoder.DefaultDocumentM()
	if err := decoder.Decode(&read); err != nil {
		t.Fatalf("%v: %v", raw, err)
	}
	return read
}

func elementsToDocument(elements []byte) []byte {
	n := len(elements) + 5
	raw := []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
	return append(append(raw, elements...), 0)
}

// registry is the default one's Specs with more files.
func registry(t failer, files map[string]string) *Registry {
	t.Helper()
	folder := fstest.MapFS{}
	for name, text := range files {
		folder[name] = &fstest.MapFile{Data: []byte(text)}
	}
	r, err := Load(folder)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return r
}

// tableOf is a table t with the columns id and v, of which the second has this line in its Spec.
func tableOf(t failer, field string) *Table {
	t.Helper()
	return registry(t, map[string]string{"t.yaml": `entity: t
table: public.t
collection: ts
key: id
fields:
  - {column: id, kind: int}
  - {column: v, ` + field + `}
`}).Table("public", "t")
}

func generic() *Table { return Default().Table("public", "nospec") }

func decimal(t failer, text string) bson.Decimal128 {
	t.Helper()
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return d
}

func date(t failer, text string) bson.DateTime {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return bson.NewDateTimeFromTime(at)
}

func blob(text string) bson.Binary { return bson.Binary{Data: []byte(text)} }

// rulesOf are the broken rules as texts.
func rulesOf(violations []Violation) []string {
	var all []string
	for _, v := range violations {
		all = append(all, v.Rule+" "+v.Field+" "+string(v.Severity))
	}
	return all
}

// TestBuilder: what the builders build is what they were given.
func TestBuilder(t *testing.T) {
	t.Parallel()
	got := readBack(t, encode(t, generic(), change{key: `{"id":7}`, after: `{"id":7,"a":"x"}`}).Elements)
	if len(got) != 1 || got["a"] != "x" {
		t.Errorf("built %v", got)
	}
}
