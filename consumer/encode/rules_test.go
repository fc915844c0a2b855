package encode

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// The commit of the tests' events.
var commit = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func TestRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field, value string
		want         []string // broken rules
	}{
		{"kind: text, required: true", `null`, []string{"required v reject"}},
		{"kind: text", `null`, nil},
		{"kind: text, enum: [a, b]", `"b"`, nil},
		{"kind: text, enum: [a, b]", `"B"`, []string{"enum v reject"}},
		{"kind: text, enum: [a, b]", `null`, nil}, {"kind: int, enum: [1, 2]", `2`, nil},
		{"kind: int, enum: [1, 2]", `3`, []string{"enum v reject"}},
		{"kind: text, format: uuid", quote(someUUID), nil},
		{"kind: text, format: uuid", `"x"`, []string{"format v reject"}},
		{"kind: int, min: 1", `1`, nil}, {"kind: int, min: 1", `0`, []string{"range v reject"}},
		{"kind: int, min: -5, max: 5", `-6`, []string{"range v reject"}},
		{"kind: int, min: 0.5", `1`, nil},
		{"kind: int, min: 0.5", `0`, []string{"range v reject"}},
		{"kind: decimal, min: 0", `"0.00"`, nil}, {"kind: decimal, min: 0", `"-0.00"`, nil},
		{"kind: decimal, min: 0", `"-0.01"`, []string{"range v reject"}},
		{"kind: decimal, max: 9.995", `"9.9950"`, nil},
		{"kind: decimal, max: 9.995", `"9.996"`, []string{"range v reject"}},
		{"kind: decimal, max: 1", `"NaN"`, []string{"range v reject"}},
		{"kind: decimal, max: 1", `"Infinity"`, []string{"range v reject"}},
		{"kind: decimal, min: 1", `"Infinity"`, nil},
		{"kind: decimal, min: 1", `"-Infinity"`, []string{"range v reject"}},
		{"kind: decimal, max: 1", quote(strings.Repeat("9", 40)), []string{"range v reject"}},
		{"kind: decimal, max: 1", quote("-" + strings.Repeat("9", 40)), nil},
		{"kind: decimal, min: 1E-6000, max: 1E+6000", `"1"`, nil},
		{"kind: double, min: 0.1", `0.1`, nil},
		{"kind: double, min: 0.1", `0.05`, []string{"range v reject"}},
		{"kind: double, max: 1", `"NaN"`, []string{"range v reject"}},
		{"kind: timestamp, not_after: 5m", `"2026-11-22T10:05:00Z"`, nil},
		{"kind: timestamp, not_after: 5m", `"2026-11-22T10:05:00.000001Z"`,
			[]string{"not_after v warn"}},
		{"kind: timestamp, not_after: 5m", `"infinity"`, nil},
		{"kind: timestamp, not_after: 5m", `"+10000-01-01T00:00:00Z"`,
			[]string{"not_after v warn"}},
		{"kind: text, required: true, enum: [a], format: email", `"x"`,
			[]string{"enum v reject", "format v reject"}},
		{"kind: bool", `"true"`, []string{"kind v reject"}},
		{"kind: array, items: int", `[1,"x"]`, []string{"kind v reject"}},
	} {
		table := tableOf(t, c.field)
		e := encode(t, table, change{key: `{"id":1}`, after: `{"id":1,"v":` + c.value + `}`,
			commit: commit.UnixMicro()})
		if diff := cmp.Diff(c.want, rulesOf(e.Violations)); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", c.field, c.value, diff)
		}
	}
}

func TestEmail(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"user1@example.org", "a@x", "a.b+c_d-e@x-y.co.uk",
		"ä@exämple.org", `"a b"@x.org`, "a@[127.0.0.1]",
		"user-" + someUUID + "@example.com", "O'Neil@x.ie", "1@2.3"} {
		if !isEmail([]byte(good)) {
			t.Errorf("%s is refused", good)
		}
	}
	for _, bad := range []string{"", "x", "@", "a@", "@x", "a b@x", "a@x y", "a@b@c", "a@.x",
		"a@x.", "a..b@x", ".a@x", "a.@x", "a@x..y",
		"a@x\n", "a@-x", "a@[]", "<a@x>", "a,b@x", "a@x_y", strings.Repeat("a", 320) + "@x"} {
		if isEmail([]byte(bad)) {
			t.Errorf("%s is taken", bad)
		}
	}
}

