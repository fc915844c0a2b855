package recording

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/consumer/apply"
)

// TestNullRecordsWithPartOfTheKey: a null record without its delete, whose key is zero or empty in
// part or whole, may end the row of that key or a row whose key PostgreSQL did not send. The null
// record is a letter, and ends no row.
func TestNullRecordsWithPartOfTheKey(t *testing.T) {
	t.Parallel()
	null := func(a int, b string) taped {
		return taped{table: "p", key: fmt.Sprintf(`{"a":%d,"b":%q}`, a, b)}
	}
	for name, c := range map[string]struct {
		log     tape
		hole    int // before this record
		living  string
		letters int
	}{
		"part not sent": {tape{part("c", 1, "x", 3, 101), null(1, "")}, 1, "1x", 1},
		"the row's or another's": {tape{part("c", 1, "x", 3, 101), part("c", 1, "", 3, 102),
			null(1, "")}, 2, "1 1x", 1},
		"nothing sent": {tape{part("c", 1, "x", 3, 101), null(0, "")}, 1, "1x", 1},
		"never seen":   {tape{null(0, "x")}, 0, "", 0},
		"never seen, behind a hole": {tape{part("c", 1, "x", 3, 101), null(0, "x")}, 1, "1x",
			1},
		"ended before": {tape{part("c", 1, "x", 3, 101), part("c", 1, "", 3, 102),
			part("d", 1, "", 3, 103), part("c", 2, "y", 3, 104), null(1, "")}, 4, "1x 2y", 1},
		"behind the delete": {tape{part("c", 1, "", 3, 102), part("d", 1, "", 3, 103),
			null(1, "")}, 2, "", 0},
		"a whole key":         {tape{part("c", 1, "x", 3, 101), null(1, "x")}, 1, "", 0},
		"a whole key, unseen": {tape{part("c", 1, "x", 3, 101), null(2, "x")}, 1, "1x", 0},
	} {
		for _, most := range []int{1, 500} {
			records := c.log.records()
			for i, r := range records {
				if r.Offset = int64(i); i >= c.hole {
					r.Offset += 5
				}
			}
			var out bytes.Buffer
			counts, err := Replay(context.Background(), records,
				ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: most}, &out)
			if err != nil {
				t.Fatal(err)
			}
			if got := livingParts(t, out.Bytes()); got != c.living ||
				counts.DeadLettered["incomplete"] != c.letters {
				t.Errorf("%s, batches of %d: %q live, want %q; %+v", name, most, got, c.living,
					counts)
			}
		}
	}
}

// livingParts returns the keys of the living rows of the table p, sorted.
func livingParts(t *testing.T, printed []byte) string {
	t.Helper()
	var rows []string
	for id := range members(t, printed, "n") {
		rows = append(rows, strings.NewReplacer(`[\"`, "", `\",\"`, "", `\"]`, "").Replace(id))
	}
	slices.Sort(rows)
	return strings.Join(rows, " ")
}

// TestKeysThatChangeUnseen: an update may change a column of the key that the replica identity does
// not have, and PostgreSQL does not send the key before. The row then lives under both keys, as a
// row whose beginning is gone lives under one: each such update is counted, and the log tells of
// the table once.
func TestKeysThatChangeUnseen(t *testing.T) {
	t.Parallel()
	flat := func(op string, id int, key string, lsn uint64) taped {
		return taped{table: "p", lsn: lsn, op: op, key: fmt.Sprintf(`{"b":%q}`, key),
			after: fmt.Sprintf(`{"id":%d,"b":%q,"v":1}`, id, key)}
	}
	item := func(op string, id int, key string, lsn uint64) taped {
		one := flat(op, id, key, lsn)
		one.table = "line"
		one.after = fmt.Sprintf(`{"id":%d,"b":%q,"box":1,"v":1}`, id, key)
		return one
	}
	moved := func(one taped) taped { one.oldKey = `{"b":"w"}`; return one }
	end := flat("d", 1, "x", 105)
	end.before, end.after = end.after, ""
	read := flat("r", 1, "x", 101)
	read.snapshot = "true"
	for name, c := range map[string]struct {
		log   tape
		count int
	}{
		"no change":    {tape{flat("c", 1, "x", 101), flat("u", 1, "x", 110)}, 0},
		"after a read": {tape{read, flat("u", 1, "x", 110)}, 0},
		"the key":      {tape{flat("c", 1, "x", 101), flat("u", 1, "y", 110)}, 1},
		"again": {tape{flat("c", 1, "x", 101), flat("u", 1, "y", 110),
			flat("u", 1, "y", 110)}, 1},
		"the key, twice": {tape{flat("c", 1, "x", 101), flat("u", 1, "y", 110),
			flat("u", 1, "z", 120)}, 2},
		"a seen change": {tape{flat("c", 1, "w", 101), moved(flat("c", 1, "x", 110)),
			flat("u", 1, "x", 120)}, 0},
		"made, ended, made": {tape{flat("c", 1, "x", 101), end, flat("c", 1, "x", 110),
			flat("u", 1, "x", 120)}, 0},
		"an item": {tape{item("c", 1, "x", 101), item("u", 1, "x", 110)}, 0},
		"an item's key": {tape{item("c", 1, "x", 101), item("u", 1, "y", 110),
			item("u", 1, "y", 120)}, 1},
		"an item's key, again": {tape{item("c", 1, "x", 101), item("u", 1, "y", 110),
			item("c", 1, "x", 101), item("u", 1, "y", 110)}, 1},
	} {
		for _, most := range []int{1, 500} {
			var lines, out bytes.Buffer
			counts, err := Replay(context.Background(), c.log.records(),
				ReplayOptions{BatchMax: most, Apply: apply.DefaultConfig(),
					Registry: boxesBy(t, "b", "text"),
					Log:      slog.New(slog.NewTextHandler(&lines, nil))}, &out)
			if err != nil {
				t.Fatal(err)
			}
			told := strings.Count(lines.String(), "an update made a document")
			if counts.Violations["history"] != c.count || told != min(c.count, 1) ||
				len(counts.DeadLettered) > 0 {
				t.Errorf("%s, batches of %d: %d lines, %+v\n%s", name, most, told, counts,
					lines.String())
			}
		}
	}
}
