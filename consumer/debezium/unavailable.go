package debezium

import (
	"bytes"
	"strconv"
)

// What the placeholder becomes in columns that are not text: PostgresValueConverter and
// UnchangedToastedPlaceholder of Debezium.
const (
	unavailableBase64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
	unavailableUUID   = "b68a35a7-17ad-35b3-af2a-ae46edb4545a" // in uuid[] only
	unavailableHstore = `{"` + Unavailable + `":"` + Unavailable + `"}`
)

// longestPlaceholder is longer than any of them, however it is escaped.
const longestPlaceholder = 1024

// Unavailable says whether the value is the placeholder for an unchanged TOASTed value, in any of
// the shapes it takes: the text itself, its base64 (bytea), arrays of one of it or of its UUID, an
// array of its bytes as numbers (int[]), an hstore of it as an object or a text.
func (v Value) Unavailable() bool {
	if len(v.raw) > longestPlaceholder {
		return false
	}
	switch v.Kind() {
	case String:
		if bytes.IndexByte(v.raw, '\\') < 0 {
			text := v.raw[1 : len(v.raw)-1]
			return string(text) == Unavailable || string(text) == unavailableBase64
		}
		text := v.Text()
		return string(text) == Unavailable || string(text) == unavailableBase64 || string(text) == unavailableHstore
	case Array:
		if first := v.At(0); first.Kind() == String {
			text := first.Text()
			return (string(text) == Unavailable || string(text) == unavailableBase64 ||
				string(text) == unavailableUUID) && v.Len() == 1
		}
		return v.unavailableNumbers()
	case Object:
		return v.Len() == 1 && string(v.Member(Unavailable).Text()) == Unavailable
	}
	return false
}

func (v Value) unavailableNumbers() bool {
	n := 0
	for item := range v.Items() {
		if n == len(Unavailable) || item.Kind() != Number ||
			string(item.raw) != strconv.Itoa(int(Unavailable[n])) {
			return false
		}
		n++
	}
	return n == len(Unavailable)
}
