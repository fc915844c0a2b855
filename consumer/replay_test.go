package consumer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

const placeholder = `"__debezium_unavailable_value"`

func docRow(id, x int, body string) string {
	return fmt.Sprintf(`{"id":%d,"x":%d,"body":%s}`, id, x, body)
}

func docKey(id int) string { return fmt.Sprintf(`{"id":%d}`, id) }

// swapped: two rows change their keys, one into that of the other, in two partitions; their large values
// are sent once only.
var swapped = tape{
	{table: "doc", lsn: 101, key: docKey(1), op: "c", after: docRow(1, 1, `"A"`)},
	{table: "doc", partition: 1, lsn: 102, key: docKey(2), op: "c", after: docRow(2, 2, `"B"`)},
	{table: "doc", lsn: 120, key: docKey(1), op: "d", before: docRow(1, 0, `""`), newKey: docKey(3)},
	{table: "doc", key: docKey(1)},
	{table: "doc", partition: 1, lsn: 120, key: docKey(3), op: "c", after: docRow(3, 1, placeholder), oldKey: docKey(1)},
	{table: "doc", partition: 1, lsn: 140, key: docKey(2), op: "d", before: docRow(2, 0, `""`), newKey: docKey(1)},
	{table: "doc", partition: 1, key: docKey(2)},
	{table: "doc", lsn: 140, key: docKey(1), op: "c", after: docRow(1, 2, placeholder), oldKey: docKey(2)},
	{table: "doc", partition: 1, lsn: 150, key: docKey(3), op: "d", before: docRow(3, 0, `""`), newKey: docKey(2)},
	{table: "doc", partition: 1, key: docKey(3)},
	{table: "doc", partition: 1, lsn: 150, key: docKey(2), op: "c", after: docRow(2, 1, placeholder), oldKey: docKey(3)},
	{table: "doc", partition: 1, lsn: 170, key: docKey(2), op: "u", after: docRow(2, 9, placeholder)},
}

// TestReplayMixesKeyChanges: however the partitions are mixed, the create under a row's new key waits
// for the delete of the old one, and for nothing else.
func TestReplayMixesKeyChanges(t *testing.T) {
	t.Parallel()
	all := map[string][]*kgo.Record{"swapped": swapped.records()}
	for folder, cases := range corpusCases(t) {
		for _, c := range cases {
			records := recording(t, filepath.Join(folder, c.File))
			if c.Config != "flat-default" && slices.ContainsFunc(records, changesKey) {
				all[c.Config+"/"+c.Case] = records
			}
		}
	}
	if len(all) < 5 {
		t.Errorf("only %d cases have changes of keys", len(all))
	}
	for name, records := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, counts := sameHoweverDelivered(t, records, 60, ReplayOptions{Tombstones: true})
			if len(counts.DeadLettered) > 0 {
				t.Errorf("dead letters: %v", counts.DeadLettered)
			}
		})
	}
}

func changesKey(r *kgo.Record) bool {
	return slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == "__debezium.newkey" })
}

// TestReplayOfPartOfALog: what is not in the recording is waited for only until nothing else moves, and
// the earliest wait ends first.
func TestReplayOfPartOfALog(t *testing.T) {
	t.Parallel()
	// The delete of 120 is not there, and so the row has no text for 150 to take; that of 140 is behind
	// what waits for the first.
	plain, counts := sameHoweverDelivered(t, slices.Delete(swapped.records(), 2, 4), 30, ReplayOptions{})
	if counts.DeadLettered[ruleIncomplete] != 2 || !strings.Contains(string(plain), `"_id":"1","body":"B"`) {
		t.Errorf("%v, %s", counts.DeadLettered, plain)
	}
}

// TestReplayWaitsForParents: a chain of references over three tables, of which the last row never comes
// or comes late, ends the same in every order.
func TestReplayWaitsForParents(t *testing.T) {
	t.Parallel()
	specs := t.TempDir()
	for child, parent := range map[string]string{"a": "b", "b": "c", "c": ""} {
		spec := fmt.Sprintf("entity: %s\ntable: public.%s\ncollection: %[1]s\nkey: id\nfields:\n  - {column: id, kind: int}\n", child, child)
		if parent != "" {
			spec += fmt.Sprintf("  - {column: up, kind: int}\nreferences:\n  - {column: up, entity: %s}\n", parent)
		}
		if err := os.WriteFile(filepath.Join(specs, child+".yaml"), []byte(spec), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := tape{
		{table: "a", lsn: 130, key: docKey(1), op: "c", after: `{"id":1,"up":1}`},
		{table: "a", lsn: 131, key: docKey(2), op: "c", after: `{"id":2,"up":2}`},
		{table: "b", lsn: 120, key: docKey(1), op: "c", after: `{"id":1,"up":1}`},
		{table: "b", lsn: 121, key: docKey(2), op: "c", after: `{"id":2,"up":2}`},
		{table: "c", lsn: 110, key: docKey(1), op: "c", after: `{"id":1}`},
	}
	plain, _ := sameHoweverDelivered(t, log.records(), 30, ReplayOptions{Config: Config{Specs: specs}})
	if n := strings.Count(string(plain), `"orphan"`); n != 2 {
		t.Errorf("%d orphans, want 2:\n%s", n, plain)
	}
}
