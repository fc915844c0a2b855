package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/entity"
)

// lines is a registry of boxes with lines inside.
func lines(t *testing.T) *entity.Registry {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"box.yaml": "entity: box\ntable: public.box\ncollection: boxes\nkey: id\n" +
			"fields: [{column: id, kind: int}]\n",
		"line.yaml": "entity: line\ntable: public.line\ncollection: boxes\nkey: id\n" +
			"embed: {into: box, field: lines, parent: box}\n" +
			"fields: [{column: id, kind: int}, {column: box, kind: int}]\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return specsIn(t, folder)
}

// homes returns the living lines as "box:line=v", sorted.
func homes(t *testing.T, printed []byte) string {
	t.Helper()
	var all []string
	for text := range strings.Lines(string(printed)) {
		var one struct {
			Document struct {
				ID    string `json:"_id"`
				Lines map[string]struct {
					V    json.RawMessage
					Meta struct{ Deleted bool } `json:"cdcMetadata"`
				}
			}
		}
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			t.Fatal(err)
		}
		for id, line := range one.Document.Lines {
			if !line.Meta.Deleted {
				all = append(all, fmt.Sprintf("%s:%s=%s", one.Document.ID, id,
					number(string(line.V))))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestSnapshotsAnewOfLines: a row in another row's document, that moved while nobody read the log,
// is in the new document alone, whatever read the row: a snapshot in the same partition, another
// partition or another topic, an incremental snapshot, a snapshot with a higher epoch.
func TestSnapshotsAnewOfLines(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	line := func(op string, box, v int, commit, lsn uint64, after time.Duration) taped {
		one := taped{table: "line", lsn: lsn, sequence: [2]uint64{commit, lsn}, op: op,
			key: docKey(1), after: fmt.Sprintf(`{"id":1,"box":%d,"v":%d}`, box, v), txID: 700,
			at: consumertest.Time.Add(after)}
		if op == "r" {
			one.snapshot = "true"
		}
		return one
	}
	incremental := line("r", 2, 9, 9000, 9010, hour)
	incremental.snapshot = "incremental"
	again := incremental
	again.sequence, again.after = [2]uint64{9500, 9510}, `{"id":1,"box":1,"v":10}`
	for name, c := range map[string]struct {
		first, second taped
	}{
		"over a snapshot": {line("r", 1, 1, 0, 1000, 0), line("r", 2, 9, 0, 9000, hour)},
		"over a change": {line("c", 1, 1, 900, 1000, 0),
			line("r", 2, 9, 0, 9000, hour)},
		"over a first transaction":  {line("c", 1, 1, 0, 1000, 0), line("r", 2, 9, 0, 9000, hour)},
		"incremental over a change": {line("c", 1, 1, 900, 1000, 0), incremental},
		"incremental over a row":    {line("r", 1, 1, 0, 1000, 0), incremental},
		"over an incremental row":   {again, line("r", 2, 9, 0, 10_000, 2*hour)},
		"a change over a row": {line("r", 1, 1, 0, 1000, 0),
			line("u", 2, 9, 9000, 9010, hour)},
	} {
		for _, place := range []string{"same", "partition", "topic", "epoch"} {
			records := tape{{table: "box", lsn: 50, op: "c", key: docKey(1), after: `{"id":1}`},
				{table: "box", lsn: 51, op: "c", key: docKey(2), after: `{"id":2}`}, c.first,
				c.second}.records()
			o := ReplayOptions{Registry: lines(t)}
			last := records[3]
			switch place {
			case "partition":
				last.Partition, last.Offset = 1, 0
			case "topic":
				last.Topic, last.Offset = "cdc2.public.line", 0
				last.Value = []byte(strings.Replace(string(last.Value), `"name":"cdc"`,
					`"name":"cdc2"`, 1))
			}
			printed, counts := replayed(t, records, o)
			if got := homes(t, printed); got != "2:1=9" || len(counts.DeadLettered) > 0 {
				t.Errorf("%s, %s: %s; %+v", name, place, got, counts)
			}
		}
	}
}

// TestLogsBegunAnewOfMoves: a move in a log begun anew raises the alarm: into another document, and
// to another key with a value left out.
func TestLogsBegunAnewOfMoves(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	move := taped{table: "line", lsn: 4010, sequence: [2]uint64{4000, 4010}, op: "u", txID: 703,
		key: docKey(1), before: `{"id":1,"box":1,"v":1}`, after: `{"id":1,"box":2,"v":7}`,
		at: consumertest.Time.Add(hour)}
	line := taped{table: "line", lsn: 9010, sequence: [2]uint64{9000, 9010}, op: "c", txID: 700,
		key: docKey(1), after: `{"id":1,"box":1,"v":1}`, at: consumertest.Time}
	doc := func(id int, body string, commit uint64, tx int64, after time.Duration) taped {
		return taped{table: "doc", partition: 1, lsn: commit + 10, txID: tx, op: "c",
			sequence: [2]uint64{commit, commit + 10}, key: docKey(id),
			after: fmt.Sprintf(`{"id":%d,"body":%s}`, id, body), at: consumertest.Time.Add(after)}
	}
	comes := doc(2, placeholder, 4000, 703, hour)
	comes.oldKey = docKey(1)
	made := move
	made.op, made.before = "c", "" // the row's id is given again
	for name, log := range map[string]tape{
		"to another document":      {line, move},
		"made in another document": {line, made},
		"to another key":           {doc(2, `"A"`, 9000, 700, 0), comes},
	} {
		for _, most := range []int{1, 500} {
			o := ReplayOptions{Apply: apply.DefaultConfig(), Registry: lines(t), BatchMax: most}
			counts, err := Replay(context.Background(), log.records(), o, io.Discard)
			if err == nil || !strings.Contains(err.Error(), "positions went back") {
				t.Errorf("%s, batches of %d: %v, %+v", name, most, err, counts)
			}
		}
	}
}

// TestOlderLinesOfTheLog: the making of a row, delivered again after the row moved, or after
// another row, raises no alarm and makes no second copy.
func TestOlderLinesOfTheLog(t *testing.T) {
	t.Parallel()
	line := func(op string, id, box int, lsn uint64) taped {
		return taped{table: "line", lsn: lsn, op: op, key: docKey(id),
			after: fmt.Sprintf(`{"id":%d,"box":%d,"v":1}`, id, box)}
	}
	move := line("u", 1, 2, 200)
	move.before = `{"id":1,"box":1,"v":1}`
	for _, most := range []int{1, 500} {
		var out bytes.Buffer
		counts, err := Replay(context.Background(), tape{
			{table: "box", lsn: 50, op: "c", key: docKey(1), after: `{"id":1}`},
			{table: "box", lsn: 51, op: "c", key: docKey(2), after: `{"id":2}`},
			line("c", 1, 1, 101), move,
			line("c", 2, 1, 210), line("c", 1, 1, 101), line("c", 3, 1, 150), move}.records(),
			ReplayOptions{Apply: apply.DefaultConfig(), Registry: lines(t), BatchMax: most}, &out)
		if got := homes(t, out.Bytes()); err != nil || got != "1:2=1 1:3=1 2:1=1" ||
			len(counts.DeadLettered) > 0 {
			t.Errorf("batches of %d: %s, %v, %+v", most, got, err, counts)
		}
	}
}
