package debezium

import (
	"encoding/json"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

// withColumn is a good record with the text as a column of after.
func withColumn(text string) []byte {
	return []byte(`{"before":null,"after":{"id":1,"v":` + text + `},` + goodSource +
		`,"op":"c","ts_us":1}`)
}

// TestBadJSON: everything refused by encoding/json is refused, in every place, and some more.
func TestBadJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"1.2.3", "01", "-", "+1", ".5", "1.", "1e", "0x10", "NaN", "nan", "Infinity", "-Inf", "--1",
		"1_000",
		"\"a\nb\"", "\"a\x00b\"", "\"a\tb\"", `"\x"`, `"\u12"`, `"\u12g4"`, `"a`, `'a'`, "tru",
		"nulll", "True", "",
		"[1,]", "[,1]", "[1 2]", "[", "]", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{1:2}`,
		`{"a":1 "b":2}`, "{]", "[}",
		"1,", "1}{", "/*x*/1", "1//x\n", "\"\xff\"", "\"\xed\xa0\x80\"", "\v1", "\ufeff1",
	} {
		value := withColumn(text)
		if json.Valid(value) && utf8.ValidString(text) {
			t.Fatalf("%q is legal", text)
		}
		for place, record := range map[string][2][]byte{
			"key":   {[]byte(`{"id":` + text + `}`), withColumn("1")},
			"value": {nil, value},
			"wrapped": {nil, []byte(`{"schema":{"type":"struct"},"payload":` + string(value) +
				`}`)},
			"schema": {nil, []byte(`{"schema":{"type":` + text + `},"payload":` +
				string(withColumn("1")) + `}`)},
			"ignored": {nil, []byte(strings.Replace(string(withColumn("1")), `"op"`,
				`"transaction":`+text+`,"op"`, 1))},
		} {
			var d Decoder
			for range 2 {
				_, err := d.Decode(record[0], record[1], nil)
				var format *FormatError
				if !errors.As(err, &format) {
					t.Errorf("%q in the %s: %v", text, place, err)
				}
			}
			if _, err := d.Decode(nil, withColumn("1"), nil); err != nil {
				t.Errorf("after %q in the %s a good record is refused: %v", text, place, err)
			}
		}
	}
}

// TestKnownBlockThenGarbage: a known schema block does not excuse garbage behind the block.
func TestKnownBlockThenGarbage(t *testing.T) {
	t.Parallel()
	const block = `{"schema":{"type":"struct","fields":[]},"payload":`
	good := string(withColumn("1"))
	for _, rest := range []string{
		"", "{", good, good + "]", good + "}}", good + "} x", good + `,"payload":1}`,
		good + `,"a":1,}`, "null}x", "5", `"`,
	} {
		var d Decoder
		for range 2 {
			if _, err := d.Decode(nil, []byte(block+good+"}"), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Decode(nil, []byte(block+rest), nil); err == nil {
				t.Errorf("%.40q is accepted", rest)
			}
		}
	}
	for _, rest := range []string{good + " }\n", good + `,"more":1}`} {
		var d Decoder
		for range 2 {
			if e, err := d.Decode(nil, []byte(block+rest), nil); err != nil ||
				e.After.Get("v") == nil {
				t.Errorf("%.40q: %v", rest, err)
			}
		}
	}
}

