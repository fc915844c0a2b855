package entity

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
)

func optional(t *debezium.Type) *debezium.Type {
	copied := *t
	copied.Optional = true
	return &copied
}

func with(t *debezium.Type, parameters ...string) *debezium.Type {
	copied := *t
	copied.Parameters = map[string]string{}
	for i := 0; i < len(parameters); i += 2 {
		copied.Parameters[parameters[i]] = parameters[i+1]
	}
	return &copied
}

// texts of changes: the column, the kind and the severity.
func changesOf(changes []SchemaChange) []string {
	var all []string
	for _, c := range changes {
		all = append(all, c.Column+" "+string(c.Kind)+" "+string(c.Severity))
	}
	return all
}

// shape is a row {id, v} with a type, and what it is stored as.
type shape struct {
	t    *debezium.Type
	v    string
	want []string
	is   any
}

const leftOut = "left out"

// feed gives a table the shapes one after the other.
func feed(t *testing.T, name string, table *Table, shapes []shape) {
	t.Helper()
	encoder := new(Encoder)
	for i, s := range shapes {
		c := change{key: `{"id":1}`, after: `{"id":1,"v":` + s.v + `}`, types: map[string]*debezium.Type{"v": s.t}, commit: int64(i + 1)}
		if s.t != nil {
			c.types["id"] = named("int32", "")
		}
		e, err := encoder.Encode(table, c.event(t), Facts{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.want, changesOf(e.Changes)); diff != "" {
			t.Errorf("%s, step %d (-want +got):\n%s", name, i, diff)
		}
		got, there := readBack(t, e.Elements)["v"]
		if !there {
			got = leftOut
			if len(e.Violations) != 1 || e.Violations[0].Rule != RuleDrift || e.Violations[0].Severity != Warn {
				t.Errorf("%s, step %d: left out, with %v", name, i, e.Violations)
			}
		} else if len(e.Violations) > 0 {
			t.Errorf("%s, step %d breaks %v", name, i, e.Violations)
		}
		if diff := cmp.Diff(s.is, got, compareStored); diff != "" {
			t.Errorf("%s, step %d is stored as (-want +got):\n%s", name, i, diff)
		}
	}
}

func TestTypeChanges(t *testing.T) {
	t.Parallel()
	i16, i32, i64, text := named("int16", ""), named("int32", ""), named("int64", ""), named("string", "")
	boolean, double := named("boolean", ""), named("double", "")
	p10, p12 := with(scaled(2), "connect.decimal.precision", "10"), with(scaled(2), "connect.decimal.precision", "12")
	p10.Scale, p12.Scale = 2, 2
	v20, v40 := with(text, lengthParameter, "20"), with(text, lengthParameter, "40")
	day, micros, millis := debeziumType("int32", "time.Date"), debeziumType("int64", "time.MicroTimestamp"), debeziumType("int64", "time.Timestamp")
	mood := debeziumType("string", "data.Enum")
	moods, more := with(mood, "allowed", "sad,ok"), with(mood, "allowed", "sad,ok,happy")
	widened, narrowed, incompatible := []string{"v widened info"}, []string{"v narrowed warn"}, []string{"v incompatible error"}
	for name, shapes := range map[string][]shape{
		"ints":             {{i16, `1`, nil, int64(1)}, {i32, `2`, widened, int64(2)}, {i64, `3`, widened, int64(3)}, {i32, `4`, nil, int64(4)}},
		"narrower ints":    {{i64, `1`, nil, int64(1)}, {i32, `2`, narrowed, int64(2)}, {i32, `3`, nil, int64(3)}},
		"int to decimal":   {{i32, `1`, nil, int64(1)}, {p12, `"APo="`, widened, decimal(t, "2.50")}},
		"decimal to int":   {{p12, `"APo="`, nil, decimal(t, "2.50")}, {i32, `2`, narrowed, decimal(t, "2")}},
		"decimals":         {{p10, `"APo="`, nil, decimal(t, "2.50")}, {p12, `"APo="`, widened, decimal(t, "2.50")}},
		"decimal to text":  {{p10, `"APo="`, nil, decimal(t, "2.50")}, {text, `"abc"`, widened, "abc"}, {text, `"2.50"`, nil, "2.50"}},
		"floats":           {{named("float", ""), `1.5`, nil, 1.5}, {double, `2.5`, widened, 2.5}},
		"int to double":    {{i32, `1`, nil, int64(1)}, {double, `2.5`, widened, 2.5}},
		"double to int":    {{double, `2.5`, nil, 2.5}, {i32, `2`, narrowed, 2.0}},
		"bigint to double": {{i64, `1`, nil, int64(1)}, {double, `2.0`, incompatible, int64(2)}, {double, `2.5`, nil, leftOut}},
		"varchar":          {{v20, `"a"`, nil, "a"}, {v40, `"b"`, widened, "b"}, {v20, `"c"`, nil, "c"}},
		"shorter varchar":  {{v40, `"a"`, nil, "a"}, {v20, `"b"`, narrowed, "b"}},
		"date to timestamp": {{day, `20779`, nil, date(t, "2026-11-22T00:00:00Z")},
			{micros, `1795334147000000`, widened, date(t, "2026-11-22T07:55:47Z")}},
		"timestamps":           {{millis, `0`, nil, date(t, "1970-01-01T00:00:00Z")}, {micros, `0`, widened, date(t, "1970-01-01T00:00:00Z")}},
		"timestamp to date":    {{micros, `0`, nil, date(t, "1970-01-01T00:00:00Z")}, {day, `1`, narrowed, date(t, "1970-01-02T00:00:00Z")}},
		"text to int":          {{text, `"a"`, nil, "a"}, {i32, `5`, narrowed, "5"}, {i32, `null`, nil, nil}, {text, `"b"`, nil, "b"}},
		"text to bool":         {{text, `"a"`, nil, "a"}, {boolean, `true`, narrowed, "true"}},
		"text to timestamp":    {{text, `"a"`, nil, "a"}, {micros, `1795334147954888`, narrowed, "2026-11-22T07:55:47.954888Z"}},
		"bool to text":         {{boolean, `true`, nil, true}, {text, `"x"`, widened, "x"}},
		"bool to int":          {{boolean, `true`, nil, true}, {i32, `1`, incompatible, leftOut}, {boolean, `false`, nil, false}},
		"timestamp to int":     {{micros, `0`, nil, date(t, "1970-01-01T00:00:00Z")}, {i32, `1`, incompatible, leftOut}, {i32, `2`, nil, leftOut}},
		"array to text":        {{arrayOf(i32), `[1]`, nil, bson.A{int64(1)}}, {text, `"{1}"`, widened, "{1}"}},
		"text to array":        {{text, `"a"`, nil, "a"}, {arrayOf(i32), `[1]`, incompatible, leftOut}},
		"arrays":               {{arrayOf(i32), `[1]`, nil, bson.A{int64(1)}}, {arrayOf(i64), `[2]`, widened, bson.A{int64(2)}}},
		"arrays of others":     {{arrayOf(i32), `[1]`, nil, bson.A{int64(1)}}, {arrayOf(boolean), `[true]`, incompatible, leftOut}},
		"enum":                 {{moods, `"ok"`, nil, "ok"}, {more, `"happy"`, []string{"v enum_changed info"}, "happy"}, {moods, `"ok"`, nil, "ok"}},
		"enum to text":         {{moods, `"ok"`, nil, "ok"}, {text, `"x"`, widened, "x"}},
		"not null":             {{text, `"a"`, nil, "a"}, {optional(text), `null`, []string{"v nullability info"}, nil}},
		"json numbers":         {{nil, `1`, nil, int64(1)}, {nil, `2.5`, nil, 2.5}, {nil, `"NaN"`, nil, "NaN"}, {nil, `null`, nil, nil}},
		"json number to text":  {{nil, `1`, nil, int64(1)}, {nil, `"a"`, widened, "a"}, {nil, `3`, nil, int64(3)}},
		"json text to number":  {{nil, `"a"`, nil, "a"}, {nil, `1.50`, narrowed, "1.50"}, {nil, `true`, narrowed, "true"}},
		"json late kind":       {{nil, `null`, nil, nil}, {nil, `"NaN"`, nil, "NaN"}, {nil, `1`, nil, int64(1)}, {nil, `true`, incompatible, leftOut}},
		"json bool to object":  {{nil, `true`, nil, true}, {nil, `{"a":1}`, incompatible, leftOut}},
		"json object to array": {{nil, `{"a":1}`, nil, bson.M{"a": int64(1)}}, {nil, `[1]`, incompatible, leftOut}},
		"schemas off":          {{i32, `1`, nil, int64(1)}, {nil, `2`, nil, int64(2)}},
	} {
		feed(t, name, generic(), shapes)
	}
}

// TestTypeChangesOfFields: the kind decides how values are stored. A type that is not the kind's is
// an error, the values that fit are stored, and none is rejected.
func TestTypeChangesOfFields(t *testing.T) {
	t.Parallel()
	i32, i64, text := named("int32", ""), named("int64", ""), named("string", "")
	micros, zoned := debeziumType("int64", "time.MicroTimestamp"), debeziumType("string", "time.ZonedTimestamp")
	incompatible := []string{"v incompatible error"}
	at := date(t, "1970-01-01T00:00:00Z")
	for name, c := range map[string]struct {
		kind   Kind
		shapes []shape
	}{
		"wider int":           {Int, []shape{{i32, `1`, nil, int64(1)}, {i64, `2`, []string{"v widened info"}, int64(2)}}},
		"int to text":         {Int, []shape{{i32, `1`, nil, int64(1)}, {text, `"5"`, incompatible, int64(5)}, {text, `"abc"`, nil, leftOut}, {text, `"05"`, nil, leftOut}, {i32, `2`, nil, int64(2)}}},
		"text from the start": {Int, []shape{{text, `"5"`, incompatible, int64(5)}, {text, `"abc"`, nil, leftOut}}},
		"decimal to text": {Decimal, []shape{{scaled(2), `"APo="`, nil, decimal(t, "2.50")}, {text, `"3.50"`, []string{"v widened info"}, decimal(t, "3.50")},
			{text, `"abc"`, incompatible, leftOut}, {text, `"def"`, nil, leftOut}}},
		"text to int":      {Text, []shape{{text, `"a"`, nil, "a"}, {i32, `5`, []string{"v widened info"}, "5"}}},
		"timestamps":       {Timestamp, []shape{{micros, `0`, nil, at}, {zoned, `"1970-01-01T00:00:00Z"`, []string{"v widened info"}, at}}},
		"timestamp to int": {Timestamp, []shape{{micros, `0`, nil, at}, {i64, `0`, incompatible, leftOut}}},
		"uuid to text":     {UUID, []shape{{debeziumType("string", "data.Uuid"), quote(someUUID), nil, someUUID}, {text, quote(someUUID), []string{"v widened info"}, someUUID}}},
		"bool to text":     {Bool, []shape{{named("boolean", ""), `true`, nil, true}, {text, `"t"`, incompatible, leftOut}}},
	} {
		feed(t, name, tableOf(t, "kind: "+string(c.kind)), c.shapes)
	}
}

// TestBadValueIsNoDrift: a value that its column's own type does not have is a violation.
func TestBadValueIsNoDrift(t *testing.T) {
	t.Parallel()
	for _, typ := range []*debezium.Type{named("int32", ""), nil} {
		table := tableOf(t, "kind: int")
		for _, v := range []string{`1`, `"abc"`, `"abc"`} {
			e := encode(t, table, change{key: `{"id":1}`, after: `{"id":1,"v":` + v + `}`, types: map[string]*debezium.Type{"v": typ}})
			if bad := v != `1`; len(e.Changes) > 0 && typ != nil || bad != (len(e.Violations) == 1 && e.Violations[0].Rule == RuleKind) {
				t.Errorf("%s with type %v: changes %v, violations %v", v, typ, e.Changes, e.Violations)
			}
		}
	}
}

func TestColumnChanges(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][][2]string{
		"added":                    {{`{"a":1}`, ""}, {`{"a":1,"b":"x"}`, "b added info"}, {`{"a":1}`, ""}, {`{"a":2,"b":null}`, ""}},
		"removed":                  {{`{"a":1,"b":"x"}`, ""}, {`{"a":1}`, "b removed warn"}, {`{"a":1,"b":"x"}`, ""}},
		"renamed":                  {{`{"a":1,"b":"x"}`, ""}, {`{"a":1,"c":"x"}`, "c added info, b removed warn, c renamed warn"}},
		"replaced by another type": {{`{"a":1,"b":"x"}`, ""}, {`{"a":1,"c":5}`, "c added info, b removed warn"}},
		"two renamed":              {{`{"a":1,"b":"x"}`, ""}, {`{"c":1,"d":"x"}`, "c added info, d added info, a removed warn, b removed warn"}},
		"another order":            {{`{"a":1,"b":"x"}`, ""}, {`{"b":"x","a":1}`, ""}},
		"added and changed":        {{`{"a":1}`, ""}, {`{"a":"x","b":1}`, "a widened info, b added info"}},
	} {
		table := generic()
		for i, step := range steps {
			e := encode(t, table, change{key: `{"id":1}`, after: step[0]})
			if got := strings.Join(changesOf(e.Changes), ", "); got != step[1] {
				t.Errorf("%s, step %d: %q, want %q", name, i, got, step[1])
			}
		}
	}
	table := generic()
	encode(t, table, change{key: `{"id":1}`, after: `{"a":1,"b":"x"}`})
	changes := encode(t, table, change{key: `{"id":1}`, after: `{"a":1,"c":"x"}`}).Changes
	want := SchemaChange{Entity: "nospec", Column: "c", Kind: Renamed, From: "b", To: "c", Severity: Warn}
	if diff := cmp.Diff(want, changes[2]); diff != "" || changes[2].String() == "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFirstShapeOfSpec: what the Spec says is what is known before the first event.
func TestFirstShapeOfSpec(t *testing.T) {
	t.Parallel()
	row := `"id":` + quote(someUUID) + `,"email":"a@x","updated_at":"2026-11-22T10:00:00Z"`
	for after, want := range map[string]string{
		`{` + row + `,"status":"active"}`:                             "", // lab_version is optional
		`{` + row + `,"status":"active","lab_version":1}`:             "",
		`{` + row + `,"status":"active","lab_version":1,"phone":"1"}`: "phone added info",
		`{` + row + `}`:                  "status removed warn",
		`{` + row + `,"state":"active"}`: "state added info, status removed warn, state renamed warn",
	} {
		table := Default().Table("public", "customer")
		for _, expected := range []string{want, ""} {
			e := encode(t, table, change{key: `{"id":` + quote(someUUID) + `}`, after: after})
			if got := strings.Join(changesOf(e.Changes), ", "); got != expected {
				t.Errorf("%s: %q, want %q", after, got, expected)
			}
			if got := readBack(t, e.Elements); strings.Contains(after, "phone") && got["phone"] != "1" {
				t.Errorf("the new column is not stored: %v", got)
			}
		}
	}
}

// TestOptionalColumns may come and go.
func TestOptionalColumns(t *testing.T) {
	t.Parallel()
	table := tableOf(t, "kind: int, optional: true")
	for _, after := range []string{`{"id":1}`, `{"id":1,"v":1}`, `{"id":1,"v":1,"w":1}`, `{"id":1,"w":1}`} {
		e := encode(t, table, change{key: `{"id":1}`, after: after})
		if got := strings.Join(changesOf(e.Changes), ", "); got != "" && got != "w added info" {
			t.Errorf("%s: %s", after, got)
		}
	}
}

// TestLateShapesAreNoNews: a partition that lags, or a replay by a new process, shows older columns
// after newer ones. They raise nothing, and are stored as they would have been in order.
func TestLateShapesAreNoNews(t *testing.T) {
	t.Parallel()
	table := generic()
	decimals, text := map[string]*debezium.Type{"v": scaled(2)}, map[string]*debezium.Type{"v": named("string", "")}
	for i, c := range []struct {
		change
		changes string
		is      any
	}{
		{change{after: `{"v":"abc","w":1}`, types: text, commit: 100}, "", "abc"},
		{change{after: `{"v":"APo="}`, types: decimals, commit: 50}, "", decimal(t, "2.50")},
		{change{after: `{"v":"APo="}`, types: decimals, commit: 60}, "", decimal(t, "2.50")},
		{change{after: `{"v":"def","w":1}`, types: text, commit: 110}, "", "def"},
		{change{after: `{"v":"def","w":1,"x":2}`, types: text, commit: 120}, "x added info", "def"},
	} {
		c.key = `{"id":1}`
		e := encode(t, table, c.change)
		if got := strings.Join(changesOf(e.Changes), ", "); got != c.changes {
			t.Errorf("step %d: %q, want %q", i, got, c.changes)
		}
		if diff := cmp.Diff(c.is, readBack(t, e.Elements)["v"], compareStored); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestDriftIsShared: partitions share what they saw; two Decoders have other Types of one schema.
func TestDriftIsShared(t *testing.T) {
	t.Parallel()
	table := generic()
	var mu sync.Mutex
	seen := map[string]int{}
	var partitions sync.WaitGroup
	for range 4 {
		partitions.Go(func() {
			var encoder Encoder
			types := map[string]*debezium.Type{"v": named("int32", ""), "w": named("string", "")}
			for i := range 50 {
				after := `{"v":1}`
				if i >= 10 {
					after = `{"v":1,"w":"x"}`
				}
				e, err := encoder.Encode(table, change{key: `{"id":1}`, after: after, types: types}.event(t), Facts{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, c := range changesOf(e.Changes) {
					seen[c]++
				}
				mu.Unlock()
			}
		})
	}
	partitions.Wait()
	// Whoever is first to have the second column makes the first shape's absence no news.
	if len(seen) > 1 || seen["w added info"] > 1 {
		t.Errorf("reported %v", seen)
	}
}

// TestShapesAreBounded: columns that come and go do not fill the memory.
func TestShapesAreBounded(t *testing.T) {
	t.Parallel()
	table := generic()
	for i := range 3 * plansMax {
		encode(t, table, change{key: `{"id":1}`, after: `{"c` + strings.Repeat("x", i) + `":1}`})
	}
	if len(table.plans) > plansMax {
		t.Errorf("%d shapes are kept", len(table.plans))
	}
}

// TestNullsTellNothing: without schemas a column is known by its values.
func TestNullsTellNothing(t *testing.T) {
	t.Parallel()
	table, encoder := generic(), new(Encoder)
	for _, after := range []string{`{"a":null,"b":null}`, `{"a":1,"b":null}`, `{"a":null,"b":"x"}`, `{"a":2,"b":"y"}`, `{"a":null,"b":null}`} {
		e, err := encoder.Encode(table, change{key: `{"id":1}`, after: after}.event(t), Facts{})
		if err != nil || len(e.Changes) > 0 {
			t.Errorf("%s: %v, %v", after, e.Changes, err)
		}
	}
	if len(table.plans) != 1 {
		t.Errorf("%d shapes of one table", len(table.plans))
	}
}
