package recording

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/consumer/apply"
)

// TestSnapshotsAnewAnywhere: a row of a snapshot taken anew is written, or the partition stops with
// the reason: in the partition of the stored row, another partition, another number of partitions
// in a topic made anew, another prefix; whatever wrote the row before, and however soon after.
func TestSnapshotsAnewAnywhere(t *testing.T) {
	t.Parallel()
	incremental := readOf(1, 5, 1000, 0)
	incremental.snapshot, incremental.sequence = "incremental", [2]uint64{900, 1000}
	firstIncremental := incremental
	firstIncremental.sequence = [2]uint64{0, 1000}
	open := changeOf("u", 1, 2, 701, 0, 990, 0) // the first transaction: no commit before
	create, update := changeOf("c", 1, 1, 700, 900, 950, 0), changeOf("u", 1, 2, 701, 980, 990, 0)
	for name, before := range map[string]tape{
		"snapshot":          {readOf(1, 1, 1000, 0)},
		"change":            {create, update},
		"first transaction": {readOf(1, 1, 980, 0), open},
		"incremental":       {create, incremental},
		"first incremental": {firstIncremental},
		"deleted":           {create, changeOf("d", 1, 0, 701, 980, 990, 0)},
		"deleted first":     {readOf(1, 1, 980, 0), changeOf("d", 1, 0, 701, 0, 990, 0)},
	} {
		for _, place := range []string{"same", "partition", "fewer partitions", "prefix"} {
			for _, after := range []time.Duration{time.Second, time.Hour, -time.Hour} {
				for _, most := range []int{1, 500} {
					if place != "same" && after < 0 {
						continue // no time tells, and no offset
					}
					last := readOf(1, 9, 9000, after)
					all := append(before[:len(before):len(before)], last)
					records := all.records()
					r := records[len(records)-1]
					switch place {
					case "partition":
						r.Partition, r.Offset = 1, 0
					case "fewer partitions":
						for _, old := range records[:len(before)] {
							old.Partition = 3
						}
						r.Offset = 0
					case "prefix":
						r.Topic, r.Offset = "cdc2.public.k", 0
						r.Value = bytes.Replace(r.Value, []byte(`"name":"cdc"`),
							[]byte(`"name":"cdc2"`), 1)
					}
					var out bytes.Buffer
					counts, err := Replay(context.Background(), records,
						ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: most}, &out)
					alarmed := err != nil && strings.Contains(err.Error(), "positions went back")
					v := "alarm"
					if !alarmed {
						v = number(members(t, out.Bytes(), "v")["1"])
					}
					if v != "9" && !alarmed || len(counts.DeadLettered) > 0 {
						t.Errorf("over %s, %s, %v later, batches of %d: %s, %v; %+v", name, place,
							after, most, v, err, counts)
					}
					if alarmed && place == "same" {
						t.Errorf("over %s, %s, %v later: %v", name, place, after, err)
					}
				}
			}
		}
	}
}