func TestTwice(t *testing.T) {
	t.Parallel()
	good := string(withColumn("1"))
	const key = `{"id":1}`
	for _, c := range []struct{ key, value, want string }{
		{`{"id":1,"id":2}`, good, "key.id: is there twice"},
		{`{"id":1,"\u0069d":2}`, good, "key.id: is there twice"},
		{key, string(withColumn(`1,"v":1`)), "after.v: is there twice"},
		{key, string(withColumn(`1,"w":1,"id":1`)), "after.id: is there twice"},
		{key, string(withColumn(`{"a":1,"a":2}`)), "after.v: has a member twice"},
		{key, string(withColumn(`[{"a":{"b":1,"b":1}}]`)), "after.v: has a member twice"},
		{key, good[:len(good)-1] + `,"op":"c"}`, "op: is there twice"},
		{key, good[:len(good)-1] + `,"after":{}}`, "after: is there twice"},
		{key, strings.Replace(good, `"lsn":20`, `"lsn":20,"lsn":21`, 1),
			"source.lsn: is there twice"},
		{key, strings.Replace(good, `"db":"lab"`, `"db":"lab","db":"lab"`, 1),
			"source.db: is there twice"},
		{key, `{"schema":{"type":"struct","type":"struct"},"payload":` + good + `}`,
			"schema: cannot be read"},
		{key, `{"schema":{},"schema":{},"payload":` + good + `}`, "schema: is there twice"},
		{`{"schema":{"type":"struct","fields":[{"field":"id"},{"field":"id"}]},"payload":{"id":1}}`,
			good, "key: its schema"},
	} {
		var d Decoder
		if _, err := d.Decode([]byte(key), []byte(good), nil); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time with the names of the first in memory
			_, err := d.Decode([]byte(c.key), []byte(c.value), nil)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s with key %s: error %v, want %q", c.value, c.key, err, c.want)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	objects := func(levels int) string {
		return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
	}
	wrapped := func(value []byte) []byte {
		return []byte(`{"schema":null,"payload":` + string(value) + `}`)
	}
	columns := func(n int) []byte {
		var b strings.Builder
		for i := range n {
			b.WriteString(`0,"c` + strconv.Itoa(i) + `":`)
		}
		return withColumn(b.String() + "0")
	}
	good := withColumn("1")
	for name, c := range map[string]struct {
		key, value []byte
		headers    []Header
		want       string
	}{
		"long value": {nil, withColumn(`"` + strings.Repeat("x", 1<<16) + `"`), nil,
			"value: has 65"},
		"long key": {[]byte(`{"id":"` + strings.Repeat("x", 1<<16) + `"}`), good, nil,
			"key: has 65545 bytes, the limit is 65536"},
		"long header": {nil, good, []Header{{HeaderOldKey, make([]byte, 1<<17)}},
			"header __debezium.oldkey: has 131072 bytes, the limit is 65536"},
		"deep arrays": {nil, withColumn(nested(19)), nil,
			"after.v: nests deeper than 20 levels"},
		"deep objects": {nil, withColumn(objects(19)), nil,
			"after.v: nests deeper than 20 levels"},
		"deep, wrapped": {nil, wrapped(withColumn(nested(18))), nil,
			"after.v: nests deeper than 20 levels"},
		"deep, ignored": {nil,
			[]byte(strings.Replace(string(good), `"op"`, `"more":`+nested(20)+`,"op"`, 1)), nil,
			"value: nests deeper than 20 levels"},
		"deep key": {[]byte(`{"id":` + nested(20) + `}`), good, nil,
			"key.id: nests deeper than 20 levels"},
		"deep schema": {nil,
			[]byte(`{"schema":{"a":` + nested(100) + `},"payload":` + string(good) + `}`), nil,
			"schema: cannot be read"},
		"deepest arrays": {nil, withColumn(nested(18)), nil, ""},
		"deepest object": {nil, withColumn(objects(18)), nil, ""},
		"deepest key":    {[]byte(`{"id":` + nested(19) + `}`), good, nil, ""},
		"open arrays":    {nil, withColumn(strings.Repeat("[", 50_000)), nil, "value: is bad JSON"},
		"many columns":   {nil, columns(maxColumns), nil, "after: has more than 4096 columns"},
		"brackets":       {nil, withColumn(`["` + strings.Repeat("[", 100) + `"]`), nil, ""},
	} {
		d := Decoder{MaxBytes: 1 << 16, MaxDepth: 20}
		for range 2 {
			_, err := d.Decode(c.key, c.value, c.headers)
			if err == nil && c.want != "" ||
				err != nil && (c.want == "" || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("%s: error %v, want %q", name, err, c.want)
			}
		}
	}
}

// nested are arrays in arrays.
func nested(levels int) string {
	return strings.Repeat("[", levels) + strings.Repeat("]", levels)
}

func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	if _, err := decodeRecord(nil, withColumn(nested(DefaultMaxDepth-2)), nil); err != nil {
		t.Error(err)
	}
	if _, err := decodeRecord(nil, withColumn(nested(DefaultMaxDepth-1)), nil); err == nil {
		t.Error("there is no limit on nesting by default")
	}
	if _, err := decodeRecord(nil, make([]byte, DefaultMaxBytes+1), nil); err == nil ||
		!strings.Contains(err.Error(), "33554433 bytes") {
		t.Errorf("error %v", err)
	}
}

// TestMemory: a hostile record costs little beside its own bytes. Not parallel, because the test
// counts the process' allocations.
func TestMemory(t *testing.T) {
	const size = 2 << 20
	many := func(member string) string {
		return strings.Repeat(member+",",
			size/len(member)) + member
	}
	var names strings.Builder
	for i := 0; names.Len() < size; i++ {
		names.WriteString(`1,"` + strconv.Itoa(i) + `":`)
	}
	for name, value := range map[string][]byte{
		"array":   withColumn("[" + many("1") + "]"),
		"arrays":  withColumn("[" + many("[]") + "]"),
		"objects": withColumn("[" + many("{}") + "]"),
		"object":  withColumn(`{"a":` + names.String() + "1}"),
		"columns": withColumn(names.String() + "1"),
		"other":   []byte(`{"a":` + names.String() + "1}"),
		"escapes": withColumn(`"` + strings.Repeat(`\n`, size/2) + `"`),
		"open":    []byte(strings.Repeat(`{"a":`, size/5)),
		"schema": []byte(`{"schema":{"fields":[` + many("{}") + `]},"payload":` +
			string(withColumn("1")) + `}`),
	} {
		var d Decoder
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		e, err := d.Decode(nil, value, nil)
		for _, c := range e.After {
			c.Value.Unavailable()
		}
		runtime.ReadMemStats(&after)
		got := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %d KiB, error %.60v", name, got>>10, err)
		if got > 2*size {
			t.Errorf("%s: a record of %d KiB takes %d KiB", name, len(value)>>10, got>>10)
		}
	}
}

// TestAllocations: in the steady state an event costs no memory. Not parallel, because the test
// counts the process' allocations.
func TestAllocations(t *testing.T) {
	for _, c := range corpus.Own(t) {
		var changes []corpus.Record
		for _, r := range c.Records(t) {
			if rejection(c, r) == "" {
				changes = append(changes, r)
			}
		}
		if len(changes) == 0 {
			continue
		}
		decoders := map[string]*Decoder{}
		allocations := testing.AllocsPerRun(20, func() {
			for i := range changes {
				r := &changes[i]
				d := decoders[r.Topic]
				if d == nil {
					d = new(Decoder)
					decoders[r.Topic] = d
				}
				if _, err := d.Decode(r.Key, r.Value, nil); err != nil {
					t.Fatal(err)
				}
			}
		})
		if each := allocations / float64(len(changes)); each > 0.5 {
			t.Errorf("%s: %.1f allocations for each event", c.Name(), each)
		}
	}
}
