package encode

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// legalRow draws a row of a lab entity as PostgreSQL would take it and the lab's applications
// write, in any of Debezium's modes.
func legalRow(t *rapid.T, spec *entity.Spec,
	typed bool) (row string, types map[string]*debezium.Type) {
	types = map[string]*debezium.Type{}
	var members []string
	for _, f := range spec.Fields {
		if f.Optional && rapid.Bool().Draw(t, "without "+f.Column) {
			continue
		}
		value, typ := legalValue(t, f)
		if !f.Required && rapid.IntRange(0, 3).Draw(t, "null") == 0 {
			value = "null"
		}
		if !typed && strings.Contains(value, "=") {
			value = `"1.50"` // a precise decimal needs a scale
		}
		types[f.Column] = typ
		members = append(members, quote(f.Column)+":"+value)
	}
	if rapid.Bool().Draw(t, "another column") {
		members = append(members,
			`"note":`+rapid.SampledFrom([]string{`null`, `"x"`, `1`, `[true]`}).Draw(t, "note"))
	}
	if !typed {
		types = nil
	}
	return "{" + strings.Join(members, ",") + "}", types
}

func legalValue(t *rapid.T, f entity.Field) (string, *debezium.Type) {
	text := named("string", "")
	switch {
	case f.Kind == entity.UUID:
		return quote(legalUUID(t)), debeziumType("string", "data.Uuid")
	case len(f.Enum) > 0:
		values := append([]string{"done", "t1"}, f.Enum...)
		return quote(rapid.SampledFrom(values).Draw(t, f.Column)), text
	case f.Format == entity.Email:
		address := `[a-zA-Z0-9_+-]{1,20}(\.[a-z0-9]{1,5})?@[a-z0-9]{1,10}(\.[a-z0-9]{2,5}){0,2}`
		return quote(rapid.StringMatching(address).Draw(t, f.Column)), text
	case f.Kind == entity.Text:
		return quote(rapid.String().Draw(t, f.Column)), text
	case f.Kind == entity.Bool:
		return fmt.Sprint(rapid.Bool().Draw(t, f.Column)), named("boolean", "")
	case f.Kind == entity.Int:
		return fmt.Sprint(rapid.Int64Range(1, 1<<62).Draw(t, f.Column)), named("int64", "")
	case f.Kind == entity.Decimal:
		if rapid.Bool().Draw(t, "precise") {
			return `"APo="`, scaled(rapid.IntRange(0, 4).Draw(t, "scale"))
		}
		return quote(fmt.Sprintf("%d.%02d", rapid.Uint32().Draw(t, f.Column),
			rapid.IntRange(0, 99).Draw(t, "cents"))), text
	}
	at := commit.Add(-time.Duration(rapid.Int64Range(0, 1e15).Draw(t, f.Column)))
	return quote(at.Format("2006-01-02T15:04:05.000000Z")),
		debeziumType("string", "time.ZonedTimestamp")
}

