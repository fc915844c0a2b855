package recording

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/apply"
)

// versions are forms of source.version, and whether the connector has positions. "-" is a source
// without a version.
var versions = map[string]bool{"0.10.0.Final": false, "1.0.0.Final": false, "1.4.2.Final": false,
	"1.4.0-SNAPSHOT": false, "1.4-SNAPSHOT": false, "1.4": false, "1.5": true, "1.5.0.Final": true,
	"1.5.4.Final": true, "1.6-SNAPSHOT": true, "1.6.0.Alpha1": true, "1.6.4.Final": true,
	"1.7.0.CR1": true, "1.8.1.Final": true, "1.9.7.Final": true, "1.9.8-SNAPSHOT": true,
	"1.10.0": true, "2.0.0.Beta2": true, "2.1.4.Final": true, "2.3.7.Final": true,
	"2.5.0.Final-redhat-00001": true, "2.7.4.Final": true, "3.0.0.Final": true,
	"3.2.0-SNAPSHOT": true, "3.6.1.Final": true, "3.7.0": true, "10.1.0.Final": true, "": true,
	"-": true, "unknown": true}

// TestVersionsAndKinds: events of each kind, of each version, end in the order of the log or in a
// letter with the reason, however delivered: a transaction that commits first has the higher LSNs.
func TestVersionsAndKinds(t *testing.T) {
	t.Parallel()
	at := func(op string, v int, commit, lsn uint64) taped {
		one := taped{table: "k", lsn: lsn, txID: int64(600 + v), sequence: [2]uint64{commit, lsn},
			op: op, key: docKey(1), after: rowOf(1, v)}
		if op == "r" {
			one.snapshot, one.txID = "true", 0
		}
		return one
	}
	incremental := at("r", 4, 2100, 2200)
	incremental.snapshot = "incremental"
	for name, c := range map[string]struct {
		log  tape
		want string
	}{
		"streamed":     {tape{at("c", 1, 900, 2000), at("u", 2, 2100, 1500)}, "2"},
		"first":        {tape{at("c", 1, 0, 2000), at("u", 2, 2100, 1500)}, "2"},
		"snapshot":     {tape{at("r", 1, 0, 2000), at("u", 2, 2100, 1500)}, "2"},
		"open":         {tape{at("r", 1, 0, 2000), at("u", 2, 0, 1500)}, "2"},
		"incremental":  {tape{at("c", 1, 900, 2000), incremental, at("u", 5, 2100, 1500)}, "5"},
		"incremental'": {tape{at("c", 1, 900, 2000), incremental}, "4"},
	} {
		for version, has := range versions {
			records := c.log.records()
			for i, r := range records {
				if strings.HasPrefix(version, "1.5") || strings.HasPrefix(version, "1.6") {
					if commit := c.log[i].sequence[0]; commit > 0 { // both numbers are the commit's
						r.Value = bytes.Replace(r.Value, fmt.Appendf(nil, `,\"%d\"]`,
							c.log[i].sequence[1]), fmt.Appendf(nil, `,\"%d\"]`, commit), 1)
					}
				}
				with := fmt.Sprintf(`"version":%q,`, version)
				if version == "-" {
					with = ""
				}
				r.Value = bytes.Replace(r.Value, []byte(`"version":"3.6",`), []byte(with), 1)
			}
			printed, counts := sameHoweverDelivered(t, records, 2, ReplayOptions{})
			got, letters := number(members(t, printed, "v")["1"]),
				counts.DeadLettered["undecodable"]
			if has && (got != c.want || letters > 0) || !has &&
				(got != "" || letters != len(records)) {
				t.Errorf("%s, version %q: v is %q, want %q; %+v", name, version, got, c.want,
					counts)
			}
		}
	}
}

// TestPrimitiveKeys: keys without columns, as ExtractField$Key makes keys, are letters, whatever
// the type, with and without schemas; no document is written or ended.
func TestPrimitiveKeys(t *testing.T) {
	t.Parallel()
	for typ, key := range map[string]string{"int8": "1", "int16": "-1", "int32": "1", "int64": "1",
		"float32": "1.5", "float64": "1.0E10", "boolean": "true", "string": `"a"`,
		"bytes": `"AQ=="`,
		"array": "[1]", "uuid": `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`} {
		for _, schemas := range []bool{false, true} {
			all := tape{{table: "k", lsn: 101, op: "c", key: "x", after: rowOf(1, 1)},
				{table: "k", lsn: 110, op: "u", key: "x", after: rowOf(1, 2)},
				{table: "k", lsn: 120, op: "d", key: "x", before: rowOf(1, 0)},
				{table: "k", key: "x"}}.records()
			for _, r := range all {
				r.Key = []byte(key)
				if schemas {
					r.Key = fmt.Appendf(nil, `{"schema":{"type":%q,"optional":false},"payload":%s}`,
						typ, key)
				}
			}
			printed, counts := replayed(t, all, ReplayOptions{})
			if sum := lettersOf(counts); len(bytes.TrimSpace(printed)) > 0 || sum < 3 {
				t.Errorf("%s, schemas %t: %+v\n%s", typ, schemas, counts, printed)
			}
		}
	}
}

