package debezium

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodSource = `"source":{"version":"3.6.3.Final","connector":"postgresql","name":"cdc",` +
	`"ts_ms":1,
	"snapshot":"false","db":"lab","sequence":"[\"10\",\"20\"]","ts_us":1500,"ts_ns":1500000,` +
	`"schema":"public",
	"table":"customer","txId":7,"lsn":20,"xmin":null}`

// decodeRecord is Decoder.Decode for a single record.
func decodeRecord(key, value []byte, headers []Header) (Event, error) {
	event, err := new(Decoder).Decode(key, value, headers)
	return *event, err
}

func TestDecode(t *testing.T) {
	t.Parallel()
	source := Source{Version: "3.6.3.Final", Connector: "postgresql", Name: "cdc", TsUs: 1500,
		Snapshot: "false", DB: "lab", Sequence: [2]uint64{10, 20}, Schema: "public",
		Table: "customer",
		TxID:  7, LSN: 20}
	value := `{"before":null,"after":{"id":"a","n":9007199254740993,"x":null},` + goodSource +
		`,"transaction":null,"op":"c","ts_ms":2,"ts_us":2500,"ts_ns":2500000}`
	after := map[string]any{"id": "a", "n": json.Number("9007199254740993"), "x": nil}
	wrap := func(payload string) string {
		return `{"schema":{"type":"struct"},"payload":` +
			payload + `}`
	}
	headers := []Header{{"other", []byte("x")}, {HeaderCommitLSN, []byte("30")}}
	for name, in := range map[string][2]string{
		"schemas off": {`{"id":"a"}`, value},
		"schemas on":  {wrap(`{"id":"a"}`), wrap(value)},
		"null schema": {`{"schema":null,"payload":{"id":"a"}}`,
			`{"schema":null,"payload":` + value + `}`},
		"white space": {" {\"id\":\"a\"}\n", value + "\n"},
		"old, ms only": {`{"id":"a"}`,
			strings.NewReplacer(`"ts_us":1500,`, "", `"ts_us":2500,`, "").Replace(value)},
	} {
		source, tsUs := source, int64(2500)
		if name == "old, ms only" {
			tsUs, source.TsUs = 2000, 1000
		}
		e, err := decodeRecord([]byte(in[0]), []byte(in[1]), headers)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := []any{map[string]any{"id": "a"}, after, map[string]any(nil), Create, source, tsUs,
			uint64(30)}
		got := []any{plainRow(e.Key), plainRow(e.After), plainRow(e.Before), e.Op, e.Source, e.TsUs,
			e.CommitLSN}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDecodeKeys(t *testing.T) {
	t.Parallel()
	const wrapped = `{"schema":{"type":"struct","fields":[{"field":"n","type":"bytes","name":` +
		`"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}]},` +
		`"payload":{"n":"APo="}}`
	for key, want := range map[string]map[string]any{
		"":                             nil,
		"null":                         nil,
		`{}`:                           {},
		`{"schema":"a","payload":"b"}`: {"schema": "a", "payload": "b"},
		`{"schema":{"a":1},"payload":"b"}`: {"schema": map[string]any{"a": json.Number("1")},
			"payload": "b"},
		`{"schema":{"type":"struct","optional":true},"payload":null}`: nil,
		wrapped: {"n": "APo="},
		` { "payload" : {"n":"APo="} , ` + wrapped[1:len(wrapped)-len(`,"payload":{"n":"APo="}}`)] +
			"} ": {"n": "APo="},
	} {
		var d Decoder
		for range 3 {
			for _, headers := range [][]Header{nil,
				{{HeaderOldKey, []byte(key)}, {HeaderNewKey, []byte(key)}}} {
				e, err := d.Decode([]byte(key), nil, headers)
				if err != nil {
					t.Fatalf("%s: %v", key, err)
				}
				rows := []Row{e.Key}
				if headers != nil {
					rows = append(rows, e.OldKey, e.NewKey)
				}
				for _, row := range rows {
					if diff := cmp.Diff(want, plainRow(row)); diff != "" || !e.Tombstone {
						t.Errorf("%s (-want +got):\n%s", key, diff)
					}
					if n := row.Get("n"); n != nil && (n.Type == nil || n.Type.Scale != 2) {
						t.Errorf("%s: type %+v", key, n.Type)
					}
				}
			}
		}
	}
}

// TestDecodeHeaders: a key in a header is the text of Connect 4.3's SimpleHeaderConverter.
func TestDecodeHeaders(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]map[string]any{
		"{\"id\":\"a\\\"b\\\\c\né\t\x01\"}": {"id": "a\"b\\c\né\t\x01"},
		`{"id":1.0E10,"d":2.50,"b":true,"raw":"AQID//4="}`: {"id": json.Number("1.0E10"),
			"d": json.Number("2.50"), "b": true, "raw": "AQID//4="},
		`{"id":NaN,"x":-Infinity}`: {"id": "NaN", "x": "-Infinity"},
		`{"d":2026-11-22,"at":2026-11-22T07:55:47.954Z,"t":13:01:02.346Z,"x":"a,\"}{:"}`: {
			"d": "2026-11-22", "at": "2026-11-22T07:55:47.954Z", "t": "13:01:02.346Z",
			"x": `a,"}{:`},
	} {
		e, err := decodeRecord([]byte(`{"id":1}`), nil,
			[]Header{{HeaderOldKey, []byte(header)}, {HeaderNewKey, []byte(header)}})
		if err != nil {
			t.Errorf("%q: %v", header, err)
		}
		for _, row := range []Row{e.OldKey, e.NewKey} {
			if diff := cmp.Diff(want, plainRow(row)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", header, diff)
			}
		}
	}
	for _, header := range []string{"{", `{"id":}`, `{"id"}`, `{a:1}`, `{"id":"a`,
		"{\"id\":\"\xff\n\"}", `{"id":a\x}`, `[NaN]`, `{"id":1}}`,
		// StringConverter, a single column alone, ByteArrayConverter, Avro, Protobuf.
		"Struct{id=9}", "Struct{}", "9", "x", `"x"`, "\x00\x00\x00\x00\x07\x12",
		"\x00\x00\x00\x00\x07\x00\x08\x09"} {
		if e, err := decodeRecord([]byte(`{"id":1}`), nil,
			[]Header{{HeaderOldKey, []byte(header)}}); err != nil || e.OtherKeyUnread == nil ||
			e.OldKey != nil || !e.Comes || e.Leaves {
			t.Errorf("%q became %v, %v", header, plainRow(e.OldKey), err)
		}
	}
}

// TestSpelledNull: a null record is a tombstone however a converter spells null.
func TestSpelledNull(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "null", " null\n", `{"schema":null,"payload":null}`,
		`{"payload":null,"schema":null}`, `{"schema":{},"payload":null}`,
		`{"schema":{"type":"struct","optional":true,"fields":[]},"payload":null}`} {
		e, err := decodeRecord([]byte(`{"id":1}`), []byte(value), nil)
		if err != nil || !e.Tombstone || e.Op != "" || len(e.Key) != 1 {
			t.Errorf("%q: %+v, %v", value, e, err)
		}
	}
	for _, value := range []string{"nul", "null null", `{"payload":null}`, `{"schema":null}`, "{}",
		`{"schema":1,"payload":null}`, `{"schema":null,"payload":null,"x":1}`, "0", `"null"`,
		`{"schema":null,"payload":0}`} {
		if e, err := decodeRecord([]byte(`{"id":1}`), []byte(value), nil); err == nil {
			t.Errorf("%q is taken for %+v", value, e)
		}
	}
}

