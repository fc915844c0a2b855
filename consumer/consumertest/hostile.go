package consumertest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// Attack is a kind of record made to cost more than its size.
type Attack struct {
	Name string
	// Of returns records of about so many bytes together.
	Of func(bytes int) []*kgo.Record
}

// Repeated joins as many of the part as fit in the bytes. The number of the part, in hexadecimal,
// replaces each #.
func Repeated(bytes int, part string) string {
	var all strings.Builder
	for i := 0; all.Len() == 0 || all.Len()+len(part) < bytes; i++ {
		if i > 0 {
			all.WriteByte(',')
		}
		all.WriteString(strings.ReplaceAll(part, "#", strconv.FormatInt(int64(i), 16)))
	}
	return all.String()
}

// HostileRow returns a record of a table without a spec, with a row of the columns in JSON. schema
// is the row's fields for a block of schemas, "" for none.
func HostileRow(table, id, columns, schema string) *kgo.Record {
	payload := `{"before":null,"after":{"id":` + id + `,` + columns + `},` +
		`"source":{"name":"cdc","schema":"public","table":"` + table +
		`","lsn":7,"ts_ms":1},"op":"u"}`
	if schema != "" {
		payload = `{"schema":{"type":"struct","fields":[{"field":"after","type":"struct",` +
			`"fields":[{"field":"id","type":"string"},` + schema + `]}]},"payload":` + payload + `}`
	}
	return &kgo.Record{Topic: "cdc.public." + table, Key: []byte(`{"id":` + id + `}`),
		Value: []byte(payload), Timestamp: Time, Headers: []kgo.RecordHeader{
			{Key: debezium.HeaderCommitLSN, Value: []byte("9")}}}
}

// inArray attacks by an array of a part, under a schema of a table without a spec.
func inArray(name, part, items string) Attack {
	return Attack{name, func(bytes int) []*kgo.Record {
		schema := ""
		if items != "" {
			schema = `{"field":"v","type":"array","items":` + items + `}`
		}
		return []*kgo.Record{HostileRow("wild", `"1"`, `"v":[`+Repeated(bytes, part)+`]`, schema)}
	}}
}

// inRows attacks by many records of a row, each at a later commit. The number of the record
// replaces each # in the arguments.
func inRows(name, table, id, columns string) Attack {
	return Attack{name, func(bytes int) []*kgo.Record {
		var all []*kgo.Record
		for left := bytes; left > 0; {
			number := strconv.Itoa(len(all))
			with := func(text string) string { return strings.ReplaceAll(text, "#", number) }
			r := HostileRow(with(table), with(id), with(columns), "")
			r.Headers[0].Value = strconv.AppendInt(nil, int64(1000+len(all)), 10)
			left -= len(r.Key) + len(r.Value)
			all = append(all, r)
		}
		return all
	}}
}

// Nested opens and shuts so many levels around the inner text.
func Nested(levels int, open, inner, shut string) string {
	return strings.Repeat(open, levels) + inner + strings.Repeat(shut, levels)
}

// WideRecords are records of a row: as many columns as given, under names of each record's own.
func WideRecords(columns, count int) []*kgo.Record {
	all := make([]*kgo.Record, count)
	for n := range all {
		row := make([]string, columns)
		for i := range row {
			row[i] = fmt.Sprintf(`"r%dc%d":1`, n, i)
		}
		all[n] = HostileRow("wide", `"1"`, strings.Join(row, ","), "")
		all[n].Headers[0].Value = strconv.AppendInt(nil, int64(1000+n), 10)
	}
	return all
}

func wideRows(columns int) func(bytes int) []*kgo.Record {
	return func(bytes int) []*kgo.Record {
		return WideRecords(columns, 1+bytes/(12*columns))
	}
}

// inColumn attacks by a value of the column v.
func inColumn(name string, schema string, value func(bytes int) string) Attack {
	return Attack{name, func(bytes int) []*kgo.Record {
		return []*kgo.Record{HostileRow("wild", `"1"`, `"v":`+value(bytes), schema)}
	}}
}

