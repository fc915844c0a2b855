package encode

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// The reported kinds of the changes of column v.
var (
	widened      = []string{"v widened info"}
	narrowed     = []string{"v narrowed warn"}
	incompatible = []string{"v incompatible error"}
)

// TestNumberChanges: a type of numbers becomes another, or text.
func TestNumberChanges(t *testing.T) {
	t.Parallel()
	i16, i32, i64 := named("int16", ""), named("int32", ""), named("int64", "")
	double, text := named("double", ""), named("string", "")
	p10 := with(scaled(2), debezium.ParameterPrecision, "10")
	p12 := with(scaled(2), debezium.ParameterPrecision, "12")
	p10.Scale, p12.Scale = 2, 2
	for name, shapes := range map[string][]shape{
		"ints": {{i16, `1`, nil, int64(1)}, {i32, `2`, widened, int64(2)},
			{i64, `3`, widened, int64(3)}, {i32, `4`, nil, int64(4)}},
		"narrower ints": {{i64, `1`, nil, int64(1)}, {i32, `2`, narrowed, int64(2)},
			{i32, `3`, nil, int64(3)}},
		"int to decimal": {{i32, `1`, nil, int64(1)},
			{p12, `"APo="`, widened, decimal(t, "2.50")}},
		"decimal to int": {{p12, `"APo="`, nil, decimal(t, "2.50")},
			{i32, `2`, narrowed, decimal(t, "2")}},
		"decimals": {{p10, `"APo="`, nil, decimal(t, "2.50")},
			{p12, `"APo="`, widened, decimal(t, "2.50")}},
		"decimal to text": {{p10, `"APo="`, nil, decimal(t, "2.50")},
			{text, `"abc"`, widened, "abc"}, {text, `"2.50"`, nil, "2.50"}},
		"floats":        {{named("float", ""), `1.5`, nil, 1.5}, {double, `2.5`, widened, 2.5}},
		"int to double": {{i32, `1`, nil, int64(1)}, {double, `2.5`, widened, 2.5}},
		"double to int": {{double, `2.5`, nil, 2.5}, {i32, `2`, narrowed, 2.0}},
		"bigint to double": {{i64, `1`, nil, int64(1)}, {double, `2.0`, incompatible, int64(2)},
			{double, `2.5`, nil, leftOut}},
	} {
		feed(t, name, generic(), shapes)
	}
}

// TestJSONChanges: without schemas a column's type is the type of its values.
func TestJSONChanges(t *testing.T) {
	t.Parallel()
	i32 := named("int32", "")
	for name, shapes := range map[string][]shape{
		"json numbers": {{nil, `1`, nil, int64(1)}, {nil, `2.5`, nil, 2.5},
			{nil, `"NaN"`, nil, "NaN"}, {nil, `null`, nil, nil}},
		"json number to text": {{nil, `1`, nil, int64(1)}, {nil, `"a"`, widened, "a"},
			{nil, `3`, nil, int64(3)}},
		"json text to number": {{nil, `"a"`, nil, "a"}, {nil, `1.50`, narrowed, "1.50"},
			{nil, `true`, narrowed, "true"}},
		"json late kind": {{nil, `null`, nil, nil}, {nil, `"NaN"`, nil, "NaN"},
			{nil, `1`, nil, int64(1)}, {nil, `true`, incompatible, leftOut}},
		"json bool to object": {{nil, `true`, nil, true}, {nil, `{"a":1}`, incompatible, leftOut}},
		"json object to array": {{nil, `{"a":1}`, nil, bson.M{"a": int64(1)}},
			{nil, `[1]`, incompatible, leftOut}},
		"schemas off": {{i32, `1`, nil, int64(1)}, {nil, `2`, nil, int64(2)}},
	} {
		feed(t, name, generic(), shapes)
	}
}

