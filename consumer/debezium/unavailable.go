package debezium

import (
	"encoding/base64"
	"math/big"
	"strconv"
)

// The placeholder in columns other than text: PostgresValueConverter and
// UnchangedToastedPlaceholder of Debezium.
const (
	unavailableBase64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
	unavailableHex    = "5f5f646562657a69756d5f756e617661696c61626c655f76616c7565"
	unavailableUUID   = "b68a35a7-17ad-35b3-af2a-ae46edb4545a" // in uuid[] only
	unavailableHstore = `{"` + Unavailable + `":"` + Unavailable + `"}`
)

// longestPlaceholder is longer than every placeholder, however escaped.
const longestPlaceholder = 2048

// uuidName is the logical type of a UUID.
const uuidName = "io.debezium.data.Uuid"

// Unavailable is UnavailableAs of a column whose type is not known.
func (v Value) Unavailable() bool { return v.UnavailableAs(nil) }

// UnavailableAs is true if a value of the type is the placeholder for an unchanged TOASTed value,
// in the shape of the type: the text itself, the text's bytes in base64 or hexadecimal (bytea), an
// hstore or another struct around the text or bytes, an array with a single placeholder of the
// items' type, or an array of the text's bytes as numbers: whole, floating, decimals as texts or
// bytes. Debezium 3.6 sends the bytes of int[], bigint[] and date[] alone; other arrays are as a
// later version may send them. A nil type is of schemas off: any shape.
func (v Value) UnavailableAs(t *Type) bool {
	if len(v.raw) > longestPlaceholder {
		return false
	}
	switch v.Kind() {
	case String:
		return v.unavailableText(t)
	case Array:
		var items *Type
		if t != nil {
			if items = t.Items; t.Connect != "array" {
				return false
			}
		}
		return v.unavailableItem(items) || v.unavailableNumbers(items)
	case Object:
		return v.unavailableMember()
	}
	return false
}

// unavailableText reads the whole text only where its length and its beginning are a placeholder's,
// because each text of each row is asked.
func (v Value) unavailableText(t *Type) bool {
	if len(v.raw) < len(`""`+Unavailable) {
		return false
	}
	switch v.raw[1] {
	case Unavailable[0], unavailableBase64[0], unavailableHex[0], unavailableHstore[0], '\\':
	default:
		return false
	}
	switch string(v.Text()) {
	case Unavailable:
		return true
	case unavailableBase64:
		return t == nil || t.Connect == "bytes" || t.Connect == "string" && t.Name == ""
	case unavailableHex:
		return t == nil || t.Connect == "string" && t.Name == ""
	case unavailableHstore:
		return t == nil || t.Connect == "string"
	}
	return false
}

// unavailableMember is true for an hstore or map of the placeholder alone, and for a decimal's or a
// geometry's struct around the placeholder's bytes.
func (v Value) unavailableMember() bool {
	members, of := 0, ""
	for name, member := range v.Members() {
		members++
		switch text := string(member.Text()); {
		case string(name) == Unavailable && text == Unavailable,
			(string(name) == "value" || string(name) == "wkb") && text == unavailableBase64:
			of = string(name)
		}
	}
	return of == Unavailable && members == 1 || of == "value" && members == 2 || of == "wkb"
}

// unavailableItem is true if the only item of an array is a placeholder of the items' type.
func (v Value) unavailableItem(t *Type) bool {
	only := false
	for item := range v.Items() {
		if only || !item.UnavailableAs(t) && !(string(item.Text()) == unavailableUUID &&
			(t == nil || t.Name == uuidName)) {
			return false
		}
		only = true
	}
	return only
}

// unavailableNumbers is true for an array of the placeholder's bytes as numbers.
func (v Value) unavailableNumbers(t *Type) bool {
	n := 0
	for item := range v.Items() {
		if n == len(Unavailable) || !item.isByte(Unavailable[n], t) {
			return false
		}
		n++
	}
	return n == len(Unavailable)
}

// isByte is true if a value of the type is the number b.
func (v Value) isByte(b byte, t *Type) bool {
	switch v.Kind() {
	case Number:
		n, err := strconv.ParseFloat(string(v.raw), 64)
		return err == nil && n == float64(b)
	case String:
		if t == nil || t.Connect == "string" {
			n, err := strconv.ParseFloat(string(v.Text()), 64)
			if err == nil && n == float64(b) || t != nil {
				return err == nil && n == float64(b)
			}
		}
		if t == nil { // the scale is not known
			return isUnscaled(v, b, 0) || isUnscaled(v, b, -1)
		}
		return t.Name == ConnectDecimal && isUnscaled(v, b, t.Scale)
	case Object:
		scale, whole := v.Member("scale").Int()
		return whole && scale >= 0 && scale <= maxScale &&
			isUnscaled(v.Member("value"), b, int(scale))
	}
	return false
}

// isUnscaled is true if the value is the base64 of b times 10 to the scale; of any scale from 1 to
// 18 where the scale is -1.
func isUnscaled(v Value, b byte, scale int) bool {
	unscaled, err := base64.StdEncoding.DecodeString(string(v.Text()))
	if err != nil || len(unscaled) == 0 || len(unscaled) > 16 {
		return false
	}
	n, want := new(big.Int).SetBytes(unscaled), big.NewInt(int64(b))
	if scale >= 0 {
		return n.Cmp(want.Mul(want, new(big.Int).Exp(big.NewInt(10), big.NewInt(
			int64(min(scale, 40))), nil))) == 0
	}
	for range 18 {
		if want.Mul(want, big.NewInt(10)); n.Cmp(want) == 0 {
			return true
		}
	}
	return false
}