// Attacks are every kind of value, name and record known to have cost more than its size, and the
// neighbours of each.
func Attacks() []Attack {
	const variable = `{"type":"struct","name":"io.debezium.data.VariableScaleDecimal"}`
	const decimal = `{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal",` +
		`"parameters":{"scale":"20000"}}`
	long := strings.Repeat("A", 80_000) + "AQ=="
	all := []Attack{
		inArray("decimals of a large scale", `{"scale":20000,"value":"AQ=="}`, variable),
		inArray("decimals of a negative scale", `{"scale":-20000,"value":"AQ=="}`, variable),
		inArray("decimals of a scale that fits", `{"scale":-6000,"value":"AQ=="}`, variable),
		inArray("the same without a schema", `{"scale":20000,"value":"AQ=="}`, ""),
		inArray("a scale in the schema", `"AQ=="`, decimal),
		inArray("long decimals", `{"scale":9,"value":"`+strings.Repeat("z", 60_000)+`"}`, variable),
		inArray("longer decimals", `{"scale":9,"value":"`+long+`"}`, variable),
		inArray("bits of a long column", `"AQ=="`, `{"type":"bytes",`+
			`"name":"io.debezium.data.Bits","parameters":{"length":"65000",`+
			`"__debezium.source.column.type":"BIT"}}`),
		inArray("times", `1`, `{"type":"int64","name":"io.debezium.time.MicroTimestamp"}`),
		inArray("durations", `1`, `{"type":"int64","name":"io.debezium.time.NanoDuration"}`),
		inArray("numbers", `1`, ""), inArray("nulls", `null`, ""),
		inArray("exponents", `1e-150000`, ""), inArray("zeros", `0e-6000`, ""),
		inArray("special texts", `"NaN"`, ""),
		inArray("empty arrays", `[]`, ""), inArray("empty objects", `{}`, ""),
		inArray("towers of arrays", Nested(50, `[`, ``, `]`), ""),
		inArray("towers of objects", Nested(50, `{"a":`, `1`, `}`), ""),
		inArray("towers of pairs", Nested(50, `{"a":`, `1`, `,"b":1}`), ""),
		inArray("towers of scales", Nested(50, `{"scale":`, `1`, `,"value":1}`), ""),
		inArray("objects with dots", `{"a.b":1,"a\uff0eb":2}`, ""),
		inArray("escapes", `"\u0000\n\ud83d\ude00"`, ""),
		inColumn("deep arrays", "", func(bytes int) string {
			return Nested(50, `[`, Repeated(bytes, `1`), `]`)
		}),
		inColumn("deep objects", "", func(bytes int) string {
			return Nested(50, `{"scale":`, `[`+Repeated(bytes, `1`)+`]`, `,"value":2}`)
		}),
		inColumn("names", "", func(bytes int) string {
			return `{` + Repeated(bytes, `"n#":1`) + `}`
		}),
		inColumn("names with dots", "", func(bytes int) string {
			return `{` + Repeated(bytes, `"a.#":1`) + `}`
		}),
		inColumn("digits", "", func(bytes int) string { return strings.Repeat("9", bytes) }),
		inColumn("fraction", "", func(bytes int) string {
			return "0." + strings.Repeat("3", bytes)
		}),
		inColumn("text", "", func(bytes int) string {
			return `"` + strings.Repeat("x", bytes) + `"`
		}),
		inColumn("backslashes", "", func(bytes int) string {
			return `"` + strings.Repeat(`\\`, bytes/2) + `"`
		}),
		inColumn("decimal of all bytes", `{"field":"v",`+decimal[1:], func(bytes int) string {
			return `"` + base64.StdEncoding.EncodeToString(make([]byte, bytes*3/4)) + `"`
		}),
		inColumn("bits of all bytes", `{"field":"v","type":"bytes","name":"io.debezium.data.Bits"}`,
			func(bytes int) string {
				return `"` + base64.StdEncoding.EncodeToString(make([]byte, bytes*3/4)) + `"`
			}),
		inRows("a table each", "t#", `"1"`, `"v":1`),
		inRows("a row each", "wild", `"#"`, `"v":1`),
		inRows("the same row", "wild", `"1"`, `"v":1`),
		inRows("a column each", "wild", `"1"`, `"v#":1`),
		inRows("a type each in turn", "wild", `"#"`, `"v":"#","w":{"a":1}`),
		inRows("no table", `t#","table":"`, `"1"`, `"v":1`),
		{"40 columns of each record's own", wideRows(40)},
		{"1,000 columns of each record's own", wideRows(1000)},
		{"4,000 columns of each record's own", wideRows(4000)},
	}
	return slices.Concat(all, textAttacks(), envelopeAttacks(), columnAttacks(), rowAttacks(),
		historyAttacks())
}