func TestTypeChanges(t *testing.T) {
	t.Parallel()
	i32, i64, text := named("int32", ""), named("int64", ""), named("string", "")
	boolean := named("boolean", "")
	v20 := with(text, debezium.ParameterColumnLength, "20")
	v40 := with(text, debezium.ParameterColumnLength, "40")
	day, millis := debeziumType("int32", "time.Date"), debeziumType("int64", "time.Timestamp")
	micros := debeziumType("int64", "time.MicroTimestamp")
	mood := debeziumType("string", "data.Enum")
	moods, more := with(mood, "allowed", "sad,ok"), with(mood, "allowed", "sad,ok,happy")
	for name, shapes := range map[string][]shape{
		"varchar": {{v20, `"a"`, nil, "a"}, {v40, `"b"`, widened, "b"},
			{v20, `"c"`, nil, "c"}},
		"shorter varchar": {{v40, `"a"`, nil, "a"}, {v20, `"b"`, narrowed, "b"}},
		"date to timestamp": {{day, `20779`, nil, date(t, "2026-11-22T00:00:00Z")},
			{micros, `1795334147000000`, widened, date(t, "2026-11-22T07:55:47Z")}},
		"timestamps": {{millis, `0`, nil, date(t, "1970-01-01T00:00:00Z")},
			{micros, `0`, widened, date(t, "1970-01-01T00:00:00Z")}},
		"timestamp to date": {{micros, `0`, nil, date(t, "1970-01-01T00:00:00Z")},
			{day, `1`, narrowed, date(t, "1970-01-02T00:00:00Z")}},
		"text to int": {{text, `"a"`, nil, "a"}, {i32, `5`, narrowed, "5"},
			{i32, `null`, nil, nil}, {text, `"b"`, nil, "b"}},
		"text to bool": {{text, `"a"`, nil, "a"}, {boolean, `true`, narrowed, "true"}},
		"text to timestamp": {{text, `"a"`, nil, "a"},
			{micros, `1795334147954888`, narrowed, "2026-11-22T07:55:47.954888Z"}},
		"bool to text": {{boolean, `true`, nil, true}, {text, `"x"`, widened, "x"}},
		"bool to int": {{boolean, `true`, nil, true}, {i32, `1`, incompatible, leftOut},
			{boolean, `false`, nil, false}},
		"timestamp to int": {{micros, `0`, nil, date(t, "1970-01-01T00:00:00Z")},
			{i32, `1`, incompatible, leftOut}, {i32, `2`, nil, leftOut}},
		"array to text": {{arrayOf(i32), `[1]`, nil, bson.A{int64(1)}},
			{text, `"{1}"`, widened, "{1}"}},
		"text to array": {{text, `"a"`, nil, "a"},
			{arrayOf(i32), `[1]`, incompatible, leftOut}},
		"arrays": {{arrayOf(i32), `[1]`, nil, bson.A{int64(1)}},
			{arrayOf(i64), `[2]`, widened, bson.A{int64(2)}}},
		"arrays of others": {{arrayOf(i32), `[1]`, nil, bson.A{int64(1)}},
			{arrayOf(boolean), `[true]`, incompatible, leftOut}},
		"enum": {{moods, `"ok"`, nil, "ok"},
			{more, `"happy"`, []string{"v enum_changed info"}, "happy"},
			{moods, `"ok"`, nil, "ok"}},
		"enum to text": {{moods, `"ok"`, nil, "ok"}, {text, `"x"`, widened, "x"}},
		"not null": {{text, `"a"`, nil, "a"},
			{optional(text), `null`, []string{"v nullability info"}, nil}},
	} {
		feed(t, name, generic(), shapes)
	}
}

// TestTypeChangesOfFields: the kind decides how values are stored. A type outside the kind is an
// error, the values that fit are stored, and none is rejected.
func TestTypeChangesOfFields(t *testing.T) {
	t.Parallel()
	i32, i64, text := named("int32", ""), named("int64", ""), named("string", "")
	micros, zoned := debeziumType("int64", "time.MicroTimestamp"), debeziumType("string",
		"time.ZonedTimestamp")
	incompatible := []string{"v incompatible error"}
	at := date(t, "1970-01-01T00:00:00Z")
	for name, c := range map[string]struct {
		kind   entity.Kind
		shapes []shape
	}{
		"wider int": {entity.Int,
			[]shape{{i32, `1`, nil, int64(1)}, {i64, `2`, []string{"v widened info"}, int64(2)}}},
		"int to text": {entity.Int,
			[]shape{{i32, `1`, nil, int64(1)}, {text, `"5"`, incompatible, int64(5)},
				{text, `"abc"`, nil, leftOut}, {text, `"05"`, nil, leftOut},
				{i32, `2`, nil, int64(2)}}},
		"text from the start": {entity.Int,
			[]shape{{text, `"5"`, incompatible, int64(5)}, {text, `"abc"`, nil, leftOut}}},
		"decimal to text": {entity.Decimal,
			[]shape{{scaled(2), `"APo="`, nil, decimal(t, "2.50")},
				{text, `"3.50"`, []string{"v widened info"}, decimal(t, "3.50")},
				{text, `"abc"`, incompatible, leftOut}, {text, `"def"`, nil, leftOut}}},
		"text to int": {entity.Text,
			[]shape{{text, `"a"`, nil, "a"}, {i32, `5`, []string{"v widened info"}, "5"}}},
		"timestamps": {entity.Timestamp,
			[]shape{{micros, `0`, nil, at},
				{zoned, `"1970-01-01T00:00:00Z"`, []string{"v widened info"}, at}}},
		"timestamp to int": {entity.Timestamp,
			[]shape{{micros, `0`, nil, at}, {i64, `0`, incompatible, leftOut}}},
		"uuid to text": {entity.UUID,
			[]shape{{debeziumType("string", "data.Uuid"), quote(someUUID), nil, someUUID},
				{text, quote(someUUID), []string{"v widened info"}, someUUID}}},
		"bool to text": {entity.Bool,
			[]shape{{named("boolean", ""), `true`, nil, true},
				{text, `"t"`, incompatible, leftOut}}},
	} {
		feed(t, name, tableOf(t, "kind: "+string(c.kind)), c.shapes)
	}
}
