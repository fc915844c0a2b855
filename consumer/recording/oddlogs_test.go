package recording

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/consumertest"
)

// change is a streamed change of the row {id, v} of the table k, by its transaction.
func changeOf(op string, id, v int, tx, commit, lsn uint64, after time.Duration) taped {
	one := taped{table: "k", lsn: lsn, txID: int64(tx), sequence: [2]uint64{commit, lsn}, op: op,
		key: docKey(id), after: rowOf(id, v), at: consumertest.Time.Add(after)}
	if op == "d" {
		one.before, one.after = fmt.Sprintf(`{"id":%d,"v":null}`, id), ""
	}
	return one
}

func readOf(id, v int, lsn uint64, after time.Duration) taped {
	return taped{table: "k", lsn: lsn, sequence: [2]uint64{0, lsn}, op: "r", snapshot: "true",
		key: docKey(id), after: rowOf(id, v), at: consumertest.Time.Add(after)}
}

func truncateOf(commit uint64, after time.Duration) taped {
	return taped{table: "k", lsn: commit + 10, txID: 702, sequence: [2]uint64{commit, commit + 10},
		op: "t", at: consumertest.Time.Add(after)}
}

// TestLogsBegunAnew: an event of a log that began anew raises the alarm on every path, and a
// redelivery none, whatever the clocks say.
func TestLogsBegunAnew(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	create := changeOf("c", 1, 1, 700, 9000, 9010, 0)
	update := changeOf("u", 1, 2, 701, 9100, 9110, time.Minute)
	remove := changeOf("d", 1, 0, 702, 9200, 9210, 2*time.Minute)
	for name, c := range map[string]struct {
		log   tape
		alarm bool
	}{
		"create on a row": {tape{create, changeOf("c", 1, 7, 703, 4000, 4010, hour)}, true},
		"create on a tombstone": {tape{create, remove, changeOf("c", 1, 7, 703, 4000, 4010, hour)},
			true},
		"update":                 {tape{create, changeOf("u", 1, 7, 703, 4000, 4010, hour)}, true},
		"delete":                 {tape{create, changeOf("d", 1, 7, 703, 4000, 4010, hour)}, true},
		"snapshot":               {tape{create, readOf(1, 7, 4000, hour)}, true},
		"snapshot of a snapshot": {tape{readOf(1, 1, 9000, 0), readOf(1, 7, 4000, hour)}, true},
		"a clock far behind": {tape{changeOf("c", 2, 1, 699, 3000, 3010, 0), create,
			changeOf("u", 1, 7, 703, 4000, 4010, -hour)}, true},
		"transactions behind": {tape{changeOf("c", 2, 1, 699, 3000, 3010, 0), create,
			changeOf("u", 1, 7, 650, 4000, 4010, hour)}, true},
		"wrapped transactions": {tape{changeOf("c", 1, 1, 1<<32-2, 9000, 9010, 0),
			changeOf("u", 1, 7, 3, 4000, 4010, hour)}, true},
		"after a truncate": {tape{create, truncateOf(9200, time.Minute),
			changeOf("c", 2, 7, 703, 4000, 4010, hour)}, true},
		"row of a snapshot after a truncate": {tape{create, truncateOf(9200, time.Minute),
			readOf(2, 7, 4000, hour)}, true},
		"redelivery after a truncate": {tape{create, update,
			truncateOf(9200, 2*time.Minute), update}, false},
		"redelivery":            {tape{create, update, create, update}, false},
		"redelivery of the end": {tape{create, update, remove, update, remove}, false},
		"a clock that stepped back": {tape{create, changeOf("u", 1, 2, 701, 9100, 9110, hour),
			changeOf("u", 1, 3, 702, 9200, 9210, 0),
			changeOf("u", 1, 2, 701, 9100, 9110, hour)}, false},
		"a long transaction": {tape{create, changeOf("u", 1, 2, 750, 9100, 9150, hour),
			changeOf("u", 1, 3, 705, 9300, 9190, 0),
			changeOf("u", 1, 2, 750, 9100, 9150, hour)}, false},
		"lower LSN, later commit": {tape{create, changeOf("u", 1, 2, 701, 9100, 8000, hour)},
			false},
	} {
		for _, most := range []int{1, 500} {
			o := ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: most}
			var out bytes.Buffer
			counts, err := Replay(context.Background(), c.log.records(), o, &out)
			alarmed := err != nil && strings.Contains(err.Error(), "positions went back")
			if alarmed != c.alarm || err != nil && !alarmed || len(counts.DeadLettered) > 0 {
				t.Errorf("%s, batches of %d: %v, %+v\n%s", name, most, err, counts, out.String())
			}
			o.Apply.Epoch = 1 // of a consumer started anew
			if _, err := Replay(context.Background(), c.log.records()[len(c.log)-1:], o,
				&out); err != nil {
				t.Errorf("%s, alone: %v", name, err)
			}
		}
	}
}

