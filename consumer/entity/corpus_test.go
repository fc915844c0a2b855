package entity_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// TestCorpusRows: what real Debezium sent of the lab's tables, stored, compares equal with what
// PostgreSQL printed of them in the end.
func TestCorpusRows(t *testing.T) {
	t.Parallel()
	folders := []string{"../debezium/testdata/corpus"}
	if whole := os.Getenv("CDCLAB_CORPUS"); whole != "" {
		folders = append(folders, whole)
	}
	registry := entity.Default()
	for _, folder := range folders {
		text, err := os.ReadFile(filepath.Join(folder, "cases.json"))
		if err != nil {
			t.Fatal(err)
		}
		var all struct {
			Cases []struct {
				Config, Case, File string
				Expected           map[string]struct{ Rows []map[string]*string }
			}
		}
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		compared := 0
		for _, c := range all.Cases {
			if c.Config == "flat-default" || c.Case == "truncate" {
				continue // flattened; rows that went without an event
			}
			rows := latestRows(t, filepath.Join(folder, c.File), registry)
			for table, expected := range c.Expected {
				spec, known := registry.ByTable(table)
				if !known {
					continue
				}
				if got, want := len(rows[table]), len(expected.Rows); got != want {
					t.Errorf("%s/%s: %d rows of %s, want %d", c.Config, c.Case, got, table, want)
				}
				for _, want := range expected.Rows {
					compareRow(t, c.Config+"/"+c.Case, spec, want, rows[table][*want[spec.Key]])
					compared++
				}
			}
		}
		if compared < 30 {
			t.Errorf("compared %d rows of %s only", compared, folder)
		}
	}
}

// latestRows are the last images of the rows that are left, by table and key.
func latestRows(t *testing.T, path string, registry *entity.Registry) map[string]map[string]debezium.Row {
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
	rows := map[string]map[string]debezium.Row{}
	for lines.Scan() {
		var record struct{ Key, Value []byte }
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatal(err)
		}
		event, err := debezium.Decode(record.Key, record.Value, nil)
		table := event.Source.Schema + "." + event.Source.Table
		spec, known := registry.ByTable(table)
		if err != nil || !known || event.Tombstone {
			continue // metadata, other tables
		}
		if rows[table] == nil {
			rows[table] = map[string]debezium.Row{}
		}
		key := event.Key[spec.Key].(string)
		if rows[table][key] = event.After; event.Op == debezium.Delete {
			delete(rows[table], key)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func compareRow(t *testing.T, name string, spec *entity.Spec, want map[string]*string, row debezium.Row) {
	for _, v := range spec.Check(row) {
		t.Errorf("%s: %s: %v", name, spec.Table, v)
	}
	document := bson.M{}
	for _, f := range spec.Fields {
		stored, exact, err := f.BSON(row[f.Column])
		if err != nil {
			t.Errorf("%s: %s.%s: %v", name, spec.Table, f.Column, err)
		}
		document[f.Member()] = stored
		if exact != "" {
			document[f.Member()+entity.ExactSuffix] = exact
		}
	}
	fromRow, err := spec.RowText(want)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	fromDocument, err := spec.DocumentText(document)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if diff := cmp.Diff(fromRow, fromDocument); diff != "" {
		t.Errorf("%s: %s (-row +document):\n%s", name, spec.Table, diff)
	}
}
