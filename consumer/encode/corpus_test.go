package encode_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/debezium/corpus"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
)

// TestCorpusRows: the stored events of real Debezium, of every table, compare equal with
// PostgreSQL's final rows.
func TestCorpusRows(t *testing.T) {
	t.Parallel()
	compared := map[string]int{}
	for _, c := range corpus.Cases(t) {
		compared[c.Folder] += 0
		if strings.HasPrefix(c.Replay, "equal") && c.Config != "flat-default" {
			compared[c.Folder] += Compare(t, c)
		}
	}
	for folder, n := range compared {
		if n < 30 && folder != corpus.Postgres17 || n < 20 {
			t.Errorf("compared %d rows of %s only", n, folder)
		}
	}
}

func Compare(t *testing.T, c *corpus.Case) (compared int) {
	for table, expected := range c.Expected {
		if len(expected.Key) != 1 {
			continue
		}
		registry, skipped := RegistryOf(t, c, table)
		spec, _ := registry.ByTable(table)
		documents := DocumentsOf(t, c, encode.NewTables(registry), table)
		if len(documents) != len(expected.Rows) {
			t.Errorf("%s: %d rows of %s, want %d", c, len(documents), table, len(expected.Rows))
		}
		for _, row := range expected.Rows {
			compared++
			fromRow, err := spec.RowText(row)
			if err != nil {
				t.Errorf("%s: %v", c, err)
			}
			fromDocument, err := spec.DocumentText(documents[*row[spec.Key]])
			if err != nil {
				t.Errorf("%s: %v", c, err)
			}
			for _, column := range skipped {
				f := entity.Field{Column: column}
				delete(fromRow, f.Member())
				delete(fromDocument, f.Member())
			}
			if diff := cmp.Diff(fromRow, fromDocument); diff != "" {
				t.Errorf("%s: %s (-row +document):\n%s", c, table, diff)
			}
		}
	}
	return compared
}

// Kinds of PostgreSQL's types, by the type's beginning. A type has no kind if PostgreSQL prints
// values in another way than they are stored.
var Kinds = []struct {
	Begins string
	Kind   string
}{
	{"uuid[]", "array, items: uuid"}, {"text[]", "array, items: text"},
	{"integer[]", "array, items: int"},
	{"numeric(10,2)[]", "array, items: decimal"},
	{"timestamp with time zone[]", "array, items: timestamp"},
	{"boolean[]", "array, items: bool"}, {"uuid", "uuid"}, {"text", "text"},
	{"character varying", "text"},
	{"ext.citext", "text"}, {"inet", "text"}, {"cidr", "text"}, {"macaddr", "text"},
	{"boolean", "bool"},
	{"smallint", "int"}, {"integer", "int"}, {"bigint", "int"}, {"oid", "int"}, {"real", "double"},
	{"double precision", "double"}, {"timestamp", "timestamp"}, {"daterange", "text"},
	{"date", "date"}, {"time", "time"},
	{"interval", "interval"}, {"numeric", "decimal"}, {"json", "json"}, {"mood", "text"},
	{"bytea", "bytes"},
	{"bit", "bits"}, {"xml", "text"}, {"int4range", "text"}, {"int8range", "text"},
	{"numrange", "text"},
	{"tsrange", "text"}, {"tstzrange", "text"}, {"tsvector", "text"},
}

// RegistryOf returns a Registry with a Spec of the table, made of its final columns, and the
// columns not to be compared.
func RegistryOf(t *testing.T, c *corpus.Case, table string) (*entity.Registry, []string) {
	expected := c.Expected[table]
	var b strings.Builder
	var skipped []string
	fmt.Fprintf(&b, "entity: e\ntable: %q\ncollection: c\nkey: %q\nfields:\n", table,
		expected.Key[0])
	for _, column := range expected.Columns {
		kind := "any"
		for _, k := range Kinds {
			if strings.HasPrefix(column.Type, k.Begins) {
				kind = k.Kind
				break
			}
		}
		zoneless := strings.HasSuffix(column.Type, "without time zone")
		switch {
		case zoneless && c.Config == "schemas-off": // a number without a unit
			kind = "any"
		case zoneless && c.Config == "time-connect": // cut to milliseconds
			skipped = append(skipped, column.Name)
		case column.Generated: // not published
			skipped = append(skipped, column.Name)
		}
		if kind == "any" {
			skipped = append(skipped, column.Name)
		}
		fmt.Fprintf(&b, "  - {column: %q, kind: %s}\n", column.Name, kind)
	}
	registry, err := entity.Load(fstest.MapFS{"e.yaml": {Data: []byte(b.String())}})
	if err != nil {
		t.Fatalf("%v in\n%s", err, &b)
	}
	return registry, skipped
}

// DocumentsOf returns the last states of the table's remaining rows, by key.
func DocumentsOf(t *testing.T, c *corpus.Case, tables *encode.Tables,
	table string) map[string]bson.M {
	documents := map[string]bson.M{}
	encoders := map[int32]*encode.Encoder{}
	for _, record := range c.Records(t) {
		event, err := new(debezium.Decoder).Decode(record.Key, record.Value, nil)
		if err != nil || event.Tombstone || event.Source.Schema+"."+event.Source.Table != table {
			continue // metadata, other tables
		}
		if event.Op == debezium.Truncate {
			clear(documents)
			continue
		}
		if encoders[record.Partition] == nil {
			encoders[record.Partition] = new(encode.Encoder)
		}
		served := tables.Table(event.Source.Schema, event.Source.Table)
		encoded, err := encoders[record.Partition].Encode(served, event, encode.Facts{})
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		for _, v := range encoded.Violations {
			t.Errorf("%s: %v", c, v)
		}
		if event.Op == debezium.Delete {
			delete(documents, encoded.ID)
			continue
		}
		Apply(t, documents, encoded)
	}
	return documents
}

// Apply changes the document as the consumer would.
func Apply(t *testing.T, documents map[string]bson.M, encoded *encode.Encoded) {
	if documents[encoded.ID] == nil {
		documents[encoded.ID] = bson.M{}
	}
	n := len(encoded.Elements) + 5
	raw := append([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, encoded.Elements...)
	var members bson.M
	if err := bson.Unmarshal(append(raw, 0), &members); err != nil {
		t.Fatal(err)
	}
	for member, value := range members {
		documents[encoded.ID][member] = value
	}
	for _, member := range encoded.Absent {
		delete(documents[encoded.ID], member)
	}
}