// textAttacks are the attacks by texts of a type: in an array, and as one long text.
func textAttacks() (all []Attack) {
	for name, text := range map[string]string{
		"io.debezium.time.ZonedTimestamp": "+999999999-12-31T23:59:59.999999999+18:00",
		"io.debezium.time.IsoTimestamp":   "-290308-12-21T19:59:27.6Z",
		"io.debezium.time.IsoDate":        "+5874897-12-31",
		"io.debezium.time.ZonedTime":      "24:00:00.000000+15:59:59",
		"io.debezium.time.Interval":       "P-178000000Y-11M-30DT-23H-59M-59.999999S",
		"io.debezium.data.Json":           `{\"a.b\":[1e-6000,{\"$c\":{}}]}`,
		"io.debezium.data.Xml":            "<a><b/></a>",
		"io.debezium.data.Ltree":          "a.b.c",
		"io.debezium.data.Enum":           "none",
		"io.debezium.data.Uuid":           "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
		"io.debezium.data.Bits":           "AQ==",
		"":                                `[\"2026-11-22 10:00:00+00\",infinity)`,
	} {
		kind := `"type":"string","name":"` + name + `","parameters":{"allowed":"a,b"}`
		short := name[strings.LastIndexByte(name, '.')+1:]
		all = append(all, inArray("texts of "+short, `"`+text+`"`, `{`+kind+`}`),
			inColumn("a long text of "+short, `{"field":"v",`+kind+`}`, func(bytes int) string {
				return `"` + strings.Repeat(text, bytes/len(text)) + `"`
			}))
	}
	for _, column := range []string{"id", "customer_id", "status", "total_amount", "created_at",
		"updated_at", "lab_version"} {
		for _, part := range []string{"9", "1e9", "0.", "-", "2026-11-22T", `\u0041`} {
			all = append(all, Attack{"long " + column + " of " + part,
				func(bytes int) []*kgo.Record {
					r := HostileRow("order", `"`+UUID(1)+`"`, `"`+column+`":"`+
						strings.Repeat(part, bytes/len(part))+`"`, "")
					if column == "id" {
						r = HostileRow("order", `"`+strings.Repeat(part, bytes/len(part))+`"`,
							`"status":"new"`, "")
					}
					return []*kgo.Record{r}
				}})
		}
	}
	return all
}

// historyAttacks are the attacks by rows before, changed keys, ends and truncates.
func historyAttacks() []Attack {
	replaced := func(name string, id, columns string, change func(n int, r *kgo.Record)) Attack {
		rows := inRows(name, "wild", id, columns)
		return Attack{name, func(bytes int) []*kgo.Record {
			all := rows.Of(bytes)
			for n, r := range all {
				change(n, r)
			}
			return all
		}}
	}
	payload := func(r *kgo.Record, old, by string) {
		r.Value = bytes.Replace(r.Value, []byte(old), []byte(by), 1)
	}
	header := func(r *kgo.Record, name, value string) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	return []Attack{
		replaced("rows before", `"1"`, `"v#":1`, func(n int, r *kgo.Record) {
			payload(r, `"before":null`, fmt.Sprintf(`"before":{"id":"1","w%d":2}`, n))
		}),
		replaced("deletes", `"#"`, `"v":1`, func(_ int, r *kgo.Record) {
			payload(r, `"op":"u"`, `"op":"d"`)
		}),
		replaced("truncates", `"#"`, `"v":1`, func(_ int, r *kgo.Record) {
			payload(r, `"op":"u"`, `"op":"t"`)
		}),
		replaced("snapshots", `"#"`, `"v":1`, func(_ int, r *kgo.Record) {
			payload(r, `"op":"u"`, `"op":"r"`)
		}),
		replaced("earlier commits", `"1"`, `"v":1`, func(n int, r *kgo.Record) {
			r.Headers[0].Value = strconv.AppendInt(nil, int64(1_000_000-n), 10)
		}),
		replaced("coming keys", `"#"`, `"v":1`, func(n int, r *kgo.Record) {
			header(r, debezium.HeaderOldKey, fmt.Sprintf(`{"id":"%d"}`, n+1))
			payload(r, `"op":"u"`, `"op":"c"`)
		}),
		replaced("leaving keys", `"#"`, `"v":1`, func(n int, r *kgo.Record) {
			header(r, debezium.HeaderNewKey, fmt.Sprintf(`{"id":"%d"}`, n+1))
			payload(r, `"op":"u"`, `"op":"d"`)
		}),
		replaced("sources of other servers", `"#"`, `"v":1`, func(n int, r *kgo.Record) {
			payload(r, `"name":"cdc"`, fmt.Sprintf(`"name":"cdc","db":"d%d","ts_us":%d`, n, n))
		}),
		replaced("placeholders", `"#"`, `"v":"__debezium_unavailable_value","w":`+
			`["__debezium_unavailable_value"],"x":{"__debezium_unavailable_value":`+
			`"__debezium_unavailable_value"}`, func(int, *kgo.Record) {}),
		replaced("no text", `"#"`, `"v":"`+"\xff\xfe"+`"`, func(int, *kgo.Record) {}),
		replaced("half a pair", `"#"`, `"v":"\ud83d"`, func(int, *kgo.Record) {}),
		replaced("names in snake case", `"1"`, `"a_b#":1,"a_b_#":1,"aB#":2`,
			func(int, *kgo.Record) {}),
	}
}

