package encode

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

func named(connect, name string) *debezium.Type {
	return &debezium.Type{Connect: connect, Name: name}
}

func debeziumType(connect, name string) *debezium.Type {
	return named(connect, "io.debezium."+name)
}

func kafkaType(connect, name string) *debezium.Type {
	return named(connect, "org.apache.kafka.connect.data."+name)
}

func scaled(scale int) *debezium.Type {
	t := kafkaType("bytes", "Decimal")
	t.Scale = scale
	return t
}

func arrayOf(items *debezium.Type) *debezium.Type {
	return &debezium.Type{Connect: "array", Items: items}
}

func bitsOf(length string) *debezium.Type {
	t := debeziumType("bytes", "data.Bits")
	t.Parameters = map[string]string{"length": length}
	return t
}

// sourceType is the type with column.propagate.source.type.
func sourceType(t *debezium.Type, name string) *debezium.Type {
	t.Parameters["__debezium.source.column.type"] = name
	return t
}

// mapped is a line of the table in the package comment: the stored form of a column's value, and
// the exact text. kind is the kind of a Field that stores the same.
type mapped struct {
	postgres string
	t        *debezium.Type
	json     string
	kind     entity.Kind
	stored   any
	exact    any
}

func mappings(t *testing.T) []mapped {
	all := append(textMappings(), numberMappings(t)...)
	all = append(append(all, timestampMappings(t)...), timeMappings(t)...)
	return append(append(all, nestedMappings(t)...), plainMappings(t)...)
}

const fineText = "2026-11-22T07:55:47.954888Z"

func plain(connect string) *debezium.Type { return named(connect, "") }

func textMappings() []mapped {
	return []mapped{
		{"uuid", debeziumType("string", "data.Uuid"), quote(strings.ToUpper(someUUID)), entity.UUID,
			someUUID, nil},
		{"char", plain("string"), `"ab    "`, entity.Text, "ab    ", nil},
		{"text", plain("string"), `"é\n\u0001$x. \""`, entity.Text, "é\n\x01$x. \"", nil},
		{"enum", debeziumType("string", "data.Enum"), `"ok"`, entity.Text, "ok", nil},
		{"xml", debeziumType("string", "data.Xml"), `"<a>1</a>"`, entity.Text, "<a>1</a>", nil},
		{"ranges", plain("string"), `"[1.5,2.5)"`, entity.Text, "[1.5,2.5)", nil},
		{"inet", plain("string"), `"192.168.0.1/24"`, entity.Text, "192.168.0.1/24", nil},
		{"tsvector", debeziumType("string", "data.Tsvector"), `"'a' 'cat'"`, entity.Text,
			"'a' 'cat'", nil},
		{"boolean", plain("boolean"), `true`, entity.Bool, true, nil},
		{"bit(1)", plain("boolean"), `false`, entity.Bool, false, nil},
	}
}

