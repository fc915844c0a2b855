package consumer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// corpusCase is one entry of cases.json: what a real Debezium sent, and the rows in the end.
type corpusCase struct {
	Config, Case, File, Replay string
	Expected                   map[string]expectedTable
}

type expectedTable struct {
	Columns []struct {
		Name, Type string
		Generated  bool
	}
	Rows []map[string]*string
	Key  []string `json:"primary_key"`
}

func corpusCases(t testing.TB) map[string][]corpusCase {
	t.Helper()
	folders := []string{filepath.Join("debezium", "testdata", "corpus")}
	if whole := os.Getenv("CDCLAB_CORPUS"); whole != "" {
		folders = append(folders, whole)
	}
	all := map[string][]corpusCase{}
	for _, folder := range folders {
		all[folder] = casesOf(t, folder)
	}
	return all
}

func casesOf(t testing.TB, folder string) []corpusCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var read struct{ Cases []corpusCase }
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Cases) == 0 {
		t.Fatalf("%s has no cases", folder)
	}
	return read.Cases
}

// apart are the cases in which readers see something else than the source in the end, and why: of a whole
// table where id and column are "".
func apart(c corpusCase, table, id, column string) string {
	switch {
	case c.Config == "flat-default":
		return "flattened records are rejected"
	case c.Case == "no_pk" || c.Case == "no_pk_default_identity_rejected":
		return "a table without a primary key is rejected"
	case c.Case == "truncate" && c.Config != "truncate-on":
		return "truncates are not sent"
	case c.Case == "generated" && column == "g":
		return "PostgreSQL 15 does not publish generated columns"
	case c.Case == "ddl_add_column" && id == "2" && column == "nn", c.Case == "ddl_rename_column" && id == "2" && column == "label":
		return "a row that was not touched since keeps the old columns"
	case c.Config == "time-connect" && column == "c_ts":
		return "milliseconds are all that is sent"
	case (c.Case == "numeric_nan" || c.Case == "numeric_nan_not_null") && strings.HasPrefix(c.Config, "schemas-on"):
		return "precise: NaN arrives as null"
	}
	return ""
}

// TestCorpus: whatever a real Debezium sent of a table, replayed, ends in the table's rows; mixed,
// and delivered again, in the same.
func TestCorpus(t *testing.T) {
	t.Parallel()
	all, captured := corpusCases(t), filepath.Join("testdata", "captured")
	all[captured] = casesOf(t, captured)
	for folder, cases := range all {
		for _, c := range cases {
			t.Run(fmt.Sprint(filepath.Base(folder), "/", c.Config, "/", c.Case), func(t *testing.T) {
				t.Parallel()
				records := recording(t, filepath.Join(folder, c.File))
				plain, counts := replayed(t, records, ReplayOptions{})
				compareRows(t, c, plain)
				if diff, _ := replayed(t, records, ReplayOptions{Shuffle: 7}); !bytes.Equal(diff, plain) {
					t.Errorf("mixed, the records end in\n%.2000s\nand as recorded in\n%.2000s", diff, plain)
				}
				if diff, _ := replayed(t, records, ReplayOptions{Shuffle: 8, Duplicate: 0.3}); !bytes.Equal(diff, plain) {
					t.Errorf("delivered again, the records end in\n%.3000s\nand as recorded in\n%.3000s", diff, plain)
				}
				t.Logf("%d records: %+v", len(records), counts)
			})
		}
	}
}

func recording(t testing.TB, path string) []*kgo.Record {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var records []*kgo.Record
	if err := ReadRecording(file, func(r *kgo.Record) error { records = append(records, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return records
}

func replayed(t testing.TB, records []*kgo.Record, o ReplayOptions) ([]byte, ReplayCounts) {
	t.Helper()
	specs := o.Config.Specs
	o.Config = DefaultConfig()
	o.Config.Output, o.Config.Specs = nil, specs
	var out bytes.Buffer
	counts, err := Replay(context.Background(), records, o, &out)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), counts
}

// compareRows compares the printed documents with the rows as PostgreSQL printed them.
func compareRows(t *testing.T, c corpusCase, printed []byte) {
	t.Helper()
	documents := map[string]map[string]map[string]any{}
	for line := range bytes.Lines(printed) {
		var one struct {
			Collection string
			Document   map[string]any
		}
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatal(err)
		}
		if documents[one.Collection] == nil {
			documents[one.Collection] = map[string]map[string]any{}
		}
		id := one.Document["_id"].(string)
		documents[one.Collection][id] = one.Document
		items, _ := one.Document["items"].(map[string]any)
		for item, row := range items {
			if documents["order_item"] == nil {
				documents["order_item"] = map[string]map[string]any{}
			}
			if documents["order_item"][item] != nil {
				t.Errorf("the item %s is in two orders", item)
			}
			documents["order_item"][item] = row.(map[string]any)
		}
	}
	known := map[string]string{"customer": "customers", "address": "addresses", "order": "orders"}
	for table, expected := range c.Expected {
		name := strings.TrimPrefix(table, "public.")
		if of, is := known[name]; is {
			name = of
		}
		if reason := apart(c, table, "", ""); reason != "" && len(expected.Rows) != len(documents[name]) {
			t.Logf("%s, not compared: %s", table, reason)
			continue
		}
		if len(documents[name]) != len(expected.Rows) {
			t.Errorf("%d documents of %s, want %d", len(documents[name]), table, len(expected.Rows))
		}
		for _, row := range expected.Rows {
			id := idOf(expected, row)
			if document := documents[name][id]; document == nil {
				t.Errorf("%s %s is missing", table, id)
			} else {
				compareRow(t, c, table, expected, row, document)
			}
		}
	}
}

func idOf(table expectedTable, row map[string]*string) string {
	if len(table.Key) == 1 {
		return *row[table.Key[0]]
	}
	var texts []string
	for _, column := range table.Key {
		texts = append(texts, *row[column])
	}
	text, _ := json.Marshal(texts)
	return string(text)
}

func compareRow(t *testing.T, c corpusCase, table string, expected expectedTable, row map[string]*string,
	document map[string]any) {
	t.Helper()
	for _, column := range expected.Columns {
		if column.Generated || len(expected.Key) == 1 && column.Name == expected.Key[0] && column.Name == "id" {
			continue
		}
		if apart(c, table, idOf(expected, row), column.Name) != "" {
			continue
		}
		member := memberName(column.Name)
		want := row[column.Name]
		got, there := document[member]
		if want == nil {
			if got != nil {
				t.Errorf("%s %s: %s is %v, want null", table, idOf(expected, row), column.Name, got)
			}
			continue
		}
		if !there || !sameValue(column.Type, *want, got, document[member+"Exact"]) {
			t.Errorf("%s %s: %s (%s) is %v %v, want %s", table, idOf(expected, row), column.Name, column.Type, got,
				document[member+"Exact"], *want)
		}
	}
}
