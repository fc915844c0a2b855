package recording

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// TestKeyChangesOfEveryKind: a row with a changed key moves to the new document with the large
// value missing in both events, whatever the key is. The other key is in a header as Connect's
// SimpleHeaderConverter writes keys.
func TestKeyChangesOfEveryKind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		types []string // "": schemas off
		keys  [2]string
		heads [2]string // the keys in the headers where unlike the key
		id    string    // of the document in the end
	}{
		"text": {nil, [2]string{`{"k":"a"}`, `{"k":"a\nb\u0001"}`},
			[2]string{"", "{\"k\":\"a\nb\x01\"}"}, `a\nb\u0001`},
		"back": {nil, [2]string{`{"k":"a\tb"}`, `{"k":"a"}`},
			[2]string{"{\"k\":\"a\tb\"}", ""}, "a"},
		"default": {nil, [2]string{`{"k":"a"}`, `{"k":""}`}, [2]string{}, ""},
		"no more": {nil, [2]string{`{"k":""}`, `{"k":"a"}`}, [2]string{}, "a"},
		"zero":    {nil, [2]string{`{"k":7}`, `{"k":0}`}, [2]string{}, "0"},
		"boolean": {nil, [2]string{`{"k":true}`, `{"k":false}`}, [2]string{}, "false"},
		"double": {nil, [2]string{`{"k":1.0}`, `{"k":"NaN"}`}, [2]string{"", `{"k":NaN}`},
			"NaN"},
		"bytea": {nil, [2]string{`{"k":"AQID/w=="}`, `{"k":""}`}, [2]string{}, ""},
		"composite": {nil, [2]string{`{"a":1,"b":"x"}`, `{"a":1,"b":"y"}`}, [2]string{},
			`[\"1\",\"y\"]`},
		"typed composite": {[]string{"a int32", "b string"},
			[2]string{`{"a":1,"b":"x"}`, `{"a":2,"b":"x"}`}, [2]string{},
			`[\"2\",\"x\"]`},
		"typed boolean": {[]string{"k boolean"}, [2]string{`{"k":true}`, `{"k":false}`},
			[2]string{}, "false"},
		"typed double": {[]string{"k double"}, [2]string{`{"k":1.0}`, `{"k":1.5E10}`}, [2]string{},
			"1.5E10"},
		"typed bytea": {[]string{"k bytes"}, [2]string{`{"k":"AQID/w=="}`, `{"k":"AQID"}`},
			[2]string{}, "AQID"},
		"connect date": {[]string{"k int32 org.apache.kafka.connect.data.Date"},
			[2]string{`{"k":20779}`, `{"k":20780}`},
			[2]string{`{"k":2026-11-22}`, `{"k":2026-11-23}`}, "2026-11-23"},
		"connect timestamp": {[]string{"k int64 org.apache.kafka.connect.data.Timestamp"},
			[2]string{`{"k":1795334147500}`, `{"k":1795334147000}`},
			[2]string{`{"k":2026-11-22T07:55:47.500Z}`, `{"k":2026-11-22T07:55:47.000Z}`},
			"2026-11-22T07:55:47Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantMoved(t, c.types, c.keys, c.heads, c.id)
		})
	}
}

// wantMoved changes the key of one row, of the types given, and wants the row moved to the id.
func wantMoved(t *testing.T, types []string, keys, heads [2]string, id string) {
	t.Helper()
	for i := range heads {
		if heads[i] == "" {
			heads[i] = keys[i]
		}
	}
	fields, keyFields := "", ""
	if types != nil {
		keyFields = fieldsOf(types...)
		fields = fieldsOf(append(types, "body string")...)
	}
	row := func(key, body string) string {
		return fmt.Sprintf(`%s,"body":%s}`, key[:len(key)-1], body)
	}
	log := tape{
		{lsn: 101, key: keys[0], op: "c", after: row(keys[0], `"A"`)},
		{lsn: 120, key: keys[0], op: "d", before: row(keys[0], `""`), newKey: heads[1]},
		{key: keys[0]},
		{partition: 1, lsn: 120, key: keys[1], op: "c",
			after: row(keys[1], placeholder), oldKey: heads[0]},
	}
	for i := range log {
		log[i].table, log[i].fields, log[i].keyFields = "doc", fields, keyFields
	}
	records := log.records()
	for _, r := range records {
		for i := range r.Headers {
			r.Headers[i].Value = []byte(map[string]string{debezium.HeaderNewKey: heads[1],
				debezium.HeaderOldKey: heads[0]}[r.Headers[i].Key])
		}
	}
	printed, counts := sameHoweverDelivered(t, records, 10, ReplayOptions{})
	if len(counts.DeadLettered) > 0 {
		t.Errorf("dead letters: %v", counts.DeadLettered)
	}
	if got := members(t, printed, "body"); len(got) != 1 || got[id] != `"A"` {
		t.Errorf("the rows are %v, want one under %s", got, id)
	}
}