func numberMappings(t *testing.T) []mapped {
	whole := strings.Repeat("9", 34)
	return []mapped{
		{"smallint", plain("int16"), `-32768`, entity.Int, int64(-32768), nil},
		{"int", plain("int32"), `2147483647`, entity.Int, int64(2147483647), nil},
		{"bigint", plain("int64"), `9007199254740993`, entity.Int, int64(9007199254740993), nil},
		{"bigint", plain("int64"), `-9223372036854775808`, entity.Int, int64(math.MinInt64), nil},
		{"oid", plain("int64"), `4294967295`, entity.Int, int64(4294967295), nil},
		{"numeric", scaled(2), `"APo="`, entity.Decimal, decimal(t, "2.50"), nil},
		{"numeric", scaled(2), `"/w=="`, entity.Decimal, decimal(t, "-0.01"), nil},
		{"numeric", scaled(0), `"BWvHXi1jD///"`, entity.Decimal, decimal(t, "99999999999999999999"),
			nil},
		{"numeric", scaled(3), `"AA=="`, entity.Decimal, decimal(t, "0.000"), nil},
		{"numeric", scaled(2), `2.5`, entity.Decimal, decimal(t, "2.5"),
			nil}, // decimal.format=NUMERIC
		{"numeric", debeziumType("struct", "data.VariableScaleDecimal"),
			`{"scale":5,"value":"AmCwX/vn/LEXoCTx4t95"}`, entity.Decimal,
			"123456789012345678901234567890.12345", nil},
		{"numeric", debeziumType("struct", "data.VariableScaleDecimal"),
			`{"scale":1,"value":"Dw=="}`, entity.Decimal, decimal(t, "1.5"), nil},
		{"numeric", plain("string"), `"2.50"`, entity.Decimal, decimal(t, "2.50"), nil},
		{"numeric", plain("string"), quote(whole), entity.Decimal, decimal(t, whole), nil},
		{"numeric", plain("string"), quote(whole + "9"), entity.Decimal, whole + "9", nil},
		{"numeric", plain("string"), quote(whole + "000.00"), entity.Decimal,
			decimal(t, whole+"E+3"), nil},
		{"numeric", plain("string"), `"NAN"`, entity.Decimal, decimal(t, "NaN"), nil},
		{"numeric", plain("string"), `"POSITIVE_INFINITY"`, entity.Decimal, decimal(t, "Infinity"),
			nil},
		{"numeric", plain("string"), `"NEGATIVE_INFINITY"`, entity.Decimal, decimal(t, "-Infinity"),
			nil},
		{"money", scaled(2), `"BNI="`, entity.Decimal, decimal(t, "12.34"), nil},
		{"real", plain("float"), `3.3`, entity.Double, 3.3, nil},
		{"real", plain("float32"), `3.4028235E38`, entity.Double, 3.4028235e38, nil},
		{"double precision", plain("double"), `1.0E308`, entity.Double, 1e308, nil},
		{"double precision", plain("float64"), `-0.0`, entity.Double, math.Copysign(0, -1), nil},
		{"double precision", plain("double"), `"NaN"`, entity.Double, math.NaN(), nil},
		{"double precision", plain("double"), `"Infinity"`, entity.Double, math.Inf(1), nil},
		{"double precision", plain("double"), `"-Infinity"`, entity.Double, math.Inf(-1), nil},
	}
}

func timestampMappings(t *testing.T) []mapped {
	at, fine := date(t, "2026-11-22T07:55:47.954Z"), fineText
	return []mapped{
		{"timestamptz", debeziumType("string", "time.ZonedTimestamp"), quote(fine),
			entity.Timestamp, at, fine},
		{"timestamptz", debeziumType("string", "time.ZonedTimestamp"),
			`"2026-11-22T07:55:47.9540Z"`, entity.Timestamp, at, nil},
		{"timestamptz", debeziumType("string", "time.ZonedTimestamp"),
			`"2026-11-22T10:25:47.954888000+02:30"`, entity.Timestamp, at, fine},
		{"timestamptz", debeziumType("string", "time.ZonedTimestamp"), `"infinity"`,
			entity.Timestamp, "infinity", nil},
		{"timestamptz", debeziumType("string", "time.ZonedTimestamp"),
			`"-0043-03-15T12:00:00.000000Z"`, entity.Timestamp, "-0043-03-15T12:00:00.000000Z",
			nil},
		{"timestamptz", debeziumType("string", "time.ZonedTimestamp"), `"+294276-12-31T23:59:59Z"`,
			entity.Timestamp, "+294276-12-31T23:59:59Z", nil},
		{"timestamp", debeziumType("int64", "time.MicroTimestamp"), `1795334147954888`,
			entity.Timestamp, at, fine},
		{"timestamp", debeziumType("int64", "time.MicroTimestamp"), `-1`, entity.Timestamp,
			date(t, "1969-12-31T23:59:59.999Z"), "1969-12-31T23:59:59.999999Z"},
		{"timestamp", debeziumType("int64", "time.MicroTimestamp"), `9223372036825200000`,
			entity.Timestamp, "infinity", nil},
		{"timestamp", debeziumType("int64", "time.MicroTimestamp"), `-9223372036832400000`,
			entity.Timestamp, "-infinity", nil},
		{"timestamp", debeziumType("int64", "time.MicroTimestamp"), `-63517780800000000`,
			entity.Timestamp, "-0043-03-15T12:00:00Z", nil},
		{"timestamp", debeziumType("int64", "time.Timestamp"), `1795334147954`, entity.Timestamp,
			at, nil},
		{"timestamp", kafkaType("int64", "Timestamp"), `9223372036825200`, entity.Timestamp,
			"infinity", nil},
		{"timestamp", kafkaType("int64", "Timestamp"), `-63517780800000`, entity.Timestamp,
			"-0043-03-15T12:00:00Z", nil},
		{"timestamp", debeziumType("int64", "time.NanoTimestamp"), `1795334147954888777`,
			entity.Timestamp, at, "2026-11-22T07:55:47.954888777Z"},
		{"timestamp", debeziumType("string", "time.IsoTimestamp"), quote(fine), entity.Timestamp,
			at, fine},
		{"timestamp", debeziumType("string", "time.IsoTimestamp"), `"+294247-01-10T04:00:25.200Z"`,
			entity.Timestamp, "infinity", nil},
		{"timestamp", debeziumType("string", "time.IsoTimestamp"), `"-290308-12-21T19:59:27.6Z"`,
			entity.Timestamp, "-infinity", nil},
	}
}