// TestKindErrors: a value outside the column's kind is named, and not stored.
func TestKindErrors(t *testing.T) {
	t.Parallel()
	for kind, values := range map[entity.Kind][]string{
		entity.UUID: {`""`, `"a0eebc99"`, quote(someUUID + "0"), quote("{" + someUUID[1:35] + "}"),
			quote("g" + someUUID[1:]), `1`, `true`},
		entity.Text: {`1`, `true`, `["a"]`, `{}`}, entity.Bool: {`"t"`, `"true"`, `1`, `[]`},
		entity.Int:    {`"5"`, `1.0`, `1e3`, `9223372036854775808`, `true`, `1.5`},
		entity.Double: {`"1.5"`, `true`, `[]`, `1e999`},
		entity.Decimal: {`""`, `"."`, `"-"`, `"+"`, `"abc"`, `"1.2.3"`, `"1 "`, `" 1"`, `"1e"`,
			`"0x10"`, `"1_000"`, `true`, `"APo="`, `"--1"`,
			`"1-"`, `{}`, `{"scale":1}`, `{"scale":99999,"value":"AA=="}`},
		entity.Timestamp: {`""`, `"x"`, `"2026-11-22"`, `"2026-11-22 10:00:00+00"`,
			`"2026-11-22T10:00:00"`, `"2026-13-01T00:00:00Z"`,
			`"2026-02-29T00:00:00Z"`, `"2026-11-22T24:00:00Z"`, `"2026-11-22T10:00:00.Z"`,
			`"2026-11-22T10:00:00.1234567890Z"`,
			`"2026-11-22T10:00:00+1"`, `"+10000-13-01T00:00:00Z"`, `1795391886611595`, `true`},
		entity.Date:     {`"x"`, `"2026-02-30"`, `"2026-11-22T10:00:00Z"`, `true`, `1.5`},
		entity.Time:     {`"x"`, `"25:00:00"`, `5`, `true`},
		entity.Interval: {`"1 day"`, `"P"`, `true`, `1.5`}, entity.Bytes: {`"*"`, `1`, `"AQ="`},
		entity.Bits: {`"x"`, `1`, `[]`}, entity.Array: {`"[]"`, `{}`, `1`},
	} {
		for _, value := range values {
			table := tableOf(t, "kind: "+string(kind))
			e := encode(t, table, change{key: `{"id":1}`, after: `{"id":1,"v":` + value + `}`})
			if diff := cmp.Diff([]string{"kind v reject"}, rulesOf(e.Violations)); diff != "" {
				t.Errorf("%s %s breaks (-want +got):\n%s", kind, value, diff)
			} else if got := e.Violations[0].Value; got == "" && value != `""` {
				t.Errorf("%s %s: the violation shows no value", kind, value)
			}
			if len(e.Elements) > 0 {
				t.Errorf("%s %s is stored as %v", kind, value, readBack(t, e.Elements))
			}
		}
	}
}

// TestNoRules: nothing is judged, and a value that the kind cannot hold is stored by its own type.
func TestNoRules(t *testing.T) {
	t.Parallel()
	table := tableOf(t, "kind: int, required: true, min: 5")
	for value, want := range map[string]any{`1`: int64(1), `"x"`: "x", `null`: nil,
		`[1.5]`: bson.A{1.5}} {
		c := change{key: `{"id":1}`, after: `{"id":1,"v":` + value + `}`,
			commit: commit.UnixMicro()}
		e, err := new(Encoder).Encode(table, c.event(t),
			Facts{Recorded: commit.Add(time.Hour * 9), NoRules: true})
		if err != nil || len(e.Violations) > 0 {
			t.Errorf("%s: %v, %v", value, e.Violations, err)
		}
		if diff := cmp.Diff(bson.M{"v": want}, readBack(t, e.Elements)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", value, diff)
		}
	}
}

