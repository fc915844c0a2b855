package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/apply"
	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/debezium/corpus"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

const placeholder = `"__debezium_unavailable_value"`

func docRow(id, x int, body string) string {
	return fmt.Sprintf(`{"id":%d,"x":%d,"body":%s}`, id, x, body)
}

func docKey(id int) string { return fmt.Sprintf(`{"id":%d}`, id) }

// swapped: two rows change their keys, the first into the key of the second, in two partitions;
// each large value is sent only once.
var swapped = tape{
	{table: "doc", lsn: 101, key: docKey(1), op: "c", after: docRow(1, 1, `"A"`)},
	{table: "doc", partition: 1, lsn: 102, key: docKey(2), op: "c", after: docRow(2, 2, `"B"`)},
	{table: "doc", lsn: 120, key: docKey(1), op: "d", before: docRow(1, 0, `""`),
		newKey: docKey(3)},
	{table: "doc", key: docKey(1)},
	{table: "doc", partition: 1, lsn: 120, key: docKey(3), op: "c",
		after: docRow(3, 1, placeholder), oldKey: docKey(1)},
	{table: "doc", partition: 1, lsn: 140, key: docKey(2), op: "d", before: docRow(2, 0, `""`),
		newKey: docKey(1)},
	{table: "doc", partition: 1, key: docKey(2)},
	{table: "doc", lsn: 140, key: docKey(1), op: "c", after: docRow(1, 2, placeholder),
		oldKey: docKey(2)},
	{table: "doc", partition: 1, lsn: 150, key: docKey(3), op: "d", before: docRow(3, 0, `""`),
		newKey: docKey(2)},
	{table: "doc", partition: 1, key: docKey(3)},
	{table: "doc", partition: 1, lsn: 150, key: docKey(2), op: "c",
		after: docRow(2, 1, placeholder), oldKey: docKey(3)},
	{table: "doc", partition: 1, lsn: 170, key: docKey(2), op: "u",
		after: docRow(2, 9, placeholder)},
}