// TestOtherConnectors: the envelopes of other connectors are refused, whatever the operation.
func TestOtherConnectors(t *testing.T) {
	t.Parallel()
	for _, connector := range []string{"mysql", "oracle", "mongodb", "sqlserver", "vitess", "db2",
		"yugabytedb", "PostgreSQL"} {
		for _, op := range []Op{Create, Update, Delete, Read, Truncate, Message} {
			value := fmt.Sprintf(`{"before":null,"after":{"id":1},"op":%q,"ts_us":1,%s}`, op,
				strings.Replace(goodSource, `"connector":"postgresql"`,
					`"connector":"`+connector+`"`, 1))
			_, err := decodeRecord([]byte(`{"id":1}`), []byte(value), nil)
			if err == nil || !strings.HasPrefix(err.Error(), "source.connector: is ") {
				t.Errorf("%s, %s: %v", connector, op, err)
			}
		}
	}
}

// TestOptionalSequence: source.sequence rejects only events whose place is in the sequence.
func TestOptionalSequence(t *testing.T) {
	t.Parallel()
	for _, sequence := range []string{`"[]"`, `7`, `"x"`, `"[\"1\"]"`} {
		for _, c := range []struct {
			op       Op
			snapshot string
			headers  []Header
			fine     bool
		}{
			{Create, "false", nil, false}, {Update, "false", nil, false},
			{Delete, "false", nil, false}, {Truncate, "false", nil, false},
			{Read, "incremental", nil, false}, {Read, "true", nil, true},
			{Read, "last", nil, true}, {Message, "false", nil, true},
			{Update, "false", []Header{{HeaderCommitLSN, []byte("9")}}, true},
		} {
			source := regexp.MustCompile(`"sequence":"(\\"|[^"])*"`).ReplaceAllLiteralString(
				goodSource, `"sequence":`+sequence)
			source = strings.Replace(source, `"snapshot":"false"`,
				fmt.Sprintf(`"snapshot":%q`, c.snapshot), 1)
			_, err := decodeRecord(nil, fmt.Appendf(nil,
				`{"before":null,"after":{"id":1},"op":%q,"ts_us":1,%s}`, c.op, source), c.headers)
			if (err == nil) != c.fine || err != nil &&
				!strings.HasPrefix(err.Error(), "source.sequence: ") {
				t.Errorf("%s, %s, %s: %v", sequence, c.op, c.snapshot, err)
			}
		}
	}
}