// TestNotBefore: a new value may not be older than the commit by more than the Spec says. An old
// value of a row is no violation, whenever the row is recorded.
func TestNotBefore(t *testing.T) {
	t.Parallel()
	const (
		old   = `"1971-01-01T00:00:00Z"`
		young = `"2026-11-22T09:59:59Z"`
		limit = `"2026-10-23T10:00:00Z"`
	)
	too := []string{"not_before v warn"}
	for _, c := range []struct {
		op            debezium.Op
		before, value string
		moved         bool // the row's key changed
		want          []string
	}{
		{op: debezium.Create, value: old, want: too}, {op: debezium.Create, value: young},
		{op: debezium.Create, value: limit},
		{op: debezium.Create, value: `"2026-10-23T09:59:59.999999Z"`, want: too},
		{op: debezium.Create, value: `"-0043-03-15T12:00:00Z"`, want: too},
		{op: debezium.Create, value: `"-infinity"`}, {op: debezium.Create, value: `"infinity"`},
		{op: debezium.Create, value: `null`},
		{op: debezium.Create, value: old, moved: true}, {op: debezium.Read, value: old},
		{op: debezium.Update, value: old}, {op: debezium.Update, before: old, value: old},
		{op: debezium.Update, before: young, value: old, want: too},
		{op: debezium.Update, before: `"__debezium_unavailable_value"`, value: old},
	} {
		change := change{op: c.op, key: `{"id":1}`, after: `{"id":1,"v":` + c.value + `}`,
			commit: commit.UnixMicro()}
		if c.before != "" {
			change.before = `{"id":1,"v":` + c.before + `}`
		}
		event := change.event(t)
		if c.moved {
			event.OldKey = cells(t, `{"id":2}`, nil)
		}
		e, err := new(Encoder).Encode(tableOf(t, "kind: timestamp, not_before: 720h"), event,
			Facts{Recorded: commit.AddDate(9, 0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, rulesOf(e.Violations)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
	}
}

// TestSeverity: a Spec decides the consequence; after a mere warning the value is stored by its
// type.
func TestSeverity(t *testing.T) {
	t.Parallel()
	table := tables(t, map[string]string{"t.yaml": `entity: t
table: public.t
collection: ts
key: id
severity: {kind: warn, not_after: reject}
fields:
  - {column: id, kind: int}
  - {column: v, kind: int}
  - {column: at, kind: timestamp, not_after: 1m}
`}).Table("public", "t")
	e := encode(t, table, change{key: `{"id":1}`,
		after: `{"id":1,"v":"x","at":"2026-12-01T00:00:00Z"}`, commit: commit.UnixMicro()})
	if diff := cmp.Diff([]string{"kind v warn", "not_after at reject"},
		rulesOf(e.Violations)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := readBack(t, e.Elements)["v"]; got != "x" {
		t.Errorf("v is stored as %v", got)
	}
}

// TestViolationsHideSecrets: neither a secret nor a long value, nor any in the reason.
func TestViolationsHideSecrets(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 5000)
	for field, shown := range map[string]string{"kind: uuid": strings.Repeat("é", 30) + "...",
		"kind: uuid, secret: true":            "",
		"kind: text, enum: [a], secret: true": "",
		"kind: text, format: email":           strings.Repeat("é", 30) + "..."} {
		v := encode(t, tableOf(t, field),
			change{key: `{"id":1}`, after: `{"id":1,"v":` + quote(long) + `}`}).Violations
		if len(v) != 1 || v[0].Value != shown || v[0].Reason == "" ||
			strings.Contains(v[0].Error(), "é") {
			t.Errorf("%s: %+v", field, v)
		}
	}
	table := tableOf(t, "kind: text, secret: true, transitions: {a: [b]}")
	if v := table.Transition("v", "a", "c"); v == nil || v.Value != "" {
		t.Errorf("the transition shows %+v", v)
	}
}

func TestRequiredColumns(t *testing.T) {
	t.Parallel()
	table := lab().Table("public", "order")
	e := encode(t, table, change{op: debezium.Create, key: `{"id":` + quote(someUUID) + `}`,
		after: `{"id":` + quote(someUUID) + `,"status":null,"total_amount":"1",` +
			`"created_at":"__debezium_unavailable_value","new":1}`})
	want := []string{"required status reject", "required customer_id reject",
		"required updated_at reject"}
	if diff := cmp.Diff(want, rulesOf(e.Violations)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, v := range e.Violations {
		if v.Reason == "" || v.Value != "" || !strings.Contains(v.Error(), v.Field) {
			t.Errorf("%+v does not explain itself", v)
		}
	}
	if diff := cmp.Diff([]string{"createdAt"}, e.Missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

// TestTimeRules: times are judged against the record's, so that a replay years later breaks
// nothing.
func TestTimeRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op       debezium.Op
		recorded time.Duration // after the commit
		want     []string
	}{
		{debezium.Create, time.Second, nil}, {debezium.Create, -5 * time.Second, nil},
		{debezium.Create, -6 * time.Second, []string{"clock_skew  warn"}},
		{debezium.Read, -6 * time.Second, []string{"clock_skew  warn"}},
		{debezium.Create, time.Hour, nil},
		{debezium.Update, time.Hour + time.Second, []string{"time_drift  warn"}},
		{debezium.Delete, time.Hour + time.Second, []string{"time_drift  warn"}},
		{debezium.Read, 1000 * time.Hour, nil},
	} {
		for _, table := range []*Table{generic(), lab().Table("public", "customer")} {
			event := change{op: c.op, key: `{"id":"x"}`, commit: commit.UnixMicro()}.event(t)
			if c.op != debezium.Delete {
				event.After = cells(t, `{"id":`+quote(someUUID)+`,"email":"a@x","status":"active",`+
					`"updated_at":"2026-11-22T10:00:00Z"}`, nil)
			}
			e, err := new(Encoder).Encode(table, event, Facts{Recorded: commit.Add(c.recorded)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, rulesOf(e.Violations)); diff != "" {
				t.Errorf("%s recorded %v after the commit (-want +got):\n%s", c.op, c.recorded,
					diff)
			}
		}
	}
}
