package recording

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/entity"
)

// boxesBy is a registry of boxes with lines inside, named by one column of their key, of the kind.
func boxesBy(t *testing.T, key, kind string) *entity.Registry {
	t.Helper()
	registry, err := entity.Load(fstest.MapFS{
		"box.yaml": {Data: []byte("entity: box\ntable: public.box\ncollection: boxes\nkey: id\n" +
			"fields: [{column: id, kind: int}]\n")},
		"line.yaml": {Data: []byte("entity: line\ntable: public.line\ncollection: boxes\n" +
			"key: " + key + "\nembed: {into: box, field: lines, parent: box}\n" +
			"fields: [{column: " + key + ", kind: " + kind + "}, {column: box, kind: int}]\n")}})
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// lineOf is a change of the row {a, b, box, v} of the table line; a delete has no box, as under the
// default replica identity.
func lineOf(op string, a int, b string, v int, lsn uint64) taped {
	box := 1
	if op == "d" {
		box = 0
	}
	one := taped{table: "line", lsn: lsn, op: op, key: fmt.Sprintf(`{"a":%d,"b":%q}`, a, b),
		after: fmt.Sprintf(`{"a":%d,"b":%q,"box":%d,"v":%d}`, a, b, box, v)}
	if op == "d" {
		one.before, one.after = one.after, ""
	}
	return one
}

// TestItemsWithPartOfTheKey: a delete of an embedded row, whose key is zero in part or whole, ends
// the row with that key and the values before, and no other row; a delete without such a row is a
// letter.
func TestItemsWithPartOfTheKey(t *testing.T) {
	t.Parallel()
	full, moved := lineOf("d", 0, "x", 3, 200), lineOf("d", 0, "x", 0, 200)
	full.before = strings.Replace(full.before, `"box":0`, `"box":1`, 1)
	moved.newKey = lineOf("c", 5, "y", 0, 1).key
	comes := lineOf("c", 5, "y", 4, 200)
	comes.oldKey = moved.key
	leaves := comes
	leaves.after = strings.Replace(comes.after, `"box":1`, `"box":2`, 1)
	for name, c := range map[string]struct {
		log     tape
		living  string
		letters int
	}{
		"part not sent": {tape{lineOf("c", 1, "x", 3, 101), lineOf("d", 0, "x", 0, 200)}, "1=3",
			1},
		"the other part not sent": {tape{lineOf("c", 1, "x", 3, 101),
			lineOf("d", 1, "", 0, 200)}, "", 0},
		"beside row zero": {tape{lineOf("c", 1, "x", 3, 101), lineOf("c", 0, "y", 4, 110),
			lineOf("d", 0, "x", 0, 200)}, "0=4 1=3", 1},
		"nothing sent": {tape{lineOf("c", 1, "x", 3, 101), lineOf("d", 0, "", 3, 200)}, "1=3", 1},
		"the row with that key": {tape{lineOf("c", 0, "x", 3, 101), lineOf("d", 0, "x", 0, 200)},
			"", 0},
		"full":                         {tape{lineOf("c", 0, "x", 3, 101), full}, "", 0},
		"another's, with the document": {tape{lineOf("c", 0, "x", 4, 101), full}, "0=4", 1},
		"never seen":                   {tape{lineOf("d", 0, "x", 0, 200)}, "", 1},
		"again": {tape{lineOf("c", 0, "x", 3, 101), lineOf("d", 0, "x", 0, 200),
			lineOf("d", 0, "x", 0, 200)}, "", 0},
		"ended before": {tape{lineOf("c", 0, "x", 3, 101), lineOf("d", 0, "x", 0, 200),
			lineOf("d", 0, "x", 0, 250)}, "", 1},
		"made again": {tape{lineOf("c", 0, "x", 3, 101), lineOf("d", 0, "x", 0, 200),
			lineOf("c", 0, "x", 5, 210), lineOf("d", 0, "x", 0, 200)}, "0=5", 0},
		"another row's key changes": {tape{lineOf("c", 1, "x", 3, 101), moved, comes}, "1=3 5=4",
			1},
		"row zero's key changes": {tape{lineOf("c", 0, "x", 3, 101), moved, comes}, "5=4", 0},
		"the other part changes": {tape{lineOf("c", 5, "x", 3, 101), moved, comes}, "5=4", 0},
		"the other part changes, again": {tape{lineOf("c", 5, "x", 3, 101), moved, comes, moved,
			comes}, "5=4", 0},
		"the other part and the document change": {tape{lineOf("c", 5, "x", 3, 101), moved,
			leaves}, "2:5=4", 0},
	} {
		for _, most := range []int{1, 500} {
			got, counts := linesAfter(t, c.log, most, boxesBy(t, "a", "int"))
			if got != c.living || counts.DeadLettered["key"] != c.letters ||
				len(counts.DeadLettered) > min(c.letters, 1) {
				t.Errorf("%s, batches of %d: %q live, want %q; %+v", name, most, got, c.living,
					counts)
			}
		}
	}
}

// TestItemsUnderAnotherIdentity: the replica identity is an index without the key. An update of
// the index's columns changes the embedded row in place; a delete is a letter, because the rows in
// other documents cannot be looked up by values.
func TestItemsUnderAnotherIdentity(t *testing.T) {
	t.Parallel()
	line := func(op string, id int, mail string, lsn uint64) taped {
		return taped{table: "line", lsn: lsn, op: op, key: docKey(id),
			after: fmt.Sprintf(`{"id":%d,"mail":%q,"box":1,"body":"A","v":1}`, id, mail)}
	}
	leaves := taped{table: "line", lsn: 120, op: "d", key: docKey(0), newKey: docKey(5),
		before: `{"id":0,"mail":"m","box":0,"body":"","v":0}`}
	comes := line("c", 5, "n", 120)
	comes.oldKey, comes.after = docKey(0),
		`{"id":5,"mail":"n","box":1,"body":`+placeholder+`,"v":2}`
	end := leaves
	end.newKey, end.lsn = "", 130
	for name, c := range map[string]struct {
		log     tape
		living  string
		letters int
	}{
		"changed in place": {tape{line("c", 5, "m", 101), leaves, comes}, "5=2", 0},
		"again":            {tape{line("c", 5, "m", 101), leaves, comes, leaves, comes}, "5=2", 0},
		"ended":            {tape{line("c", 5, "m", 101), end}, "5=1", 1},
		"beside row zero": {tape{line("c", 5, "m", 101), line("c", 0, "o", 102), end},
			"0=1 5=1", 1},
	} {
		for _, most := range []int{1, 500} {
			got, counts := linesAfter(t, c.log, most,
				boxesBy(t, "id", "int"))
			if got != c.living || counts.DeadLettered["key"] != c.letters ||
				len(counts.DeadLettered) > min(c.letters, 1) {
				t.Errorf("%s, batches of %d: %q live, want %q; %+v", name, most, got, c.living,
					counts)
			}
		}
	}
}

// TestItemsOfTheDefaultDocument: PostgreSQL did not send the document of an ended row, and the
// column has the default of another document: the row ends where the row is.
func TestItemsOfTheDefaultDocument(t *testing.T) {
	t.Parallel()
	end := lineOf("d", 1, "x", 0, 200)
	end.before = strings.Replace(end.before, `"box":0`, `"box":7`, 1)
	log := tape{lineOf("c", 1, "x", 3, 101), end}
	for i := range log {
		log[i].keyFields = fieldsOf("a int32", "b string")
		log[i].fields = fieldsOf("a int32", "b string") +
			`,{"field":"box","type":"int32","optional":false,"default":7},` + fieldOf("v int32")
	}
	got, counts := linesAfter(t, log, 1, boxesBy(t, "a", "int"))
	if got != "" || len(counts.DeadLettered) > 0 {
		t.Errorf("%q live, %+v", got, counts)
	}
}

// linesAfter returns the living lines as "box:key=v", sorted; without the box in box 1.
func linesAfter(t *testing.T, log tape, most int, r *entity.Registry) (string, ReplayCounts) {
	t.Helper()
	boxes := tape{{table: "box", lsn: 50, op: "c", key: docKey(1), after: `{"id":1}`},
		{table: "box", lsn: 51, op: "c", key: docKey(2), after: `{"id":2}`}}
	var out bytes.Buffer
	counts, err := Replay(context.Background(), append(boxes, log...).records(),
		ReplayOptions{Apply: apply.DefaultConfig(), Registry: r, BatchMax: most}, &out)
	if err != nil {
		t.Fatal(err)
	}
	living := strings.Fields(homes(t, out.Bytes()))
	for i := range living {
		living[i] = strings.TrimPrefix(living[i], "1:")
	}
	slices.Sort(living)
	return strings.Join(living, " "), counts
}