func timeMappings(t *testing.T) []mapped {
	return []mapped{
		{"date", debeziumType("int32", "time.Date"), `20779`, entity.Date,
			date(t, "2026-11-22T00:00:00Z"), nil},
		{"date", kafkaType("int32", "Date"), `-141438`, entity.Date,
			date(t, "1582-10-04T00:00:00Z"), nil},
		{"date", debeziumType("int32", "time.Date"), `-2147472692`, entity.Date, "infinity", nil},
		{"date", debeziumType("int32", "time.Date"), `-2147472691`, entity.Date, "-infinity", nil},
		{"date", debeziumType("int32", "time.Date"), `-622191234`, entity.Date, "infinity", nil},
		{"date", debeziumType("int32", "time.Date"), `-625821272`, entity.Date, "-infinity", nil},
		{"date", debeziumType("int32", "time.Date"), `-735160`, entity.Date, "-0043-03-15", nil},
		{"date", debeziumType("int32", "time.Date"), `2932897`, entity.Date, "+10000-01-01", nil},
		{"date", debeziumType("string", "time.IsoDate"), `"2026-11-22Z"`, entity.Date,
			date(t, "2026-11-22T00:00:00Z"), nil},
		{"date", debeziumType("string", "time.IsoDate"), `"-5877611-06-21Z"`, entity.Date,
			"infinity", nil},
		{"date", debeziumType("string", "time.IsoDate"), `"+292269055-12-02Z"`, entity.Date,
			"-infinity", nil},
		{"date", debeziumType("string", "time.IsoDate"), `"+12024-03-15Z"`, entity.Date,
			"+12024-03-15", nil},
		{"time", debeziumType("string", "time.IsoTime"), `"13:01:02.345678Z"`, entity.Time,
			"13:01:02.345678", nil},
		{"time", debeziumType("int64", "time.MicroTime"), `46862345678`, entity.Time,
			"13:01:02.345678", nil},
		{"time", debeziumType("int32", "time.Time"), `46862346`, entity.Time, "13:01:02.346", nil},
		{"time", kafkaType("int32", "Time"), `86400000`, entity.Time, "24:00:00", nil},
		{"time", debeziumType("int64", "time.NanoTime"), `1000`, entity.Time, "00:00:00.000001",
			nil},
		{"timetz", debeziumType("string", "time.ZonedTime"), `"10:31:02.500Z"`, entity.Time,
			"10:31:02.5Z", nil},
		{"interval", debeziumType("int64", "time.MicroDuration"), `37091106789000`, entity.Interval,
			"PT10303H5M6.789S", nil},
		{"interval", debeziumType("int64", "time.MicroDuration"), `-2629800000001`, entity.Interval,
			"-PT730H30M0.000001S", nil},
		{"interval", debeziumType("int64", "time.MicroDuration"), `0`, entity.Interval, "PT0S",
			nil},
		{"interval", debeziumType("string", "time.Interval"), `"P1Y2M3DT4H5M6.789S"`,
			entity.Interval, "P1Y2M3DT4H5M6.789S", nil},
	}
}