// TestReplayMixesKeyChanges: however the partitions are mixed, the create under a row's new key
// waits for the delete of the old key, and for nothing else.
func TestReplayMixesKeyChanges(t *testing.T) {
	t.Parallel()
	all := map[string][]*kgo.Record{"swapped": swapped.records()}
	for _, c := range corpus.Cases(t) {
		records := recording(t, c)
		if c.Config != "flat-default" && slices.ContainsFunc(records, changesKey) {
			all[c.String()] = records
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
	return slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool {
		return h.Key == debezium.HeaderNewKey
	})
}

// TestReplayOfPartOfALog: events wait for rows missing in the recording only until nothing else
// moves, and the earliest wait ends first.
func TestReplayOfPartOfALog(t *testing.T) {
	t.Parallel()
	// The delete of 120 is missing, and so the row has no text for 150 to take; the delete of 140
	// is behind the event waiting for the delete of 120.
	plain, counts := sameHoweverDelivered(t, slices.Delete(swapped.records(), 2, 4), 30,
		ReplayOptions{})
	if counts.DeadLettered[fate.RuleIncomplete] != 2 ||
		!strings.Contains(string(plain), `"_id":"1","body":"B"`) {
		t.Errorf("%v, %s", counts.DeadLettered, plain)
	}
}

// TestReplayWaitsForParents: a chain of references over three tables ends the same in every order,
// even if the last row never comes or comes late.
func TestReplayWaitsForParents(t *testing.T) {
	t.Parallel()
	specs := t.TempDir()
	for child, parent := range map[string]string{"a": "b", "b": "c", "c": ""} {
		spec := fmt.Sprintf("entity: %s\ntable: public.%s\ncollection: %[1]s\nkey: id\n"+
			"fields:\n  - {column: id, kind: int}\n", child, child)
		if parent != "" {
			spec += fmt.Sprintf("  - {column: up, kind: int}\n"+
				"references:\n  - {column: up, entity: %s}\n", parent)
		}
		if err := os.WriteFile(filepath.Join(specs, child+".yaml"), []byte(spec),
			0o600); err != nil {
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
	plain, _ := sameHoweverDelivered(t, log.records(), 30,
		ReplayOptions{Registry: specsIn(t, specs)})
	if n := strings.Count(string(plain), `"orphan"`); n != 2 {
		t.Errorf("%d orphans, want 2:\n%s", n, plain)
	}
}

// TestReplayMixesTypes: two partitions, the second with rows of another type of the column. The
// order of commits decides the stored type, whatever arrives first.
func TestReplayMixesTypes(t *testing.T) {
	t.Parallel()
	const zoned, date = "string io.debezium.time.ZonedTimestamp", "int32 io.debezium.time.Date"
	for name, c := range map[string]struct {
		from, old, to, new string
		// Rows made before, made after, made and updated after, made before and updated after.
		want []string
	}{
		"text to int": {"string", `"x"`, "int32", `5`, []string{`"x"`, `"5"`, `"5"`, `"5"`}},
		"int to bool": {"int32", `5`, "boolean", `true`,
			[]string{`{"$numberLong":"5"}`, `true`, `true`, `{"$numberLong":"5"}`}},
		"double to int": {"double", `5.5`, "int32", `6`,
			[]string{`{"$numberDouble":"5.5"}`, `{"$numberDouble":"6.0"}`,
				`{"$numberDouble":"6.0"}`, `{"$numberDouble":"6.0"}`}},
		"int to text": {"int32", `5`, "string", `"x"`,
			[]string{`{"$numberLong":"5"}`, `"x"`, `"x"`, `"x"`}},
		"text to bool": {"string", `"x"`, "boolean", `true`,
			[]string{`"x"`, `"true"`, `"true"`, `"true"`}},
		"date and no int": {date, `20779`, "int32", `7`,
			[]string{`{"$date":{"$numberLong":"1795305600000"}}`, `{"$numberLong":"7"}`,
				`{"$numberLong":"7"}`, `{"$date":{"$numberLong":"1795305600000"}}`}},
		"time to date": {zoned, `"2026-11-22T07:55:47.954888Z"`, date, `20779`,
			[]string{`{"$date":{"$numberLong":"1795334147954"}}`,
				`{"$date":{"$numberLong":"1795305600000"}}`,
				`{"$date":{"$numberLong":"1795305600000"}}`,
				`{"$date":{"$numberLong":"1795305600000"}}`}},
	} {
		before, after := fieldsOf("id int32", "v "+c.from), fieldsOf("id int32", "v "+c.to)
		row := func(id int, v string) string { return fmt.Sprintf(`{"id":%d,"v":%s}`, id, v) }
		log := tape{
			{table: "t", lsn: 101, key: docKey(1), op: "c", after: row(1, c.old), fields: before},
			{table: "t", lsn: 102, key: docKey(4), op: "c", after: row(4, c.old), fields: before},
			{table: "t", partition: 1, lsn: 201, key: docKey(2), op: "c", after: row(2, c.new),
				fields: after},
			{table: "t", partition: 1, lsn: 202, key: docKey(3), op: "c", after: row(3, "null"),
				fields: after},
			{table: "t", partition: 1, lsn: 203, key: docKey(3), op: "u", after: row(3, c.new),
				fields: after},
			{table: "t", partition: 1, lsn: 204, key: docKey(3), op: "u", after: row(3, c.new),
				fields: after},
			{table: "t", lsn: 205, key: docKey(4), op: "u", after: row(4, c.new), fields: after},
		}
		plain, counts := sameHoweverDelivered(t, log.records(), 12, ReplayOptions{})
		got := members(t, plain, "v")
		if diff := cmp.Diff(c.want, []string{got["1"], got["2"], got["3"], got["4"]}); diff != "" ||
			len(counts.Drift) != 1 {
			t.Errorf("%s: drift %v (-want +got):\n%s", name, counts.Drift, diff)
		}
	}
}

// TestDriftedUpdates: a row made since the column's change of type is updated, in one batch with
// the row's creation too; an older row keeps the old value.
func TestDriftedUpdates(t *testing.T) {
	t.Parallel()
	numbers, flags, lists := fieldsOf("id int32", "v int32"), fieldsOf("id int32", "v boolean"),
		fieldsOf("id int32", "v int32", "w string")
	log := tape{
		{table: "t", lsn: 101, key: docKey(1), op: "c", after: `{"id":1,"v":5}`, fields: numbers},
		{table: "t", lsn: 102, key: docKey(2), op: "c", after: `{"id":2,"v":true}`, fields: flags},
		{table: "t", lsn: 103, key: docKey(2), op: "u", after: `{"id":2,"v":false}`, fields: flags},
		{table: "t", lsn: 104, key: docKey(1), op: "u", after: `{"id":1,"v":false}`, fields: flags},
		{table: "t", lsn: 105, key: docKey(3), op: "r", snapshot: "incremental",
			after: `{"id":3,"v":true}`, fields: flags},
		{table: "t", lsn: 106, key: docKey(4), op: "c", after: `{"id":4,"v":6,"w":"x"}`,
			fields: lists},
	}
	want := map[string]string{"1": `{"$numberLong":"5"}`, "2": "false", "3": "true",
		"4": `{"$numberLong":"6"}`}
	plain, _ := sameHoweverDelivered(t, log.records(), 6, ReplayOptions{})
	if diff := cmp.Diff(want, members(t, plain, "v")); diff != "" {
		t.Errorf("replayed (-want +got):\n%s", diff)
	}
	// The same in one batch of each partition, read by Take in the order of arrival.
	store := documents.NewMemory()
	shared := apply.NewShared(apply.DefaultConfig(), encode.NewTables(entity.Default()), store,
		telemetry.NewMetrics(),
		slog.New(slog.DiscardHandler), nil)
	a := shared.Applier(func(context.Context, []deadletter.Rejected) error { return nil }, time.Now)
	var batch []telemetry.Arrival
	for _, r := range log.records() {
		batch = append(batch, telemetry.Arrival{Record: r, Polled: r.Timestamp})
	}
	a.Take(batch)
	if err := a.Step(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := consumertest.ReadDocument(store, "t", "2")["v"]; got != false {
		t.Errorf("in one batch: %v", got)
	}
	if got := consumertest.ReadDocument(store, "t", "1")["v"]; got != int64(5) {
		t.Errorf("in one batch: %v", got)
	}
}

// TestOutOfOrder: an event behind a later event of the same partition is counted; the spec of the
// entity decides the rest. A replayed dead letter does not count.
func TestOutOfOrder(t *testing.T) {
	t.Parallel()
	log := tape{
		{table: "t", lsn: 102, key: docKey(1), op: "c", after: `{"id":1}`},
		{table: "t", lsn: 101, key: docKey(2), op: "c", after: `{"id":2}`},
		{table: "t", lsn: 100, key: docKey(3), op: "c", after: `{"id":3}`},
		{table: "t", lsn: 103, key: docKey(4), op: "c", after: `{"id":4}`},
	}
	records := log.records()
	for i, name := range []string{deadletter.HeaderReplayed, deadletter.HeaderFirstOffset,
		deadletter.HeaderAttempts} {
		records[2].Headers = append(records[2].Headers,
			kgo.RecordHeader{Key: name, Value: fmt.Append(nil, i)})
	}
	for severity, want := range map[string]struct{ violations, letters, documents int }{
		"": {0, 0, 4}, "warn": {1, 0, 4}, "reject": {1, 1, 3},
	} {
		specs := t.TempDir()
		spec := "entity: t\ntable: public.t\ncollection: t\nkey: id\n" +
			"fields: [{column: id, kind: int}]\n"
		if severity != "" {
			spec += "severity: {out_of_order: " + severity + "}\n"
		}
		if err := os.WriteFile(filepath.Join(specs, "t.yaml"), []byte(spec), 0o600); err != nil {
			t.Fatal(err)
		}
		plain, counts := sameHoweverDelivered(t, records, 6,
			ReplayOptions{Registry: specsIn(t, specs)})
		got := want
		got.violations, got.letters = counts.Violations["out_of_order"],
			counts.DeadLettered["out_of_order"]
		got.documents = len(bytes.Split(bytes.TrimSpace(plain), []byte("\n")))
		if got != want {
			t.Errorf("%q: %+v, want %+v", severity, got, want)
		}
	}
}

// TestRequiredColumnRemoved: the rows are dead letters until the spec says otherwise, and the
// documents keep the old values of the column.
func TestRequiredColumnRemoved(t *testing.T) {
	t.Parallel()
	log := tape{
		{table: "doc", lsn: 101, key: docKey(1), op: "c", after: `{"id":1,"name":"a","x":1}`},
		{table: "doc", lsn: 102, key: docKey(1), op: "u", after: `{"id":1,"x":2}`},
	}
	for severity, want := range map[string]struct{ letters, x int }{"reject": {1, 1},
		"warn": {0, 2}} {
		specs := t.TempDir()
		spec := "entity: doc\ntable: public.doc\ncollection: docs\nkey: id\nseverity: {required: " +
			severity + "}\n" +
			"fields: [{column: id, kind: int}, {column: name, kind: text, required: true}]\n"
		if err := os.WriteFile(filepath.Join(specs, "doc.yaml"), []byte(spec), 0o600); err != nil {
			t.Fatal(err)
		}
		printed, counts := sameHoweverDelivered(t, log.records(), 4,
			ReplayOptions{Registry: specsIn(t, specs)})
		name, x := members(t, printed, "name")["1"], members(t, printed, "x")["1"]
		if counts.DeadLettered[entity.RuleRequired] != want.letters ||
			counts.Drift["removed"] != 1 ||
			name != `"a"` || x != fmt.Sprintf(`{"$numberLong":"%d"}`, want.x) {
			t.Errorf("%s: %+v, name %s, x %s", severity, counts, name, x)
		}
	}
}

// TestReplayIntoMongo ends in the same documents as in memory, in a database empty before; rows
// deleted long ago are there until the time to live of their tombstones is over.
func TestReplayIntoMongo(t *testing.T) {
	t.Parallel()
	m := consumertest.OpenDatabase(t)
	log := slices.Clone(swapped)
	for i := range log {
		log[i].at = time.Date(2001, 1, 1, 0, 0, i, 0, time.UTC)
	}
	want, _ := replayed(t, log.records(), ReplayOptions{})
	config := documents.DefaultConfig()
	config.URI, config.Database = m.URI, m.Name
	o := ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: 500, Mongo: &config, Shuffle: 3,
		Duplicate: 1}
	var got bytes.Buffer
	if _, err := Replay(context.Background(), log.records(), o, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("in MongoDB (-want +got):\n%s", diff)
	}
	about, _ := m.Read("doc", "3")[documents.MetadataMember].(bson.M)
	at, _ := about["deletedAt"].(bson.DateTime)
	if ago := time.Since(at.Time()); about["deleted"] != true || ago < -time.Minute ||
		ago > time.Minute {
		t.Errorf("the tombstone is %v", about)
	}
	_, err := Replay(context.Background(), log.records(), o, io.Discard)
	if err == nil || !strings.Contains(err.Error(),
		"the database "+o.Mongo.Database+" is not empty, it has cdc_kept") {
		t.Errorf("a second time: %v", err)
	}
}

// TestReplayTellsReasons: each dead letter has its reason in the log, once, without values of the
// row.
func TestReplayTellsReasons(t *testing.T) {
	t.Parallel()
	const id = `{"id":"00000000-0000-0000-0000-000000000001"}`
	swapped := tape{
		{table: "customer", lsn: 101, key: id, op: "c", after: id[:len(id)-1] +
			`,"email":"secret","status":"secret","updated_at":"secret"}`},
		{table: "customer", lsn: 102, key: id, op: "secret", after: id},
		{table: "nokey", lsn: 103, op: "c", after: `{"v":"secret"}`},
	}
	records := append(swapped.records(),
		&kgo.Record{Topic: "x", Partition: 3, Offset: 7, Value: []byte(
			`{"op":"c","source":{"ts_us":1.5e99,"lsn":-5551555155515551,"table":"t"},"after":{}}`)},
		&kgo.Record{Topic: "y", Offset: 8, Value: []byte(`secret`)})
	var told bytes.Buffer
	log, err := telemetry.NewLog("info", &told)
	if err != nil {
		t.Fatal(err)
	}
	o := ReplayOptions{Apply: apply.DefaultConfig(), BatchMax: 500, Log: log, Shuffle: 1,
		Duplicate: 1}
	if _, err := Replay(context.Background(), records, o, io.Discard); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range bytes.Lines(told.Bytes()) {
		var one struct {
			Msg, Rule, Reason, Topic string
			Partition                int
			Offset                   int64
		}
		text := strings.ReplaceAll(string(line), `"kafka_`, `"`)
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			t.Fatal(err)
		}
		if place := fmt.Sprintf("%s/%d/%d %s", one.Topic, one.Partition, one.Offset,
			one.Rule); one.Msg == "dead letter" {
			if got[place] != "" {
				t.Errorf("%s is told twice", place)
			}
			got[place] = one.Reason
		}
	}
	want := map[string]string{
		"cdc.public.customer/0/0 format": "format: column email is no email address\n" +
			"kind: column updated_at cannot be read as timestamp",
		"cdc.public.nokey/0/0 key": "public.nokey has a row without a key: it needs a primary key",
		"y/0/8 undecodable": "value: is bad JSON at byte 1: " +
			"invalid character ... at start of value",
		"cdc.public.customer/0/1 undecodable": "op: ... is unknown",
		"x/3/7 undecodable":                   "source.ts_us: is a JSON ... a whole number",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(told.String(), "secret") ||
		strings.Contains(told.String(), "5551555155515551") {
		t.Errorf("a value is in the log:\n%s", told.String())
	}
}
