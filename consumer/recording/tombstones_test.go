package recording

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/apply"
)

// TestNullRecordsBesideRefusedDeletes: a null record behind a delete that was refused ends no row,
// with and without a hole between: the delete's letter does, when replayed. A null record without a
// hole before asks for nothing.
func TestNullRecordsBesideRefusedDeletes(t *testing.T) {
	t.Parallel()
	log := tape{
		changeOf("c", 1, 1, 700, 900, 1000, 0),
		changeOf("d", 1, 0, 703, 1300, 1310, 0),
		{table: "k", key: docKey(1)},
	}
	for name, spoil := range map[string]func(*kgo.Record) int{
		"bad JSON":    func(r *kgo.Record) int { r.Value = r.Value[:len(r.Value)-1]; return 1 },
		"no envelope": func(r *kgo.Record) int { r.Value = []byte("?"); return 1 },
		"another table": func(r *kgo.Record) int {
			r.Value = bytes.Replace(r.Value, []byte(`"table":"k"`), []byte(`"table":"l"`), 1)
			return 1
		},
		"another connector": func(r *kgo.Record) int {
			r.Value = bytes.Replace(r.Value, []byte("postgresql"), []byte("mysql"), 1)
			return 1
		},
		"a null record": func(r *kgo.Record) int { r.Value = nil; return 0 },
	} {
		for _, hole := range []int64{0, 1} {
			records := log.records()
			letters := spoil(records[1])
			if records[2].Offset += hole; letters == 0 && hole > 0 {
				continue // the delete may have been between the null records
			}
			for _, most := range []int{1, 500} {
				var out bytes.Buffer
				counts, err := Replay(context.Background(), records,
					ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: most}, &out)
				if err != nil {
					t.Fatal(err)
				}
				sum := 0
				for _, n := range counts.DeadLettered {
					sum += n
				}
				if v := number(members(t, out.Bytes(), "v")["1"]); v != "1" || sum != letters {
					t.Errorf("%s, hole of %d: v is %q; %+v", name, hole, v, counts)
				}
			}
		}
	}
}

// TestNullRecordsElsewhere: a null record without the delete, of a row written by another partition
// or topic, is a letter, because nobody can tell the newer.
func TestNullRecordsElsewhere(t *testing.T) {
	t.Parallel()
	for _, move := range []func(*kgo.Record){
		func(r *kgo.Record) { r.Partition = 1 },
		func(r *kgo.Record) { r.Topic = "cdc2.public.k" },
	} {
		records := tape{changeOf("c", 1, 1, 700, 900, 1000, 0),
			changeOf("c", 2, 1, 701, 1100, 1110, 0), {table: "k", key: docKey(1)},
			{table: "k", key: docKey(3)}}.records()
		for i, r := range records[1:] {
			if move(r); r.Topic != records[0].Topic {
				r.Value = bytes.Replace(r.Value, []byte(`"name":"cdc"`), []byte(`"name":"cdc2"`), 1)
			}
			r.Offset = int64(10 * i) // holes
		}
		printed, counts := replayed(t, records, ReplayOptions{})
		got := fmt.Sprint(number(members(t, printed, "v")["1"]), counts.DeadLettered)
		if got != "1map[incomplete:1]" {
			t.Errorf("in %s/%d: %s", records[2].Topic, records[2].Partition, got)
		}
	}
}

// TestNullRecordsOfSharedTopics: in a topic of several tables, a null record without its delete
// does not tell the table, and is a letter.
func TestNullRecordsOfSharedTopics(t *testing.T) {
	t.Parallel()
	for pairs, want := range map[string]string{
		"shop=public.*":                  "1 1 map[incomplete:1]",
		"shop=public.k,shop=public.l":    "1 1 map[incomplete:1]",
		"sho*=public.k,s*=public.l":      "1 1 map[incomplete:1]",
		"shop=public.k,other=public.l":   "  map[topic:1]",
		"cdc.public.*=public.*,shop=*.k": "1  map[incomplete:1 topic:1]",
		"shop*=public*.k":                "  map[topic:1]",
	} {
		other := changeOf("c", 1, 1, 701, 1100, 1110, 0)
		other.table = "l"
		records := tape{changeOf("c", 1, 1, 700, 900, 1000, 0), other,
			{table: "k", key: docKey(1)}}.records()
		for i, r := range records {
			r.Topic, r.Offset = "shop", int64(2*i)
		}
		o := ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: 500}
		if err := o.Apply.TopicTables.Set(pairs); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		counts, err := Replay(context.Background(), records, o, &out)
		if err != nil {
			t.Fatal(err)
		}
		var of [2]string
		for i, name := range []string{`"collection":"k"`, `"collection":"l"`} {
			for line := range bytes.Lines(out.Bytes()) {
				if bytes.Contains(line, []byte(name)) {
					of[i] = number(members(t, line, "v")["1"])
				}
			}
		}
		if got := fmt.Sprint(of[0], " ", of[1], " ", counts.DeadLettered); got != want {
			t.Errorf("%s: %s, want %s\n%s", pairs, got, want, out.String())
		}
	}
}
