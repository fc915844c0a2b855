package debezium

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

// plain turns the value into the form of encoding/json, with numbers as texts.
func plain(v Value) any {
	switch v.Kind() {
	case Bool:
		return v.Bool()
	case Number:
		return json.Number(v.Text())
	case String:
		return string(v.Text())
	case Array:
		all := []any{}
		for item := range v.Items() {
			all = append(all, plain(item))
		}
		return all
	case Object:
		all := map[string]any{}
		for name, member := range v.Members() {
			all[string(name)] = plain(member)
		}
		return all
	}
	return nil
}

func plainRow(r Row) map[string]any {
	if r == nil {
		return nil
	}
	all := map[string]any{}
	for _, c := range r {
		all[c.Name] = plain(c.Value)
	}
	return all
}

// mapsOf reads a text by encoding/json.
func mapsOf(t testing.TB, text []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// unwrapped splits a record into payload and schema block.
func unwrapped(t testing.TB, text []byte) (payload, schema map[string]any) {
	if len(text) == 0 {
		return nil, nil
	}
	all := mapsOf(t, text)
	schema, isSchema := all["schema"].(map[string]any)
	if payload, isPayload := all["payload"].(map[string]any); isPayload && isSchema {
		return payload, schema
	}
	return all, nil
}

// names are the members of an object in their order.
func names(t testing.TB, object []byte) []string {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for d.More() {
		name, err := d.Token()
		var skipped json.RawMessage
		if err != nil || d.Decode(&skipped) != nil {
			t.Fatal(err)
		}
		all = append(all, name.(string))
	}
	return all
}

func rowNames(r Row) (all []string) {
	for _, c := range r {
		all = append(all, c.Name)
	}
	return all
}

// plainType makes a Type of a schema block in maps.
func plainType(t testing.TB, field map[string]any) *Type {
	text := func(name string) string { s, _ := field[name].(string); return s }
	want := &Type{Connect: text("type"), Name: text("name"), Optional: field["optional"] == true}
	if parameters, ok := field["parameters"].(map[string]any); ok {
		want.Parameters = map[string]string{}
		for name, v := range parameters {
			want.Parameters[name] = v.(string)
		}
	}
	if want.Name == ConnectDecimal {
		scale, err := strconv.Atoi(want.Parameters["scale"])
		if err != nil {
			t.Fatal(err)
		}
		want.Scale = scale
	}
	if value, there := field["default"]; there {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if err := e.Encode(value); err != nil {
			t.Fatal(err)
		}
		want.Default = strings.TrimSuffix(text.String(), "\n")
	}
	if items, ok := field["items"].(map[string]any); ok {
		want.Items = plainType(t, items)
	}
	return want
}

func fieldOf(schema map[string]any, name string) map[string]any {
	fields, _ := schema["fields"].([]any)
	for _, f := range fields {
		if field := f.(map[string]any); field["field"] == name {
			return field
		}
	}
	return nil
}

func compareRow(t testing.TB, place string, got Row, want any, schema map[string]any) {
	t.Helper()
	wanted, _ := want.(map[string]any)
	if diff := cmp.Diff(wanted, plainRow(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", place, diff)
	}
	for _, c := range got {
		var want *Type
		if schema != nil {
			want = plainType(t, fieldOf(schema, c.Name))
		}
		if diff := cmp.Diff(want, c.Type); diff != "" {
			t.Errorf("type of %s.%s (-want +got):\n%s", place, c.Name, diff)
		}
	}
}

// compareEvent compares an Event with a plain reading of the same record.
func compareEvent(t testing.TB, key, value []byte, e *Event) {
	t.Helper()
	keyRow, keySchema := unwrapped(t, key)
	compareRow(t, "key", e.Key, keyRow, keySchema)
	if len(value) == 0 || isNull(value) {
		if !e.Tombstone {
			t.Errorf("%.80q is no tombstone", value)
		}
		return
	}
	payload, schema := unwrapped(t, value)
	compareRow(t, "before", e.Before, payload["before"], fieldOf(schema, "before"))
	compareRow(t, "after", e.After, payload["after"], fieldOf(schema, "after"))
	source := payload["source"].(map[string]any)
	text := func(name string) string { s, _ := source[name].(string); return s }
	number := func(in map[string]any, name string) int64 {
		s, _ := in[name].(json.Number)
		n, _ := strconv.ParseInt(string(s), 10, 64)
		return n
	}
	micros := func(in map[string]any) int64 {
		if in["ts_us"] == nil {
			return number(in, "ts_ms") * 1000
		}
		return number(in, "ts_us")
	}
	want := Source{
		Version: text("version"), Connector: text("connector"), Name: text("name"), DB: text("db"),
		Schema: text("schema"), Table: text("table"), Snapshot: text("snapshot"),
		TsUs: micros(source),
		TxID: uint32(number(source, "txId")), LSN: uint64(number(source, "lsn")),
	}
	var sequence []*string
	if err := json.Unmarshal([]byte(text("sequence")), &sequence); err == nil {
		for i, s := range sequence {
			if s != nil {
				want.Sequence[i], _ = strconv.ParseUint(*s, 10, 64)
			}
		}
	}
	if diff := cmp.Diff(want, e.Source); diff != "" {
		t.Errorf("source (-want +got):\n%s", diff)
	}
	if string(e.Op) != payload["op"] || e.TsUs != micros(payload) {
		t.Errorf("op %q, time %d; want %v, %d", e.Op, e.TsUs, payload["op"], micros(payload))
	}
	row := fieldOf(schema, "after")
	if (e.Schema == nil) != (row == nil) {
		t.Fatalf("schema is %v, want %v", e.Schema, row)
	}
	if row == nil {
		return
	}
	wantSchema := &Schema{Name: row["name"].(string)}
	for _, f := range row["fields"].([]any) {
		field := f.(map[string]any)
		wantSchema.Columns = append(wantSchema.Columns,
			SchemaColumn{field["field"].(string), plainType(t, field)})
	}
	if diff := cmp.Diff(wantSchema, e.Schema); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
}

// otherSpelling is the same record with other white space and, with schemas on, with the payload
// before the schema.
func otherSpelling(t testing.TB, text []byte) []byte {
	if len(text) == 0 {
		return nil
	}
	var wrapped struct{ Schema, Payload json.RawMessage }
	if err := json.Unmarshal(text,
		&wrapped); err == nil && bytes.HasPrefix(text, []byte(beforeBlock)) {
		text = []byte(`{"payload":` + string(wrapped.Payload) + `,"schema":` +
			string(wrapped.Schema) + `}`)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// TestAgainstPlainReading: one Decoder over all the records of a configuration, in every spelling,
// reads the same as encoding/json.
func TestAgainstPlainReading(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c *corpus.Case, records []corpus.Record) {
		if len(records) > 500 {
			records = records[:500]
		}
		var usual, unusual Decoder
		for n, r := range records {
			if rejection(c, r) != "" || t.Failed() {
				continue
			}
			key, value := otherSpelling(t, r.Key), otherSpelling(t, r.Value)
			var schema *Schema
			for round := range 2 {
				e, err := usual.Decode(r.Key, r.Value, nil)
				if err != nil {
					t.Fatalf("record %d, round %d: %v", n, round, err)
				}
				compareEvent(t, r.Key, r.Value, e)
				if e.Before != nil && !bytes.HasPrefix(r.Value, []byte(beforeBlock)) {
					compareNames(t, r.Value, "before", e.Before)
				}
				if e.After != nil && !bytes.HasPrefix(r.Value, []byte(beforeBlock)) {
					compareNames(t, r.Value, "after", e.After)
				}
				if round > 0 && e.Schema != schema {
					t.Errorf("record %d: an equal block is another Schema", n)
				}
				schema = e.Schema
				if e, err = unusual.Decode(key, value, nil); err != nil {
					t.Fatalf("record %d, spelled unusually: %v", n, err)
				}
				compareEvent(t, key, value, e)
			}
		}
	})
}

func compareNames(t testing.TB, value []byte, place string, row Row) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(t, members[place]), rowNames(row)); diff != "" {
		t.Errorf("order of %s (-want +got):\n%s", place, diff)
	}
}

