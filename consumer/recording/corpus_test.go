package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/debezium/corpus"
	"github.com/cdclab/cdclab/consumer/entity"
)

// apart returns why readers see something else than the source in the end: of a whole table where
// id and column are "".
func apart(c *corpus.Case, table, id, column string) string {
	switch {
	case c.Config == "flat-default":
		return "flattened records are rejected"
	case c.Case == "no_pk" || c.Case == "no_pk_default_identity_rejected":
		return "a table without a primary key is rejected"
	case c.Case == "truncate" && c.Config != "truncate-on":
		return "truncates are not sent"
	case c.Case == "generated" && column == "g":
		return "PostgreSQL 15 does not publish generated columns"
	case c.Case == "ddl_add_column" && id == "2" && column == "nn", c.Case == "ddl_rename_column" &&
		id == "2" && column == "label":
		return "a row that was not touched since keeps the old columns"
	case c.Config == "time-connect" && column == "c_ts":
		return "milliseconds are all that is sent"
	case (c.Case == "numeric_nan" || c.Case == "numeric_nan_not_null") &&
		strings.HasPrefix(c.Config, "schemas-on"):
		return "precise: NaN arrives as null"
	}
	return ""
}

// TestCorpus: whatever a real Debezium sent of a table, replayed, ends in the table's rows; mixed,
// and delivered again, in the same.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for _, c := range corpus.Cases(t) {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			records := recording(t, c)
			plain, counts := replayed(t, records, ReplayOptions{})
			compareRows(t, c, plain)
			if diff, _ := replayed(t, records, ReplayOptions{Shuffle: 7}); !bytes.Equal(diff,
				plain) {
				t.Errorf("mixed, the records end in\n%.2000s\nand as recorded in\n%.2000s", diff,
					plain)
			}
			if diff, _ := replayed(t, records,
				ReplayOptions{Shuffle: 8, Duplicate: 0.3}); !bytes.Equal(diff, plain) {
				t.Errorf("delivered again, the records end in\n%.3000s\n"+
					"and as recorded in\n%.3000s", diff, plain)
			}
			t.Logf("%d records: %+v", len(records), counts)
		})
	}
}

// recording reads a case's records as the consumer reads a recording.
func recording(t testing.TB, c *corpus.Case) []*kgo.Record {
	t.Helper()
	var records []*kgo.Record
	if err := Read(c.Open(t), func(r *kgo.Record) error {
		records = append(records, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records
}

func replayed(t testing.TB, records []*kgo.Record, o ReplayOptions) ([]byte, ReplayCounts) {
	t.Helper()
	o.Apply, o.BatchMax = apply.DefaultConfig(), 500
	var out bytes.Buffer
	counts, err := Replay(context.Background(), records, o, &out)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), counts
}

// specsIn are the specs of a folder.
func specsIn(t testing.TB, folder string) *entity.Registry {
	t.Helper()
	registry, err := entity.Load(os.DirFS(folder))
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// compareRows compares the printed documents with the rows as PostgreSQL printed them.
func compareRows(t *testing.T, c *corpus.Case, printed []byte) {
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
		if reason := apart(c, table, "", ""); reason != "" &&
			len(expected.Rows) != len(documents[name]) {
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

func idOf(table corpus.Table, row map[string]*string) string {
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

func compareRow(t *testing.T, c *corpus.Case, table string, expected corpus.Table,
	row map[string]*string,
	document map[string]any) {
	t.Helper()
	for _, column := range expected.Columns {
		if column.Generated || len(expected.Key) == 1 && column.Name == expected.Key[0] &&
			column.Name == "id" {
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
			t.Errorf("%s %s: %s (%s) is %v %v, want %s", table, idOf(expected, row), column.Name,
				column.Type, got,
				document[member+"Exact"], *want)
		}
	}
}