func lettersOf(counts ReplayCounts) (sum int) {
	for _, n := range counts.DeadLettered {
		sum += n
	}
	return sum
}

// TestLogicalTableRouter: ByLogicalTableRouter merges the topics of shards, and adds the shard's
// topic to the key. With the tables allowed each row is a document of its own, also row zero and
// after a change of key; without, each event is a letter.
func TestLogicalTableRouter(t *testing.T) {
	t.Parallel()
	key := func(id, shard int) string {
		return fmt.Sprintf(`{"id":%d,"__dbz__physicalTableIdentifier":"cdc.public.shard_%d"}`, id,
			shard)
	}
	change := func(op string, id, shard, v int, lsn uint64) taped {
		one := taped{table: fmt.Sprint("shard_", shard), lsn: lsn, op: op, key: key(id, shard),
			after: rowOf(id, v)}
		if op == "d" {
			one.before, one.after = fmt.Sprintf(`{"id":%d,"v":0}`, id), ""
		}
		return one
	}
	leaves, comes := change("d", 1, 2, 0, 150), change("c", 5, 2, 6, 150)
	leaves.newKey, comes.oldKey = key(5, 2), key(1, 2)
	log := tape{change("c", 1, 1, 1, 101), change("c", 1, 2, 2, 102), change("c", 0, 1, 3, 103),
		change("c", 0, 2, 4, 104), change("u", 1, 1, 5, 110), change("d", 0, 2, 0, 120), leaves,
		comes}
	for pairs, want := range map[string]string{
		"cdc.public.shard=public.shard_*": `["0","cdc.public.shard_1"]=3 ` +
			`["1","cdc.public.shard_1"]=5 ["5","cdc.public.shard_2"]=6 letters 0`,
		"": "letters 8",
	} {
		records := log.records()
		for i, r := range records {
			r.Topic, r.Offset = "cdc.public.shard", int64(i)
		}
		o := ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: 500}
		if pairs != "" {
			if err := o.Apply.TopicTables.Set(pairs); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		counts, err := Replay(context.Background(), records, o, &out)
		if err != nil {
			t.Fatal(err)
		}
		all := members(t, out.Bytes(), "v")
		var got []string
		for _, id := range slices.Sorted(maps.Keys(all)) {
			got = append(got, strings.ReplaceAll(id, `\"`, `"`)+"="+number(all[id]))
		}
		if text := strings.Join(append(got, fmt.Sprint("letters ", lettersOf(counts))),
			" "); text != want {
			t.Errorf("%q: %s\nwant %s\n%+v", pairs, text, want, counts)
		}
	}
}

// TestSourcesOfOneTable: two sources with a table of the same name never share a document: rows of
// other schemas are documents of their own, rows of another database are letters, and so is the
// prefix that comes back after another took over.
func TestSourcesOfOneTable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		db, prefix, schema string
		back               bool // the first source writes again
		living, letters    int
	}{
		"another schema":               {"d", "cdc", "shop", true, 2, 0},
		"another database":             {"e", "cdc", "public", true, 1, 1},
		"another database and prefix":  {"e", "cdc2", "public", true, 1, 1},
		"another database and schema":  {"e", "cdc2", "shop", true, 2, 0},
		"another prefix took over":     {"d", "cdc2", "public", false, 1, 0},
		"two prefixes of one database": {"d", "cdc2", "public", true, 1, 1},
	} {
		first, second := changeOf("c", 1, 1, 700, 900, 950, 0),
			changeOf("u", 1, 2, 701, 980, 990, 0)
		second.table = c.schema + ".k"
		log := tape{first, second}
		if c.back {
			log = append(log, changeOf("u", 1, 3, 702, 1000, 1010, 0))
		}
		records := log.records()
		r := records[1]
		for before, after := range map[string]string{`"db":"d"`: fmt.Sprintf(`"db":%q`, c.db),
			`"name":"cdc"`: fmt.Sprintf(`"name":%q`, c.prefix)} {
			r.Value = bytes.Replace(r.Value, []byte(before), []byte(after), 1)
		}
		r.Topic = c.prefix + "." + c.schema + ".k"
		for _, most := range []int{1, 500} {
			var out bytes.Buffer
			counts, err := Replay(context.Background(), append([]*kgo.Record{}, records...),
				ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: most}, &out)
			living := strings.Count(out.String(), `"v":`)
			if err != nil || living != c.living || lettersOf(counts) != c.letters {
				t.Errorf("%s, batches of %d: %d rows, %v, %+v", name, most, living, err, counts)
			}
		}
	}
}