// TestSchemaIdentity: equal blocks are one Schema with the same Types in every Decoder.
func TestSchemaIdentity(t *testing.T) {
	t.Parallel()
	var one, two Decoder
	r := record(t, "schemas-on/insert", 0)
	first, err := one.Decode(r.Key, r.Value, nil)
	if err != nil {
		t.Fatal(err)
	}
	schema, key, column := first.Schema, first.Key[0].Type, first.After[0].Type
	if schema == nil || key == nil || column == nil || schema.Columns[0].Type != column {
		t.Fatalf("schema %v, types %v and %v", schema, key, column)
	}
	other := bytes.ReplaceAll(r.Value, []byte(`"field":"email"`), []byte(`"field":"mail"`))
	other = bytes.ReplaceAll(other, []byte(`"email":`), []byte(`"mail":`))
	for range 3 {
		for _, d := range []*Decoder{&one, &two} {
			e, err := d.Decode(r.Key, other, nil)
			if err != nil || e.Schema == schema || e.Schema == nil ||
				e.After.Get("mail").Type == nil {
				t.Fatalf("the other block: %v, %v", e.Schema, err)
			}
			if e, err = d.Decode(r.Key, r.Value, nil); err != nil || e.Schema != schema ||
				e.Key[0].Type != key || e.After[0].Type != column {
				t.Fatalf("schema %p, types %p and %p; want %p, %p and %p; %v", e.Schema,
					e.Key[0].Type,
					e.After[0].Type, schema, key, column, err)
			}
		}
	}
}

// TestManySchemas: the cache is bounded, and a forgotten block is read again.
func TestManySchemas(t *testing.T) {
	t.Parallel()
	cache := blockCache{parse: parseRowBlock}
	for n := range 200 {
		text := `{"fields":[{"field":"a","type":"string"}],"name":"` + strconv.Itoa(n) +
			strings.Repeat("x", 100_000) + `"}`
		b, err := cache.getOrParse([]byte(text))
		if err != nil || len(b.schema.Columns) != 1 {
			t.Fatalf("%v, %v", b, err)
		}
		if again, err := cache.getOrParse([]byte(text)); err != nil || again != b {
			t.Errorf("block %d is another at once: %v", n, err)
		}
	}
	if cache.bytes > maxCachedBytes || len(cache.blocks) > 90 {
		t.Errorf("the cache holds %d blocks of %d bytes", len(cache.blocks), cache.bytes)
	}
}