func nestedMappings(t *testing.T) []mapped {
	at, fine := date(t, "2026-11-22T07:55:47.954Z"), fineText
	return []mapped{
		{"json", debeziumType("string", "data.Json"), `"{\"b\":1,  \"a\":[1,2]}"`, entity.JSON,
			`{"b":1,  "a":[1,2]}`, nil},
		{"jsonb", debeziumType("string", "data.Json"), `"9007199254740993.10"`, entity.JSON,
			"9007199254740993.10", nil},
		{"hstore", named("map", ""), `{"a":"1","b":null,"a.b":"","$c":"x"}`, entity.Any,
			bson.M{"a": "1", "b": nil, "a．b": "", "＄c": "x"}, nil},
		{"hstore", named("map", ""), `{"a.b":"1","a．b":"2"}`, entity.Any, `{"a.b":"1","a．b":"2"}`,
			nil},
		{"bytea", plain("bytes"), `"AQID/w=="`, entity.Bytes, blob("\x01\x02\x03\xff"), nil},
		{"bytea", plain("bytes"), `"AQID_w=="`, entity.Bytes, blob("\x01\x02\x03\xff"), nil},
		{"bytea", plain("bytes"), `""`, entity.Bytes, blob(""), nil},
		{"bit(n)", bitsOf("8"), `"qg=="`, entity.Bits, "10101010", nil},
		{"bit(n)", bitsOf("12"), `"BQA="`, entity.Bits, "000000000101", nil},
		{"varbit", bitsOf("16"), `"BQ=="`, entity.Bits, "101", nil},
		{"bit(n)", sourceType(bitsOf("16"), "BIT"), `"BQ=="`, entity.Bits, "0000000000000101", nil},
		{"varbit", sourceType(bitsOf("16"), "VARBIT"), `"BQ=="`, entity.Bits, "101", nil},
		{"arrays", arrayOf(plain("int32")), `[1,null,-3]`, entity.Array,
			bson.A{int64(1), nil, int64(-3)}, nil},
		{"arrays", arrayOf(plain("string")), `[]`, entity.Array, bson.A{}, nil},
		{"arrays", arrayOf(scaled(2)), `["AJY=",null]`, entity.Array,
			bson.A{decimal(t, "1.50"), nil}, nil},
		{"arrays", arrayOf(arrayOf(plain("boolean"))), `[[true],null]`, entity.Array,
			bson.A{bson.A{true}, nil}, nil},
		{"arrays", arrayOf(debeziumType("string", "time.ZonedTimestamp")),
			quoteList(fine, "2026-11-22T07:55:47.954Z", "infinity"),
			entity.Array, bson.A{at, at, "infinity"},
			bson.A{fine, "2026-11-22T07:55:47.954Z", "infinity"}},
		{"point", debeziumType("struct", "data.geometry.Point"),
			`{"x":1.5,"y":-2.0,"wkb":"AQ==","srid":null}`, entity.Any,
			bson.M{"x": 1.5, "y": -2.0, "wkb": "AQ==", "srid": nil}, nil},
	}
}

func plainMappings(t *testing.T) []mapped {
	whole := strings.Repeat("9", 34)
	return []mapped{
		{"without a schema", nil, `"infinity"`, entity.Any, "infinity", nil},
		{"without a schema", nil, `true`, entity.Any, true, nil},
		{"without a schema", nil, `9223372036854775807`, entity.Any, int64(math.MaxInt64), nil},
		{"without a schema", nil, `9223372036854775808`, entity.Any,
			decimal(t, "9223372036854775808"), nil},
		{"without a schema", nil, whole + "9", entity.Any, whole + "9", nil},
		{"without a schema", nil, `3.3`, entity.Any, 3.3, nil},
		{"without a schema", nil, `1e3`, entity.Any, 1000.0, nil},
		{"without a schema", nil, `0.12345678901234567890123`, entity.Any,
			decimal(t, "0.12345678901234567890123"), nil},
		{"without a schema", nil, `1e7000`, entity.Any, "1e7000", nil},
		{"without a schema", nil, `{"scale":1,"value":"Dw=="}`, entity.Any, decimal(t, "1.5"), nil},
		{"without a schema", nil, `[1,"a",{"b":[]}]`, entity.Any,
			bson.A{int64(1), "a", bson.M{"b": bson.A{}}}, nil},
	}
}

func quoteList(texts ...string) string {
	for i := range texts {
		texts[i] = quote(texts[i])
	}
	return "[" + strings.Join(texts, ",") + "]"
}

var compareStored = cmp.Options{cmp.AllowUnexported(bson.Decimal128{}),
	cmp.Comparer(func(a, b float64) bool {
		return a == b && math.Signbit(a) == math.Signbit(b) || a != a && b != b
	})}

