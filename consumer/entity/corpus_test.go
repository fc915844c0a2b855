package entity_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// corpusCase is one case of the captured corpus: its records, and what PostgreSQL printed of the
// tables in the end.
type corpusCase struct {
	Config, Case, File, Replay string
	Expected                   map[string]corpusTable
}

type corpusTable struct {
	Columns []struct {
		Name, Type string
		Generated  bool
	}
	PrimaryKey []string `json:"primary_key"`
	Rows       []map[string]*string
}

// TestCorpusRows: what real Debezium sent of every table, stored, compares equal with what
// PostgreSQL printed of it in the end.
func TestCorpusRows(t *testing.T) {
	t.Parallel()
	folders := []string{"../debezium/testdata/corpus"}
	if whole := os.Getenv("CDCLAB_CORPUS"); whole != "" {
		folders = append(folders, whole)
	}
	for _, folder := range folders {
		text, err := os.ReadFile(filepath.Join(folder, "cases.json"))
		if err != nil {
			t.Fatal(err)
		}
		var all struct{ Cases []corpusCase }
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		compared := 0
		for _, c := range all.Cases {
			if !strings.HasPrefix(c.Replay, "equal") || c.Config == "flat-default" {
				continue
			}
			compared += c.compare(t, folder)
		}
		if compared < 30 {
			t.Errorf("compared %d rows of %s only", compared, folder)
		}
	}
}

func (c corpusCase) compare(t *testing.T, folder string) (compared int) {
	name := c.Config + "/" + c.Case
	for table, expected := range c.Expected {
		if len(expected.PrimaryKey) != 1 {
			continue
		}
		registry, skipped := c.registry(t, table, expected)
		spec, _ := registry.ByTable(table)
		documents := c.documents(t, filepath.Join(folder, c.File), registry, table)
		if len(documents) != len(expected.Rows) {
			t.Errorf("%s: %d rows of %s, want %d", name, len(documents), table, len(expected.Rows))
		}
		for _, row := range expected.Rows {
			compared++
			fromRow, err := spec.RowText(row)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			fromDocument, err := spec.DocumentText(documents[*row[spec.Key]])
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, column := range skipped {
				f := entity.Field{Column: column}
				delete(fromRow, f.Member())
				delete(fromDocument, f.Member())
			}
			if diff := cmp.Diff(fromRow, fromDocument); diff != "" {
				t.Errorf("%s: %s (-row +document):\n%s", name, table, diff)
			}
		}
	}
	return compared
}

// kinds of PostgreSQL's types, by their beginning. What prints differently than it is stored has
// none.
var kinds = []struct {
	begins string
	kind   string
}{
	{"uuid[]", "array, items: uuid"}, {"text[]", "array, items: text"}, {"integer[]", "array, items: int"},
	{"numeric(10,2)[]", "array, items: decimal"}, {"timestamp with time zone[]", "array, items: timestamp"},
	{"boolean[]", "array, items: bool"}, {"uuid", "uuid"}, {"text", "text"}, {"character varying", "text"},
	{"ext.citext", "text"}, {"inet", "text"}, {"cidr", "text"}, {"macaddr", "text"}, {"boolean", "bool"},
	{"smallint", "int"}, {"integer", "int"}, {"bigint", "int"}, {"oid", "int"}, {"real", "double"},
	{"double precision", "double"}, {"timestamp", "timestamp"}, {"daterange", "text"}, {"date", "date"}, {"time", "time"},
	{"interval", "interval"}, {"numeric", "decimal"}, {"json", "json"}, {"mood", "text"}, {"bytea", "bytes"},
	{"bit", "bits"}, {"xml", "text"}, {"int4range", "text"}, {"int8range", "text"}, {"numrange", "text"},
	{"tsrange", "text"}, {"tstzrange", "text"}, {"tsvector", "text"},
}

// registry has a Spec of the table, made of its columns in the end, and says which are not compared.
func (c corpusCase) registry(t *testing.T, table string, expected corpusTable) (*entity.Registry, []string) {
	var b strings.Builder
	var skipped []string
	fmt.Fprintf(&b, "entity: e\ntable: %q\ncollection: c\nkey: %q\nfields:\n", table, expected.PrimaryKey[0])
	for _, column := range expected.Columns {
		kind := "any"
		for _, k := range kinds {
			if strings.HasPrefix(column.Type, k.begins) {
				kind = k.kind
				break
			}
		}
		zoneless := strings.HasSuffix(column.Type, "without time zone")
		switch {
		case zoneless && c.Config == "schemas-off": // a number of which nothing tells the unit
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

// documents are the last states of the table's rows that are left, by their key.
func (c corpusCase) documents(t *testing.T, path string, registry *entity.Registry,
	table string) map[string]bson.M {
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(nil, 16<<20)
	documents := map[string]bson.M{}
	encoders := map[int]*entity.Encoder{}
	for lines.Scan() {
		var record struct {
			Key, Value []byte
			Partition  int
		}
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatal(err)
		}
		event, err := debezium.Decode(record.Key, record.Value, nil)
		if err != nil || event.Tombstone || event.Source.Schema+"."+event.Source.Table != table {
			continue // metadata, other tables
		}
		if event.Op == debezium.Truncate {
			clear(documents)
			continue
		}
		if encoders[record.Partition] == nil {
			encoders[record.Partition] = new(entity.Encoder)
		}
		served := registry.Table(event.Source.Schema, event.Source.Table)
		encoded, err := encoders[record.Partition].Encode(served, &event, entity.Facts{})
		if err != nil {
			t.Errorf("%s/%s: %v", c.Config, c.Case, err)
			continue
		}
		for _, v := range encoded.Violations {
			t.Errorf("%s/%s: %v", c.Config, c.Case, v)
		}
		if event.Op == debezium.Delete {
			delete(documents, encoded.ID)
			continue
		}
		apply(t, documents, encoded)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return documents
}

// apply changes the document as the consumer would.
func apply(t *testing.T, documents map[string]bson.M, encoded *entity.Encoded) {
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
