package debezium

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func TestDecimalText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ unscaled, scale, want string }{
		{"APo=", "2", "2.50"},
		{"Dw==", "1", "1.5"},
		{"AA==", "0", "0"},
		{"AA==", "2", "0.00"},
		{"AA==", "-3", "0"},
		{"AQ==", "2", "0.01"},
		{"/w==", "2", "-0.01"},
		{"/w==", "0", "-1"},
		{"gA==", "0", "-128"},
		{"AIA=", "0", "128"},
		{"Dw==", "-2", "1500"},
		{"8Q==", "-2", "-1500"},
	} {
		if got, err := decimalText(c.unscaled, c.scale); err != nil || got != c.want {
			t.Errorf("%s with scale %s: %q, %v; want %q", c.unscaled, c.scale, got, err, c.want)
		}
	}
	for _, c := range [][2]string{{"", "0"}, {"?", "0"}, {"AA==", ""}, {"AA==", "x"}, {"AA==", "99999999999"}} {
		if got, err := decimalText(c[0], c[1]); err == nil {
			t.Errorf("%q with scale %q became %q", c[0], c[1], got)
		}
	}
}

func TestDecimalSchemaErrors(t *testing.T) {
	t.Parallel()
	field := `{"field":"n","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}`
	for value, want := range map[string]string{
		`1`:                         "after.n: decimal: a value of json.Number does not fit",
		`"?"`:                       "after.n: decimal:",
		`{"scale":1,"value":"AA"}`:  "after.n: decimal:",
		`["AA=="]`:                  "after.n: decimal:",
		`{"schema":1,"payload":{}}`: "after.n: decimal:",
	} {
		record := `{"schema":{"fields":[{"field":"after","fields":[` + field + `]}]},"payload":{"op":"c","after":{"n":` +
			value + `},` + goodSource + `}}`
		if _, err := Decode(nil, []byte(record), nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", value, err, want)
		}
	}
}

// TestCorpusDecimals: the last image of a row has the decimals PostgreSQL prints.
func TestCorpusDecimals(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, folder := range corpora() {
		for _, c := range corpusCases(t, folder) {
			if c.Config == "flat-default" || c.Case == "numeric_nan" || c.Case == "truncate" || c.Case == "large_tx" {
				continue // NaN is null in precise mode
			}
			latest := map[string]Row{}
			for _, r := range corpusRecords(t, folder, c) {
				if e, err := Decode(r.Key, r.Value, nil); err == nil && e.After != nil && e.Key != nil {
					latest[r.Topic+keyOf(t, e.Key)] = e.After
				}
			}
			compared += compareDecimals(t, folder+"/"+c.name(), c, latest)
		}
	}
	if compared < 20 {
		t.Errorf("compared %d decimals only", compared)
	}
}

func keyOf(t *testing.T, key Row) string {
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func compareDecimals(t *testing.T, name string, c corpusCase, latest map[string]Row) (compared int) {
	for table, expected := range c.Expected {
		for _, row := range expected.Rows {
			key := Row{}
			for _, column := range expected.Key {
				key[column] = *row[column]
			}
			after, there := latest["cdc."+table+keyOf(t, key)]
			if !there {
				continue // its key is no text: covered by the others
			}
			for _, column := range expected.Columns {
				value, want := after[column.Name], row[column.Name]
				if !strings.HasPrefix(column.Type, "numeric") || strings.HasSuffix(column.Type, "]") || value == nil || want == nil {
					continue
				}
				compared++
				got, ok := new(big.Rat).SetString(strings.Trim(value.(string), " "))
				exact, _ := new(big.Rat).SetString(*want)
				if !ok || exact == nil || got.Cmp(exact) != 0 {
					t.Errorf("%s: %s.%s is %v, want %s", name, table, column.Name, value, *want)
				}
			}
		}
	}
	return compared
}