// TestKeyChangesBesideTheId: where a spec names one column of several as the key, a change of
// another column is no end of the document.
func TestKeyChangesBesideTheId(t *testing.T) {
	t.Parallel()
	specs := t.TempDir()
	spec := "entity: doc\ntable: public.doc\ncollection: docs\nkey: id\n" +
		"fields: [{column: id, kind: int}]\n"
	if err := os.WriteFile(filepath.Join(specs, "doc.yaml"), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	key := func(r string) string { return fmt.Sprintf(`{"id":1,"r":%q}`, r) }
	row := func(r, body string, x int) string {
		return fmt.Sprintf(`{"id":1,"r":%q,"body":%s,"x":%d}`, r, body, x)
	}
	for name, c := range map[string]struct{ body, before, last string }{
		"default": {placeholder, row("eu", `""`, 0), placeholder},
		"full":    {`"A"`, row("eu", `"A"`, 1), `"A"`},
	} {
		log := tape{
			{table: "doc", lsn: 101, key: key("eu"), op: "c", after: row("eu", `"A"`, 1)},
			{table: "doc", lsn: 120, key: key("eu"), op: "d", before: c.before, newKey: key("us")},
			{table: "doc", key: key("eu")},
			{table: "doc", partition: 1, lsn: 120, key: key("us"), op: "c",
				after: row("us", c.body, 1), oldKey: key("eu")},
			{table: "doc", partition: 1, lsn: 130, key: key("us"), op: "u",
				after: row("us", c.last, 2)},
			{table: "doc", partition: 1, lsn: 140, key: key("us"), op: "d",
				before: row("us", `""`, 0)},
			{table: "doc", partition: 1, key: key("us")},
		}
		for n, want := range map[int]int{4: 1, 5: 2, 7: 0} {
			printed, counts := sameHoweverDelivered(t, log[:n].records(), 20,
				ReplayOptions{Registry: specsIn(t, specs)})
			body, x, r := members(t, printed, "body")["1"], members(t, printed, "x")["1"],
				members(t, printed, "r")["1"]
			if want == 0 && body == "" {
				continue
			}
			if len(counts.DeadLettered) > 0 || body != `"A"` || r != `"us"` ||
				x != fmt.Sprintf(`{"$numberLong":"%d"}`, want) {
				t.Errorf("%s, after %d records: %+v, body %s, r %s, x %s", name, n, counts, body, r,
					x)
			}
		}
	}
}

// TestKeyChangeHeadersOfOtherConverters: a header that cannot be read costs no event. The values
// that both events leave out are found by the events' common place in the log. Where a spec's key
// is one of several columns, only the header tells whether the row stays, and the events are
// refused.
func TestKeyChangeHeadersOfOtherConverters(t *testing.T) {
	t.Parallel()
	log := func(body string) tape {
		row := func(id int, body string) string {
			return fmt.Sprintf(`{"id":%d,"body":%s}`, id, body)
		}
		return tape{
			{table: "doc", lsn: 101, key: `{"id":1}`, op: "c", after: row(1, `"A"`)},
			{table: "doc", lsn: 120, key: `{"id":1}`, op: "d", before: row(1, `""`), newKey: "?"},
			{table: "doc", key: `{"id":1}`},
			{table: "doc", partition: 1, lsn: 120, key: `{"id":2}`, op: "c", after: row(2, body),
				oldKey: "?"},
		}
	}
	for _, header := range []string{"Struct{id=1}", "1", "\x00\x00\x00\x00\x01\x02", `"AQ=="`} {
		for _, body := range []string{`"A"`, placeholder} {
			records := log(body).records()
			for _, r := range records {
				for i := range r.Headers {
					r.Headers[i].Value = []byte(header)
				}
			}
			printed, counts := sameHoweverDelivered(t, records, 6, ReplayOptions{})
			got := members(t, printed, "body")
			if len(counts.DeadLettered) > 0 || len(got) != 1 || got["2"] != `"A"` {
				t.Errorf("%q, %s: %v, %+v", header, body, got, counts)
			}
		}
	}
	specs := t.TempDir()
	spec := "entity: doc\ntable: public.doc\ncollection: docs\nkey: id\n" +
		"fields: [{column: id, kind: int}]\n"
	if err := os.WriteFile(filepath.Join(specs, "doc.yaml"), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	both := log(`"A"`)
	for i := range both {
		both[i].key = fmt.Sprintf(`{"id":1,"r":%d}`, max(i, 1)/2*2)
	}
	records := both.records()
	for _, r := range records {
		for i := range r.Headers {
			r.Headers[i].Value = []byte("Struct{id=1,r=1}")
		}
	}
	printed, counts := sameHoweverDelivered(t, records, 2,
		ReplayOptions{Registry: specsIn(t, specs)})
	if got := members(t, printed, "body"); got["1"] != `"A"` || counts.DeadLettered["key"] != 2 {
		t.Errorf("%v, %+v", got, counts)
	}
}
