package recording

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/debezium"
)

// taped is a record made by hand, as Debezium would have written the record. key, before, after and
// the other keys are JSON, "" is null.
type taped struct {
	table     string // of public, or schema.table
	partition int32
	lsn       uint64 // of the commit and of the change; 0: there is none
	key, op   string // op "": the tombstone after a delete
	before    string
	after     string
	oldKey    string
	newKey    string
	fields    string // schemas on: the row's fields, and keyFields the key's
	keyFields string
	snapshot  string    // "" is "false"
	sequence  [2]uint64 // where unlike [lsn, lsn]; a null first number is 0
	txID      int64     // 0 is 7
	version   string    // "" is 3.6
	at        time.Time // of the commit and the record; zero: testTime and the LSN in seconds
}

type tape []taped

func (all tape) records() []*kgo.Record {
	next := map[string]int64{}
	var records []*kgo.Record
	for _, one := range all {
		schema, table, both := strings.Cut(one.table, ".")
		if !both {
			schema, table = "public", one.table
		}
		at := one.at
		if at.IsZero() {
			at = consumertest.Time.Add(time.Duration(one.lsn) * time.Second)
		}
		r := &kgo.Record{Topic: "cdc." + schema + "." + table, Partition: one.partition,
			Timestamp: at}
		place := fmt.Sprint(r.Topic, r.Partition)
		r.Offset, next[place] = next[place], next[place]+1
		if one.key != "" {
			r.Key = wrapped(one.key, one.keyFields)
		}
		for name, key := range map[string]string{debezium.HeaderOldKey: one.oldKey,
			debezium.HeaderNewKey: one.newKey} {
			if key != "" {
				r.Headers = append(r.Headers,
					kgo.RecordHeader{Key: name, Value: wrapped(key, one.keyFields)})
			}
		}
		if one.op != "" {
			envelope := ""
			if one.fields != "" {
				row := `{"type":"struct","fields":[` + one.fields +
					`],"optional":true,"name":"v","field":`
				envelope = row + `"before"},` + row + `"after"}`
			}
			sequence := "null"
			if one.lsn > 0 {
				sequence = fmt.Sprintf(`"[\"%d\",\"%d\"]"`, one.lsn, one.lsn)
			}
			lsn := fmt.Sprint(one.lsn)
			if one.sequence != [2]uint64{} {
				sequence = fmt.Sprintf(`"[\"%d\",\"%d\"]"`, one.sequence[0], one.sequence[1])
				sequence = strings.Replace(sequence, `\"0\"`, "null", 1)
				if one.snapshot == "incremental" {
					lsn = "null"
				}
			}
			r.Value = wrapped(fmt.Sprintf(`{"before":%s,"after":%s,`+
				`"source":{"version":%q,"connector":"postgresql","name":"cdc",`+
				`"ts_us":%d,"snapshot":%q,"db":"d","sequence":%s,"schema":%q,"table":%q,`+
				`"txId":%d,"lsn":%s},"op":%q,"ts_us":%d}`,
				cmp.Or(one.before, "null"), cmp.Or(one.after, "null"), cmp.Or(one.version, "3.6"),
				at.UnixMicro(), cmp.Or(one.snapshot, "false"), sequence, schema, table,
				cmp.Or(one.txID, 7), lsn, one.op, at.UnixMicro()), envelope)
		}
		records = append(records, r)
	}
	return records
}

// wrapped is a payload as JsonConverter writes payloads: with fields, beside the schema.
func wrapped(payload, fields string) []byte {
	if fields == "" {
		return []byte(payload)
	}
	return fmt.Appendf(nil, `{"schema":{"type":"struct","fields":[%s],"optional":false,`+
		`"name":"e"},"payload":%s}`, fields, payload)
}

// fieldOf is a field of a row's schema: "name int32", "name bytes some.logical.Name".
func fieldOf(text string) string {
	part := strings.Fields(text)
	if len(part) == 2 {
		return fmt.Sprintf(`{"field":%q,"type":%q,"optional":true}`, part[0], part[1])
	}
	return fmt.Sprintf(`{"field":%q,"type":%q,"name":%q,"optional":true}`, part[0], part[1],
		part[2])
}

func fieldsOf(texts ...string) string {
	var all []string
	for _, text := range texts {
		all = append(all, fieldOf(text))
	}
	return strings.Join(all, ",")
}

// sameHoweverDelivered returns the final documents of the records, and fails the test if an order
// allowed by Kafka, or a redelivery, changes the documents.
func sameHoweverDelivered(t *testing.T, records []*kgo.Record, seeds uint64,
	o ReplayOptions) ([]byte, ReplayCounts) {
	t.Helper()
	plain, counts := replayed(t, records, o)
	for seed := range seeds {
		o.Shuffle, o.Duplicate = seed+1, float64(seed%2)*0.4
		if mixed, _ := replayed(t, records, o); !bytes.Equal(mixed, plain) {
			t.Fatalf("seed %d, duplicate %g: the records end in\n%.3000s\n"+
				"and as recorded in\n%.3000s", o.Shuffle, o.Duplicate, mixed, plain)
		}
	}
	return plain, counts
}

// members are the values of a member by _id, as canonical Extended JSON; rows without the member
// are left out.
func members(t *testing.T, printed []byte, member string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range bytes.Lines(printed) {
		var one struct {
			Document map[string]json.RawMessage
		}
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatal(err)
		}
		if value, there := one.Document[member]; there {
			all[strings.Trim(string(one.Document["_id"]), `"`)] = string(value)
		}
	}
	return all
}