// TestMapping: every line of the table in the package comment, for a column without a Field, and
// for a column with a Field of the kind.
func TestMapping(t *testing.T) {
	t.Parallel()
	for _, m := range mappings(t) {
		want := bson.M{"v": m.stored}
		if m.exact != nil {
			want["vExact"] = m.exact
		}
		fields := map[string]*Table{"no field": generic()}
		if m.t != nil {
			fields[string(m.kind)] = tableOf(t, "kind: "+string(m.kind))
		}
		for name, table := range fields {
			if name == "no field" && m.kind == entity.Decimal && m.t.Connect == "string" {
				want["v"] = strings.Trim(m.json, `"`) // nothing tells a number from a text
			} else {
				want["v"] = m.stored
			}
			c := change{key: `{"id":1}`, after: `{"id":1,"v":` + m.json + `}`,
				types: map[string]*debezium.Type{"v": m.t}}
			e := encode(t, table, c)
			if diff := cmp.Diff(want, readBack(t, e.Elements), compareStored); diff != "" {
				t.Errorf("%s, %s of %s (-want +got):\n%s", m.postgres, name, m.json, diff)
			}
			if e.Violations != nil {
				t.Errorf("%s, %s of %s breaks %v", m.postgres, name, m.json, e.Violations)
			}
			dated := len(e.Absent) == 1 && e.Absent[0] == "vExact"
			if m.t != nil && m.exact == nil && dated != (m.kind == entity.Timestamp) {
				t.Errorf("%s, %s of %s: absent %v", m.postgres, name, m.json, e.Absent)
			}
		}
	}
}

// TestMappingIsDocumented: the types of the test are in the package comment, and the other way
// round.
func TestMappingIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "PostgreSQL             Debezium's type")
	for _, m := range mappings(t) {
		if !strings.Contains(table, m.postgres) {
			t.Errorf("%s is not in the table", m.postgres)
		}
	}
	for name := range forms {
		short := name[strings.LastIndexByte(name, '.')+1:]
		if !strings.Contains(table, short) {
			t.Errorf("the type %s is not in the table", name)
		}
	}
}

// TestPlaceholders: Debezium 3.6's placeholder for an unchanged large value, of each type that has
// a placeholder, is no value, with schemas and without.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	bytes := strings.ReplaceAll(fmt.Sprint([]byte(debezium.Unavailable)), " ", ",")
	text, base64 := quote(debezium.Unavailable), `"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="`
	for name, c := range map[string]struct {
		value string
		typ   *debezium.Type
	}{
		"text": {text, named("string", "")}, "xml": {text, debeziumType("string", "data.Xml")},
		"json":              {text, debeziumType("string", "data.Json")},
		"numeric as string": {text, named("string", "")}, "bytea": {base64, named("bytes", "")},
		"bytea in hex": {text, named("string", "")},
		"hstore":       {quote("{" + text + ":" + text + "}"), debeziumType("string", "data.Json")},
		"hstore map":   {"{" + text + ":" + text + "}", named("map", "")},
		"text[]":       {"[" + text + "]", arrayOf(named("string", ""))},
		"jsonb[]":      {"[" + text + "]", arrayOf(debeziumType("string", "data.Json"))},
		"bytea[]":      {"[" + base64 + "]", arrayOf(named("bytes", ""))},
		"int[]":        {bytes, arrayOf(named("int32", ""))},
		"bigint[]":     {bytes, arrayOf(named("int64", ""))},
		"date[]":       {bytes, arrayOf(debeziumType("int32", "time.Date"))},
		"uuid[]": {`["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]`,
			arrayOf(debeziumType("string", "data.Uuid"))},
	} {
		for _, types := range []map[string]*debezium.Type{nil, {"v": c.typ}} {
			e := encode(t, generic(), change{key: `{"id":1}`, after: `{"id":1,"v":` + c.value + `}`,
				types: types})
			if !slices.Equal(e.Missing, []string{"v"}) || len(e.Elements) > 0 ||
				len(e.Violations) > 0 || len(e.Drifted) > 0 {
				t.Errorf("%s, schemas %t: missing %v, members %v, violations %v", name,
					types != nil, e.Missing, readBack(t, e.Elements), e.Violations)
			}
		}
	}
}

// TestByteaAsText: binary.handling.mode hex and base64 have the same type, and a Field of bytes
// reads both.
func TestByteaAsText(t *testing.T) {
	t.Parallel()
	table := tableOf(t, "kind: bytes")
	for text, want := range map[string]string{"": "", "0a0bff": "\n\v\xff", "AAAA": "\x00\x00\x00",
		"AQID/w==": "\x01\x02\x03\xff", "AQID_w==": "\x01\x02\x03\xff"} {
		e := encode(t, table, change{key: `{"id":1}`, after: `{"id":1,"v":` + quote(text) + `}`,
			types: map[string]*debezium.Type{"v": named("string", "")}})
		got := readBack(t, e.Elements)["v"]
		if !cmp.Equal(got, any(bson.Binary{Data: []byte(want)})) {
			t.Errorf("%q is stored as %v", text, got)
		}
	}
}
