package debezium

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

const decimalField = `{"field":"n","type":"bytes","name":"org.apache.kafka.connect.data.Decimal",` +
	`"version":1,"optional":true,"parameters":{"scale":"2","connect.decimal.precision":"10"}}`

func schemaRecord(fields string) []byte {
	return []byte(`{"schema":{"type":"struct","fields":[{"field":"after","type":"struct",` +
		`"name":"a.Value","fields":[` + fields + `]}]},"payload":{"op":"c","after":{"n":null},` +
		goodSource + `}}`)
}

func TestSchemaTypes(t *testing.T) {
	t.Parallel()
	decimal := &Type{Connect: "bytes", Name: ConnectDecimal, Optional: true, Scale: 2,
		Parameters: map[string]string{"scale": "2", "connect.decimal.precision": "10"}}
	for fields, want := range map[string]*Type{
		decimalField: decimal,
		`{"type":"array","optional":false,"field":"n","items":{"type":"array","items":` +
			decimalField + `}}`: {
			Connect: "array", Items: &Type{Connect: "array", Items: decimal}},
		`{"type":"struct","fields":[{"type":"int32","field":"scale"},` +
			`{"type":"bytes","field":"value"}],` +
			`"name":"io.debezium.data.VariableScaleDecimal","doc":"x","field":"n"}`: {
			Connect: "struct", Name: "io.debezium.data.VariableScaleDecimal"},
		`{"type":"map","keys":{"type":"string"},"values":{"type":"string"},"field":"n"}`: {
			Connect: "map"},
	} {
		e, err := decodeRecord(nil, schemaRecord(fields), nil)
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		if diff := cmp.Diff(want, e.After.Get("n").Type); diff != "" {
			t.Errorf("%s (-want +got):\n%s", fields, diff)
		}
		if diff := cmp.Diff(&Schema{"a.Value", []SchemaColumn{{"n", want}}}, e.Schema); diff != "" {
			t.Errorf("%s (-want +got):\n%s", fields, diff)
		}
	}
}

func TestSchemaErrors(t *testing.T) {
	t.Parallel()
	many := make([]string, maxColumns+1)
	for i := range many {
		many[i] = `{"field":"` + strconv.Itoa(i) + `"}`
	}
	with := func(old, now string) string { return strings.Replace(decimalField, old, now, 1) }
	for fields, want := range map[string]string{
		decimalField + "," + decimalField: "column n is there twice",

		with(`"2"`, `"x"`):      `column n: "x" is no scale`,
		with(`"2"`, `"999999"`): `column n: "999999" is no scale`,
		with(`"scale"`, `"s"`):  `column n: "" is no scale`,

		`{"field":"n","type":"array","items":` + with(`"2"`, `""`) + `}`: "is no scale",

		`{"type":"int32"}`:       "a column has no name",
		strings.Join(many, ","):  "more than 4096 columns",
		`{"field":"n","field":1`: "is bad JSON",
	} {
		e, err := decodeRecord(nil, schemaRecord(fields), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: error %v, want %q", fields, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "bad JSON") &&
			e.Source.Table != "customer" {
			t.Errorf("%.200s: the event does not know its table", fields)
		}
	}
	for _, block := range []string{"1", `"x"`, "[]"} {
		value := `{"schema":` + block + `,"payload":` + string(withColumn("1")) + `}`
		if _, err := decodeRecord(nil, []byte(value), nil); err == nil ||
			!strings.HasPrefix(err.Error(), "schema: ") {
			t.Errorf("schema %s: %v", block, err)
		}
	}
}

// decimalOf is the decimal of a column's value and Type; nil for anything else.
func decimalOf(t *testing.T, c *Cell) *big.Rat {
	text, scale := string(c.Value.Text()), 0
	switch {
	case c.Value.Unavailable() || c.Value.Kind() == Null:
		return nil
	case c.Type != nil && c.Type.Name == ConnectDecimal:
		scale = c.Type.Scale
	case c.Type != nil && c.Type.Name == "io.debezium.data.VariableScaleDecimal":
		n, _ := c.Value.Member("scale").Int()
		text, scale = string(c.Value.Member("value").Text()), int(n)
	default:
		r, _ := new(big.Rat).SetString(text)
		return r
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 {
		t.Fatalf("column %s: %v", c.Name, err)
	}
	n := new(big.Int).SetBytes(raw)
	if raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(scale, -scale))), nil)
	if scale < 0 {
		return new(big.Rat).SetInt(n.Mul(n, power))
	}
	return new(big.Rat).SetFrac(n, power)
}

// TestCorpusDecimals: by the Types, the last image of a row has the decimals PostgreSQL prints.
func TestCorpusDecimals(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, c := range corpus.Cases(t) {
		if c.Config == "flat-default" || c.Case == "truncate" || c.Case == "large_tx" ||
			strings.HasPrefix(c.Case, "numeric_nan") {
			continue // NaN is null in precise mode
		}
		latest := map[string]Row{}
		for _, r := range c.Records(t) {
			e, err := decodeRecord(r.Key, r.Value, nil)
			if err == nil && e.After != nil && e.Key != nil {
				latest[r.Topic+keyOf(t, plainRow(e.Key))] = e.After
			}
		}
		compared += compareDecimals(t, c, latest)
	}
	if compared < 100 {
		t.Errorf("compared %d decimals only", compared)
	}
}

func keyOf(t *testing.T, key map[string]any) string {
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func compareDecimals(t *testing.T, c *corpus.Case, latest map[string]Row) (compared int) {
	for table, expected := range c.Expected {
		for _, row := range expected.Rows {
			key := map[string]any{}
			for _, column := range expected.Columns {
				if slices.Contains(expected.Key, column.Name) {
					key[column.Name] = *row[column.Name]
					if strings.HasPrefix(column.Type, "int") {
						key[column.Name] = json.Number(*row[column.Name])
					}
				}
			}
			after := latest["cdc."+table+keyOf(t, key)]
			for _, column := range expected.Columns {
				cell, want := after.Get(column.Name), row[column.Name]
				if !strings.HasPrefix(column.Type, "numeric") ||
					strings.HasSuffix(column.Type, "]") || cell == nil || want == nil {
					continue
				}
				got := decimalOf(t, cell)
				exact, _ := new(big.Rat).SetString(*want)
				if compared++; got == nil || exact == nil || got.Cmp(exact) != 0 {
					t.Errorf("%s: %s.%s is %v, want %s", c, table, column.Name, got, *want)
				}
			}
		}
	}
	return compared
}