// envelopeAttacks are the attacks by keys and headers.
func envelopeAttacks() []Attack {
	return []Attack{
		{"keys of many columns", func(bytes int) []*kgo.Record {
			r := HostileRow("wild", `"1"`, Repeated(bytes/2, `"k#":1`), "")
			r.Key = []byte(`{` + Repeated(bytes/2, `"k#":1`) + `}`)
			return []*kgo.Record{r}
		}},
		{"a key of all bytes", func(bytes int) []*kgo.Record {
			return []*kgo.Record{HostileRow("wild", `"`+strings.Repeat("k", bytes/2)+`"`, `"v":1`,
				"")}
		}},
		{"an embedded row of a long key", func(bytes int) []*kgo.Record {
			key := `"` + strings.Repeat("k", bytes/4) + `"`
			r := HostileRow("order_item", key, `"order_id":"`+UUID(1)+`",`+
				Repeated(bytes/2, `"c#":1`), "")
			return []*kgo.Record{r}
		}},
		{"an open text in a header", func(bytes int) []*kgo.Record {
			r := HostileRow("wild", `"1"`, `"v":1`, "")
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: debezium.HeaderOldKey,
				Value: []byte(`{"id":NaN,"a":"` + strings.Repeat(`\"`, bytes/2))})
			return []*kgo.Record{r}
		}},
		{"headers", func(bytes int) []*kgo.Record {
			r := HostileRow("wild", `"1"`, `"v":1`, "")
			for range bytes / 40 {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: debezium.HeaderNewKey,
					Value: []byte(`{"id":NaN}`)})
			}
			return []*kgo.Record{r}
		}},
		{"letters of letters", func(bytes int) []*kgo.Record {
			r := &kgo.Record{Topic: "cdc.public.wild", Value: []byte(`{`)}
			for range bytes / 200 {
				for _, name := range []string{"rule", "reason", "topic", "partition", "offset",
					"timestamp"} {
					r.Headers = append(r.Headers,
						kgo.RecordHeader{Key: "cdc.dead_letter." + name, Value: []byte("1")})
				}
			}
			return []*kgo.Record{r}
		}},
		{"no JSON", func(n int) []*kgo.Record {
			return []*kgo.Record{{Topic: "cdc.public.wild", Value: bytes.Repeat([]byte(`{"`), n/2)}}
		}},
	}
}

// columnAttacks are the attacks by a table's columns.
func columnAttacks() []Attack {
	return []Attack{
		{"towers of schemas", func(bytes int) []*kgo.Record {
			return []*kgo.Record{HostileRow("wild", `"1"`, `"v":1`, `{"field":"v",`+Nested(40,
				`"type":"array","items":{`, `"type":"int64","parameters":{`+
					Repeated(bytes, `"p#":"1"`)+`}`, `}`)+`}`)}
		}},
		{"many fields", func(bytes int) []*kgo.Record {
			return []*kgo.Record{HostileRow("wild", `"1"`, `"v":1`,
				Repeated(bytes, `{"field":"c#","type":"int64"}`))}
		}},
		{"a long name of a column", func(bytes int) []*kgo.Record {
			return []*kgo.Record{HostileRow("wild", `"1"`,
				`"`+strings.Repeat("n", bytes)+`":1`, "")}
		}},
		{"names that become the same", func(bytes int) []*kgo.Record {
			var names []string
			for i, left := 0, bytes; left > 0 && i < 4000; i++ {
				name := fmt.Sprintf("%012b", i)
				name = strings.NewReplacer("0", ".", "1", "\uff0e").Replace(name)
				names, left = append(names, `"`+name+`":1`), left-len(name)-5
			}
			return []*kgo.Record{HostileRow("wild", `"1"`, strings.Join(names, ","), "")}
		}},
	}
}

// rowAttacks are the attacks by many records of the lab's tables.
func rowAttacks() []Attack {
	return []Attack{
		{"orphans of a row", func(bytes int) []*kgo.Record {
			var all []*kgo.Record
			for left := bytes; left > 0; left -= 500 {
				all = append(all, Record("address", debezium.Update, 1000+len(all),
					Columns("id", UUID(1)), nil,
					Columns("id", UUID(1), "customer_id",
						UUID(9), "c"+strconv.Itoa(len(all)), "x")))
			}
			return all
		}},
		{"moves of an embedded row", func(bytes int) []*kgo.Record {
			var all []*kgo.Record
			for left := bytes; left > 0; left -= 500 {
				all = append(all, Item(debezium.Update, 1, 1000+len(all), nil,
					ItemColumns(1, len(all), 1)))
			}
			return all
		}},
		{"values that break rules", func(bytes int) []*kgo.Record {
			var all []*kgo.Record
			for left := bytes; left > 0; left -= 1000 {
				all = append(all, Record("customer", debezium.Update, 1000+len(all),
					Columns("id", UUID(len(all))), nil,
					Columns("id", UUID(len(all)), "email",
						strings.Repeat("x", 500), "status", strings.Repeat("y", 200))))
			}
			return all
		}},
	}
}
