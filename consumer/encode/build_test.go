package encode

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// failer is the part of *testing.T, *testing.B, *testing.F and *rapid.T that the builders need.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

const someUUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

// parseValue reads a JSON value as the column of a record; a duplicate name is an error.
func parseValue(text string) (v debezium.Value, err error) {
	if !json.Valid([]byte(text)) { // else the text could close the row and go on
		return v, fmt.Errorf("%.100q is bad JSON", text)
	}
	record := `{"op":"c","source":{"schema":"s","table":"t"},"after":{"v":` + text + `}}`
	decoder := debezium.Decoder{MaxDepth: math.MaxInt32}
	event, err := decoder.Decode(nil, []byte(record), nil)
	if err != nil {
		return v, err
	}
	return event.After.Get("v").Value, nil
}

func parse(t failer, text string) debezium.Value {
	t.Helper()
	v, err := parseValue(text)
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
	for name, v := range parse(t, object).Members() {
		row = append(row, debezium.Cell{Name: string(name), Value: v, Type: types[string(name)]})
	}
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

// change is a row event of a single table.
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
	return &debezium.Event{Op: c.op, Key: cells(t, c.key, c.types),
		Before: cells(t, c.before, c.types),
		After:  cells(t, c.after, c.types), Source: debezium.Source{TsUs: c.commit}}
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

// lab returns the Tables of the built-in Specs.
func lab() *Tables { return NewTables(entity.Default()) }

// tables returns the Tables of the Specs in the files.
func tables(t failer, files map[string]string) *Tables {
	t.Helper()
	folder := fstest.MapFS{}
	for name, text := range files {
		folder[name] = &fstest.MapFile{Data: []byte(text)}
	}
	r, err := entity.Load(folder)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return NewTables(r)
}

// tableOf returns a table t with the columns id and v; line is from the Spec of v.
func tableOf(t failer, field string) *Table {
	t.Helper()
	return tables(t, map[string]string{"t.yaml": `entity: t
table: public.t
collection: ts
key: id
fields:
  - {column: id, kind: int}
  - {column: v, ` + field + `}
`}).Table("public", "t")
}

func generic() *Table { return lab().Table("public", "nospec") }

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

// rulesOf returns the broken rules as texts.
func rulesOf(violations []entity.Violation) []string {
	var all []string
	for _, v := range violations {
		all = append(all, v.Rule+" "+v.Field+" "+string(v.Severity))
	}
	return all
}

// TestBuilder: the builders build the given rows and types.
func TestBuilder(t *testing.T) {
	t.Parallel()
	got := readBack(t, encode(t, generic(),
		change{key: `{"id":7}`, after: `{"id":7,"a":"x"}`}).Elements)
	if len(got) != 1 || got["a"] != "x" {
		t.Errorf("built %v", got)
	}
}