// TestCompactedTopics: whatever a compaction leaves out, the rows end as the newest records say.
func TestCompactedTopics(t *testing.T) {
	t.Parallel()
	full := tape{
		changeOf("c", 1, 1, 700, 900, 1000, 0), // 0
		changeOf("c", 2, 2, 701, 1100, 1110, 0),
		changeOf("u", 1, 3, 702, 1200, 1210, 0), // 2
		changeOf("d", 1, 0, 703, 1300, 1310, 0),
		{table: "k", key: docKey(1)}, // 4
		changeOf("c", 1, 5, 704, 1400, 1410, 0),
		changeOf("d", 2, 0, 705, 1500, 1510, 0), // 6
		{table: "k", key: docKey(2)},
		changeOf("c", 3, 6, 706, 1600, 1610, 0), // 8
	}
	for kept, want := range map[string]string{
		"012345678": "1:5 3:6", "01245678": "1:5 3:6", "0145678": "1:5 3:6", "05678": "1:5 3:6",
		"0124": "2:2", "014": "2:2", "04": "", "01247": "", "0147": "", "017": "1:1",
		"0178":  "1:1 3:6",
		"01257": "1:5", "57": "1:5", "5": "1:5", "4": "", "47": "", "478": "3:6",
		"0128": "1:3 2:2 3:6",
	} {
		records := full.records()
		for i := range full {
			records[i].Partition, records[i].Offset = 0, int64(i)
		}
		var left = records[:0:0]
		for _, digit := range kept {
			left = append(left, records[digit-'0'])
		}
		for _, most := range []int{1, 500} {
			var out bytes.Buffer
			counts, err := Replay(context.Background(), left,
				ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: most}, &out)
			if err != nil {
				t.Fatal(err)
			}
			printed := out.Bytes()
			var got []string
			values := members(t, printed, "v")
			for id := 1; id <= 3; id++ {
				if v := values[fmt.Sprint(id)]; v != "" {
					got = append(got, fmt.Sprintf("%d:%s", id, number(v)))
				}
			}
			if strings.Join(got, " ") != want || len(counts.DeadLettered) > 0 {
				t.Errorf("kept %s: %v, want %s; %+v", kept, got, want, counts)
			}
		}
	}
}

// TestCompactedKeyChange: the delete of the old key is gone, and the null record left behind hands
// over the values that the new row leaves out.
func TestCompactedKeyChange(t *testing.T) {
	t.Parallel()
	log := tape{
		{table: "doc", lsn: 101, key: `{"id":1}`, op: "c", after: `{"id":1,"body":"A"}`},
		{table: "doc", lsn: 120, key: `{"id":1}`, op: "d", before: `{"id":1,"body":""}`,
			newKey: `{"id":2}`},
		{table: "doc", key: `{"id":1}`},
		{table: "doc", partition: 1, lsn: 120, key: `{"id":2}`, op: "c",
			after: `{"id":2,"body":` + placeholder + `}`, oldKey: `{"id":1}`},
	}
	records := log.records()
	records = append(records[:1:1], records[2:]...)
	printed, counts := sameHoweverDelivered(t, records, 10, ReplayOptions{})
	if got := members(t, printed, "body"); len(got) != 1 || got["2"] != `"A"` ||
		len(counts.DeadLettered) > 0 {
		t.Errorf("%v, %+v", got, counts)
	}
}