func legalUUID(t *rapid.T) string {
	version4 := `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	return rapid.StringMatching(version4).Draw(t, "uuid")
}

// TestLegalIsNeverRejected: no row of the lab's applications is rejected, recorded or replayed at
// any time, in any order, with placeholders for unchanged values.
func TestLegalIsNeverRejected(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := entity.Default()
		tables := NewTables(r)
		encoder := new(Encoder)
		for range rapid.IntRange(1, 6).Draw(t, "events") {
			spec := rapid.SampledFrom(r.All()).Draw(t, "entity")
			typed := rapid.Bool().Draw(t, "schemas")
			schema, name, _ := strings.Cut(spec.Table, ".")
			c := change{key: `{"id":` + quote(legalUUID(t)) + `}`, commit: commit.UnixMicro()}
			c.op = rapid.SampledFrom([]debezium.Op{debezium.Create, debezium.Update, debezium.Read,
				debezium.Delete}).Draw(t, "op")
			row, types := legalRow(t, spec, typed)
			if c.types = types; c.op == debezium.Delete {
				c.before = row
			} else if c.after = row; c.op == debezium.Update && rapid.Bool().Draw(t, "full") {
				c.before, _ = legalRow(t, spec, typed)
			}
			facts := Facts{Recorded: commit.Add(time.Duration(rapid.Int64Range(-1e9, 1e17).Draw(t,
				"recorded")))}
			for range 2 { // the second time is a replay
				e, err := encoder.Encode(tables.Table(schema, name), c.event(t), facts)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range e.Violations {
					if v.Severity != entity.Warn {
						t.Fatalf("%s %s is rejected: %v", name, c.after, v)
					}
				}
				readBack(t, e.Elements)
			}
		}
	})
}

// fuzzTypes are the types for the column of FuzzEncode; the first is none.
var fuzzTypes = func() []*debezium.Type {
	all := []*debezium.Type{nil, scaled(2), scaled(-3), scaled(1 << 30), bitsOf("8"), arrayOf(nil)}
	for name := range forms {
		for _, connect := range []string{"string", "int64", "struct"} {
			all = append(all, named(connect, name))
		}
	}
	for _, connect := range []string{"int8", "int64", "float", "double", "boolean", "string",
		"bytes", "array", "map", "struct", "x"} {
		all = append(all, named(connect, ""))
	}
	for _, t := range all[1:] {
		all = append(all, arrayOf(t))
	}
	return all
}()

// FuzzEncode: any JSON value in a column of any kind and type is stored as BSON or reported, and
// the stored value has a text.
func FuzzEncode(f *testing.F) {
	for _, seed := range []string{`null`, `true`, `-0`, `1e999999999999`, `0.1e-7000`, `"1.50"`,
		`"-1e-6176"`, `"NaN"`, quote(someUUID),
		`"2026-11-22T10:00:01.123456789Z"`, `"-0043-03-15T12:00:00Z"`, `"APo="`,
		`{"scale":-5,"value":"gA=="}`, `[[[1],null],{"a.b":{"$":1}}]`,
		`9223372036825200000`, `-9223372036854775808`, `"P1Y2M3DT4H5M6.789S"`, `"24:00:00"`,
		`"\u0000"`, `"infinity"`,
		quote("1" + strings.Repeat("0", 7000)), "{\"a\\u0000b\":1,\"ab\":2}", `-2147472692`,
		`"__debezium_unavailable_value"`} {
		f.Add(seed, uint64(1))
	}
	tables := map[entity.Kind]*Table{}
	for _, kind := range slices.Sorted(maps.Keys(untyped)) {
		tables[kind] = tableOf(f, "kind: "+string(kind))
	}
	plain := []string{"enum: [a]", "format: email", "transitions: {a: [b]}"}
	for i, rule := range plain {
		tables[entity.Kind(fmt.Sprint(i))] = tableOf(f, "kind: text, "+rule)
	}
	tables["range"] = tableOf(f, "kind: decimal, min: -1E-6000, max: 5.5")
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		if _, err := parseValue(text); err != nil {
			t.Skip()
		}
		random := rand.New(rand.NewPCG(seed, 1))
		encoder := new(Encoder)
		for range 2 {
			typ := fuzzTypes[random.IntN(len(fuzzTypes))]
			for kind, table := range tables {
				fuzzOne(t, encoder, kind, table, text, typ, random.IntN(2) == 0)
			}
			fuzzOne(t, encoder, "", generic(), text, typ, false)
		}
	})
}

func fuzzOne(t *testing.T, encoder *Encoder, kind entity.Kind, table *Table, text string,
	typ *debezium.Type, noRules bool) {
	c := change{key: `{"id":1,"k":` + text + `}`, before: `{"v":` + text + `}`,
		after: `{"v":` + text + `}`,
		types: map[string]*debezium.Type{"v": typ, "k": typ}}
	e, err := encoder.Encode(table, c.event(t), Facts{NoRules: noRules})
	if err != nil {
		var key *KeyError
		if text = strings.TrimSpace(text); text == "null" ||
			errors.As(err, &key) && strings.Contains(key.Reason, "bytes in the key, at most") {
			return
		}
		t.Fatalf("%s %s: %v", kind, text, err)
	}
	stored := readBack(t, e.Elements)
	value, there := stored["v"]
	if !there && len(e.Violations) == 0 && len(e.Missing) == 0 {
		t.Fatalf("%s %s as %v vanished", kind, text, typ)
	}
	if field := table.fields["v"]; field != nil && !noRules && value != nil {
		if _, _, err := field.Text(value); err != nil {
			t.Fatalf("%s %s is stored as %v and has no text: %v", kind, text, value, err)
		}
	}
	if kind == entity.Decimal {
		field := entity.Field{Kind: entity.Decimal}
		if canonical, err := field.PostgresText(text); err == nil {
			if again, err := field.PostgresText(canonical); err != nil || again != canonical {
				t.Errorf("decimal %q became %q, then %q, %v", text, canonical, again, err)
			}
		}
	}
}
