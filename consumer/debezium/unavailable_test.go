package debezium

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// asArray returns an array of the placeholder's bytes, each as write writes the byte.
func asArray(write func(b byte) string) string {
	var all []string
	for i := range len(Unavailable) {
		all = append(all, write(Unavailable[i]))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func unscaledOf(b byte, scale int64) string {
	n := new(big.Int).Exp(big.NewInt(10), big.NewInt(scale), nil)
	n.Mul(n, big.NewInt(int64(b)))
	bytes := append([]byte{0}, n.Bytes()...) // of a positive number
	if bytes[1] < 128 {
		bytes = bytes[1:]
	}
	return base64.StdEncoding.EncodeToString(bytes)
}

// unavailable is a value of a type, and true if the value is the placeholder of the type, and so of
// schemas off.
type unavailable struct {
	t     *Type
	value string
	want  bool
}

func (c unavailable) check(t *testing.T) {
	t.Helper()
	v, err := parseValue(c.value)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.UnavailableAs(c.t); got != c.want {
		t.Errorf("%.80s as %s %s: %t", c.value, c.t.Connect, c.t.Name, got)
	}
	if c.want && !v.Unavailable() {
		t.Errorf("%.80s with schemas off is a value", c.value)
	}
}

func of(connect, name string) *Type { return &Type{Connect: connect, Name: name} }

func array(items *Type) *Type { return &Type{Connect: "array", Items: items} }

func quoted(text string) string { return `"` + text + `"` }

// TestUnavailableNumbers: the placeholder's bytes as numbers are told in every form of a number.
func TestUnavailableNumbers(t *testing.T) {
	t.Parallel()
	decimal := &Type{Connect: "bytes", Name: ConnectDecimal, Scale: 2}
	for _, c := range []unavailable{
		{array(of("int16", "")), asArray(func(b byte) string { return fmt.Sprint(b) }), true},
		{array(of("int64", "io.debezium.time.MicroTimestamp")),
			asArray(func(b byte) string { return fmt.Sprint(b) }), true},
		{array(of("double", "")), asArray(func(b byte) string { return fmt.Sprintf("%d.0", b) }),
			true},
		{array(of("float", "")), asArray(func(b byte) string { return fmt.Sprintf("%d.0E0", b) }),
			true},
		{array(of("string", "")), asArray(func(b byte) string {
			return fmt.Sprintf("%q",
				fmt.Sprint(b))
		}), true},
		{array(of("string", "")), asArray(func(b byte) string {
			return fmt.Sprintf(`"%d.00"`, b)
		}), true},
		{array(decimal), asArray(func(b byte) string { return quoted(unscaledOf(b, 2)) }), true},
		{array(decimal), asArray(func(b byte) string { return quoted(unscaledOf(b, 0)) }), false},
		{array(of("struct", "io.debezium.data.VariableScaleDecimal")),
			asArray(func(b byte) string {
				return fmt.Sprintf(`{"scale":3,"value":%q}`, unscaledOf(b, 3))
			}), true},
	} {
		c.check(t)
	}
}

// TestUnavailableByType: a placeholder is told by the column's type, in the arrays of Debezium 3.6
// and in the arrays that a later version may send; the same spelling in another type is a value.
func TestUnavailableByType(t *testing.T) {
	t.Parallel()
	decimal := &Type{Connect: "bytes", Name: ConnectDecimal, Scale: 2}
	for _, c := range []unavailable{
		{of("string", ""), quoted(Unavailable), true},
		{of("string", "io.debezium.data.Json"), quoted(Unavailable), true},
		{of("string", "io.debezium.data.Json"), `"` + strings.ReplaceAll(unavailableHstore, `"`,
			`\"`) + `"`, true},
		{of("bytes", ""), quoted(unavailableBase64), true},
		{of("string", ""), quoted(unavailableBase64), true}, // binary.handling.mode=base64
		{of("string", ""), quoted(unavailableHex), true},
		{of("bytes", ""), quoted(unavailableHex), false},
		{of("string", "io.debezium.data.Enum"), quoted(unavailableBase64), false},
		{decimal, quoted(unavailableBase64), true},
		{of("struct", "io.debezium.data.VariableScaleDecimal"),
			`{"scale":0,"value":"` + unavailableBase64 + `"}`, true},
		{of("struct", "io.debezium.data.geometry.Geometry"),
			`{"wkb":"` + unavailableBase64 + `","srid":null}`, true},
		{of("map", ""), unavailableHstore, true},
		{of("struct", "x"), `{"value":"` + unavailableBase64 + `","a":1,"b":2}`, false},
		{array(of("string", "")), `["` + Unavailable + `"]`, true},
		{array(of("string", "io.debezium.time.ZonedTimestamp")), `["` + Unavailable + `"]`, true},
		{array(of("string", uuidName)), `["` + unavailableUUID + `"]`, true},
		{array(of("string", "")), `["` + unavailableUUID + `"]`, false},
		{of("string", uuidName), quoted(unavailableUUID), false},
		{array(of("bytes", "")), `["` + unavailableBase64 + `"]`, true},
		{array(array(of("string", ""))), `[["` + Unavailable + `"]]`, true},
		{array(of("string", "")), `["` + Unavailable + `","x"]`, false},
		{of("string", ""), `["` + Unavailable + `"]`, false},
		{array(of("int32", "")), asArray(func(b byte) string { return fmt.Sprint(b + 1) }), false},
		{array(of("int32", "")), "[95]", false},
		{array(of("int32", "")), "[]", false},
		{array(of("boolean", "")), "[true]", false},
	} {
		c.check(t)
	}
}