// TestSnapshotsAnew: a snapshot taken anew wins on another topic, partition or incarnation of the
// topic, and a snapshot delivered again does not.
func TestSnapshotsAnew(t *testing.T) {
	t.Parallel()
	first, second := readOf(1, 1, 1000, 0), readOf(1, 9, 9000, time.Hour)
	update := changeOf("u", 1, 2, 701, 1100, 1200, time.Minute)
	elsewhere := second
	elsewhere.partition = 1
	same := readOf(1, 9, 1000, time.Hour)
	open := changeOf("u", 1, 2, 701, 0, 900, time.Minute) // open when the first snapshot was taken
	for name, c := range map[string]struct {
		log  tape
		want string
	}{
		"over a snapshot":      {tape{first, second}, "9"},
		"over a change":        {tape{first, update, second}, "9"},
		"in another partition": {tape{first, update, elsewhere}, "9"},
		"the log did not move": {tape{first, same}, "9"},
		"then a change": {tape{first, update, second, changeOf("u", 1, 10, 702, 9100, 9200,
			2*time.Hour)}, "10"},
		"a first transaction with lower LSNs": {tape{first, open}, "2"},
		"in a topic made anew":                {tape{first, update, second}, "9"},
		"in a topic made anew, while the clock stood still": {tape{first, update,
			readOf(1, 9, 9000, time.Minute)}, "9"},
		"in a topic made anew, of a clock behind": {tape{first, update,
			readOf(1, 9, 9000, time.Second)}, "9"},
		"older, in a topic made anew": {tape{first, update, readOf(1, 9, 1100, time.Minute)}, "2"},
		"over a change of the topic made anew": {tape{first,
			changeOf("u", 1, 10, 702, 8900, 8950, 0), readOf(1, 9, 9000, 0)}, "9"},
	} {
		seeds, records := uint64(3), c.log.records()
		if name == "in another partition" {
			seeds = 0 // the partitions may not be mixed there
		}
		if strings.Contains(name, "made anew") {
			seeds = 0
			anew := records[len(records)-1:]
			if strings.HasPrefix(name, "over") {
				anew = records[1:]
			}
			for i, r := range anew {
				r.Offset = int64(i)
			}
		}
		printed, counts := sameHoweverDelivered(t, records, seeds, ReplayOptions{})
		want := fmt.Sprintf(`{"$numberLong":"%s"}`, c.want)
		if got := members(t, printed, "v")["1"]; got != want || len(counts.DeadLettered) > 0 {
			t.Errorf("%s: %s, want %s; %+v", name, got, want, counts)
		}
	}
}

// TestUnknownValues: a value left out as unchanged, of a row whose history is gone, is counted and
// marked until an event tells the value.
func TestUnknownValues(t *testing.T) {
	t.Parallel()
	row := func(op, body string, lsn uint64) taped {
		return taped{table: "doc", lsn: lsn, key: `{"id":1}`, op: op,
			after: `{"id":1,"n":1,"body":` + body + `}`}
	}
	end := taped{table: "doc", lsn: 115, key: `{"id":1}`, op: "d",
		before: `{"id":1,"n":0,"body":""}`}
	for name, c := range map[string]struct {
		log     tape
		unknown int
		marked  bool
	}{
		"known":      {tape{row("c", `"A"`, 101), row("u", placeholder, 120)}, 0, false},
		"never seen": {tape{row("u", placeholder, 120)}, 1, true},
		"twice": {tape{row("u", placeholder, 120), row("u", placeholder, 130)}, 2,
			true},
		"told later":    {tape{row("u", placeholder, 120), row("u", `"B"`, 130)}, 1, false},
		"null is known": {tape{row("c", "null", 101), row("u", placeholder, 120)}, 0, false},
		"of a row that ended": {tape{row("c", `"A"`, 101), end, row("u", placeholder, 120)}, 1,
			true},
	} {
		for _, most := range []int{1, 500} {
			o := ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: most}
			var out bytes.Buffer
			counts, err := Replay(context.Background(), c.log.records(), o, &out)
			if err != nil {
				t.Fatal(err)
			}
			marked := strings.Contains(out.String(), `"unknown":["body"]`)
			if most == 1 && counts.Violations["unknown"] != c.unknown || marked != c.marked ||
				marked == strings.Contains(out.String(), `"body":"`) && c.marked {
				t.Errorf("%s, batches of %d: %+v\n%s", name, most, counts, out.String())
			}
		}
	}
}

// TestUnknownValuesAreLoggedOnce: however many batches have rows whose history is gone, the log
// tells of each member once, and the metric counts each row.
func TestUnknownValuesAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var log tape
	for id := 1; id <= 6; id++ {
		text := placeholder
		if id > 4 {
			text = `"A","more":` + placeholder
		}
		log = append(log, taped{table: "doc", lsn: 100 + uint64(id), op: "u", key: docKey(id),
			after: fmt.Sprintf(`{"id":%d,"body":%s}`, id, text)})
	}
	for _, most := range []int{1, 2, 500} {
		var lines, out bytes.Buffer
		counts, err := Replay(context.Background(), log.records(), ReplayOptions{BatchMax: most,
			Apply: apply.DefaultConfig(), Log: slog.New(slog.NewTextHandler(&lines, nil))}, &out)
		if err != nil {
			t.Fatal(err)
		}
		body := strings.Count(lines.String(), "rule=unknown field=body")
		more := strings.Count(lines.String(), "rule=unknown field=more")
		if body != 1 || more != 1 || counts.Violations["unknown"] != 6 {
			t.Errorf("batches of %d: %d and %d lines, %+v\n%s", most, body, more, counts,
				lines.String())
		}
	}
}

// number returns the digits of {"$numberLong":"7"}, and other texts as they are.
func number(extended string) string {
	return strings.TrimSuffix(strings.TrimPrefix(extended, `{"$numberLong":"`), `"}`)
}