func TestSnapshotTexts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`true`: "true", `false`: "false", `null`: "", `"last"`: "last",
		`"incremental"`: "incremental",
	} {
		value := strings.Replace(`{"after":{},"op":"r",`+goodSource+`}`, `"snapshot":"false"`,
			`"snapshot":`+in, 1)
		e, err := decodeRecord(nil, []byte(value), nil)
		if err != nil || e.Source.Snapshot != want {
			t.Errorf("%s became %q, %v; want %q", in, e.Source.Snapshot, err, want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	good := `{"before":null,"after":{},` + goodSource + `,"op":"c","ts_us":1}`
	with := func(old, replacement string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in the value", old)
		}
		return strings.Replace(good, old, replacement, 1)
	}
	for _, c := range []struct{ key, value, want string }{
		{`{"id":1`, good, "key: is bad JSON at byte 7"},
		{`["id"]`, good, "key: is a JSON array, not an object"},
		{`{"schema":{"type":"string"},"payload":"a"}`, good, "key: is no row of columns"},
		{`{"id":1} x`, good, "key: is bad JSON at byte 10: text after the end"},
		{"", " ", "value: is bad JSON at byte 1"},
		{"", "{\"a\":\xff}", "value: is not UTF-8"},
		{"", `{"op":"c",}`, "value: is bad JSON at byte 10"},
		{"", good + `{}`, "text after the end"},
		{"", "[1]", "value: is not an object"},
		{"", "5", "value: is not an object"},
		{"", `{}`, "value: is a flattened row"},
		{"", `{"id":1,"payload":"a"}`, "value: is a flattened row"},
		{"", `{"ts_ms":5}`, "value: is a heartbeat"},
		{"", `{"status":"BEGIN","id":"1:2","event_count":null,"data_collections":null,"ts_ms":1}`,
			"value: is transaction metadata"},
		{"", `{"before":null,"after":{},"op":"c"}`, "source: is missing"},
		{"", `{"before":null,"after":{},` + goodSource + `}`, "op: is missing"},
		{"", with(`"op":"c"`, `"op":"x"`), `op: "x" is unknown`},
		{"", with(`"op":"c"`, `"op":1`), "op: is a JSON number, not a text"},
		{"", with(`"after":{}`, `"after":null`), `after: is null where op is "c"`},
		{"", with(`"after":{}`, `"after":[1]`), "after: is a JSON array, not an object"},
		{"", with(`"before":null`, `"before":"x"`), "before: is a JSON string, not an object"},
		{"", with(`"table":"customer"`, `"table":""`), "source.table"},
		{"", with(`"lsn":20`, `"lsn":-1`), "source.lsn: -1 is negative"},
		{"", with(`"lsn":20`, `"lsn":"0/16B37"`),
			"source.lsn: is a JSON string, not a whole number"},
		{"", with(`"lsn":20`, `"lsn":1.5`), "source.lsn: is a JSON number 1.5, not a whole number"},
		{"", with(`"snapshot":"false"`, `"snapshot":1`), "source.snapshot"},
		{"", with(`"[\"10\",\"20\"]"`, `"[\"10\"]"`), "source.sequence"},
		{"", with(`"[\"10\",\"20\"]"`, `"[\"10\",\"-2\"]"`), "source.sequence"},
		{"", with(`"[\"10\",\"20\"]"`, `"[10,20]"`), "source.sequence"},
		{"", strings.Replace(with(`"ts_ms":1,`, `"ts_ms":9223372036854775807,`), `"ts_us":1500`,
			`"ts_us":null`, 1),
			"source.ts_us: 9223372036854775807 ms is out of range"},
		{"", `{"schema":{},"payload":` + with(`"op":"c"`, `"op":1`) + `}`,
			"op: is a JSON number, not a text"},
		{"", `{"schema":{},"payload":` + with(`"lsn":20`, `"lsn":true`) + `}`,
			"source.lsn: is a JSON bool"},
		{"", strings.Repeat(`{"a":`, 20000), "value: is bad JSON"},
	} {
		_, err := decodeRecord([]byte(c.key), []byte(c.value), nil)
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("key %.60q, value %.200q: error %v, want %q", c.key, c.value, err, c.want)
		}
	}
	_, err := decodeRecord(nil, []byte(good), []Header{{HeaderCommitLSN, []byte("0/16B37")}})
	if want := `header cdc.commit_lsn: "0/16B37" is no decimal LSN`; err == nil ||
		err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestPartOfEvent: a dead letter holds everything readable.
func TestPartOfEvent(t *testing.T) {
	t.Parallel()
	value := `{"after":null,"op":"c",` + goodSource + `}`
	e, err := decodeRecord([]byte(`{"id":"a"}`), []byte(value), nil)
	if err == nil || string(e.Key[0].Value.Text()) != "a" || e.Source.Table != "customer" ||
		e.Op != Create {
		t.Errorf("the event is %+v, %v", e, err)
	}
}

func TestLongTransactionNumber(t *testing.T) {
	t.Parallel()
	value := strings.Replace(`{"after":{},"op":"r",`+goodSource+`}`, `"txId":7`,
		`"txId":4294967303`, 1)
	if e, err := decodeRecord(nil, []byte(value), nil); err != nil || e.Source.TxID != 7 {
		t.Errorf("txId is %d, %v; want the xid without its epoch, 7", e.Source.TxID, err)
	}
}
