package debezium

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Column is a column of a row, in the order of the table.
//
// Value is nil, bool, int64, json.Number (a legal JSON number), string, []Column (a structure, such
// as a point) or []any of these. Decimals are strings ("2.50", as with
// decimal.handling.mode=string), timestamptz is a string like "2026-11-22T07:55:47.954888Z", a
// float's NaN the string "NaN".
type Column struct {
	Name  string
	Value any
}

// Change is the change of a row, to be encoded as Debezium does with schemas off.
type Change struct {
	// Key holds the primary-key columns; none for a table without.
	Key []Column
	// A nil Before or After is written as null.
	Before, After []Column
	Op            Op
	Source        Source
	// TsUs is when the connector processed the change: microseconds since 1970.
	TsUs int64
}

// AppendKey appends the record's key, and nothing for a table without a primary key. A value
// without an encoding is written as null; AppendValue of the same Change reports the error.
func (c *Change) AppendKey(dst []byte) []byte {
	if len(c.Key) == 0 {
		return dst
	}
	dst, _ = appendColumns(dst, c.Key)
	return dst
}

// AppendValue appends the record's value: the envelope with Debezium's members in Debezium's order.
// Absent numbers and texts of the Source (0, "") are written as null where the format allows null.
// A column without an encoding, of the Key too, is an error; then nothing is appended.
func (c *Change) AppendValue(dst []byte) ([]byte, error) {
	out := append(dst, `{"before":`...)
	var errs [3]error
	out, errs[0] = appendColumns(out, c.Before)
	out, errs[1] = appendColumns(append(out, `,"after":`...), c.After)
	out = appendSource(append(out, `,"source":`...), &c.Source)
	out = appendString(append(out, `,"transaction":null,"op":`...), string(c.Op))
	out = append(appendTimes(append(out, ','), c.TsUs), '}')
	for _, column := range c.Key {
		if errs[2] == nil {
			_, errs[2] = appendColumnValue(nil, column)
		}
	}
	for _, err := range errs {
		if err != nil {
			return dst, err
		}
	}
	return out, nil
}

// appendSource follows the order of PostgresSourceInfoStructMaker.
func appendSource(dst []byte, s *Source) []byte {
	dst = appendString(append(dst, `{"version":`...), s.Version)
	dst = appendString(append(dst, `,"connector":`...), s.Connector)
	dst = appendString(append(dst, `,"name":`...), s.Name)
	dst = strconv.AppendInt(append(dst, `,"ts_ms":`...), floorMillis(s.TsUs), 10)
	dst = append(dst, `,"snapshot":`...)
	if s.Snapshot == "" {
		dst = append(dst, "null"...)
	} else {
		dst = appendString(dst, s.Snapshot)
	}
	dst = appendString(append(dst, `,"db":`...), s.DB)
	dst = appendSequence(append(dst, `,"sequence":`...), s.Sequence)
	dst = strconv.AppendInt(append(dst, `,"ts_us":`...), s.TsUs, 10)
	dst = strconv.AppendInt(append(dst, `,"ts_ns":`...), s.TsUs*1000, 10)
	dst = appendString(append(dst, `,"schema":`...), s.Schema)
	dst = appendString(append(dst, `,"table":`...), s.Table)
	dst = appendNumber(append(dst, `,"txId":`...), uint64(s.TxID))
	dst = appendNumber(append(dst, `,"lsn":`...), s.LSN)
	return append(dst, `,"xmin":null,"origin":null,"origin_lsn":null}`...)
}

func appendTimes(dst []byte, us int64) []byte {
	dst = strconv.AppendInt(append(dst, `"ts_ms":`...), floorMillis(us), 10)
	dst = strconv.AppendInt(append(dst, `,"ts_us":`...), us, 10)
	return strconv.AppendInt(append(dst, `,"ts_ns":`...), us*1000, 10)
}

func floorMillis(us int64) int64 {
	ms := us / 1000
	if us%1000 < 0 {
		ms--
	}
	return ms
}

// appendNumber writes 0 as null: no transaction and no place in the log is 0.
func appendNumber(dst []byte, n uint64) []byte {
	if n == 0 {
		return append(dst, "null"...)
	}
	return strconv.AppendUint(dst, n, 10)
}

// appendSequence writes a JSON array of strings inside a string.
func appendSequence(dst []byte, pair [2]uint64) []byte {
	if pair == [2]uint64{} {
		return append(dst, "null"...)
	}
	dst = append(dst, `"[`...)
	for i, lsn := range pair {
		if i > 0 {
			dst = append(dst, ',')
		}
		if lsn == 0 {
			dst = append(dst, "null"...)
			continue
		}
		dst = append(strconv.AppendUint(append(dst, `\"`...), lsn, 10), `\"`...)
	}
	return append(dst, `]"`...)
}

func appendColumns(dst []byte, row []Column) ([]byte, error) {
	if row == nil {
		return append(dst, "null"...), nil
	}
	var first error
	dst = append(dst, '{')
	for i, column := range row {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		dst = append(appendString(dst, column.Name), ':')
		if dst, err = appendColumnValue(dst, column); first == nil {
			first = err
		}
	}
	return append(dst, '}'), first
}

func appendColumnValue(dst []byte, column Column) ([]byte, error) {
	dst, err := appendAnyValue(dst, column.Value)
	if err != nil {
		return dst, fmt.Errorf("encode column %s: %w", column.Name, err)
	}
	return dst, nil
}

// appendAnyValue writes null for a value without an encoding.
func appendAnyValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case string:
		return appendString(dst, v), nil
	case json.Number:
		if !isJSONNumber(string(v)) {
			return append(dst, "null"...), fmt.Errorf("%q is no JSON number", string(v))
		}
		return append(dst, v...), nil
	case []Column:
		return appendColumns(dst, v)
	case []any:
		var first error
		dst = append(dst, '[')
		for i, member := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendAnyValue(dst, member); first == nil {
				first = err
			}
		}
		return append(dst, ']'), first
	}
	return append(dst, "null"...), fmt.Errorf("a %T has no encoding", v)
}

// isJSONNumber: a legal JSON value between these characters is a number without white space.
func isJSONNumber(text string) bool {
	digit := func(b byte) bool { return b >= '0' && b <= '9' }
	return text != "" && (text[0] == '-' || digit(text[0])) && digit(text[len(text)-1]) &&
		json.Valid([]byte(text))
}

// short are the one-letter escapes.
var short = [' ']byte{'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r'}

// appendString writes a JSON string as Jackson does, to the byte, because a key's bytes decide the
// partition. Escaped are the characters without another form in JSON, and all beyond Unicode's
// first plane.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		b := s[i]
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			i += size
			if high, low := utf16.EncodeRune(r); r > 0xFFFF {
				dst = appendEscape(appendEscape(dst, high), low)
				continue
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		i++
		switch {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b >= ' ':
			dst = append(dst, b)
		case short[b] != 0:
			dst = append(dst, '\\', short[b])
		default:
			dst = appendEscape(dst, rune(b))
		}
	}
	return append(dst, '"')
}

func appendEscape(dst []byte, r rune) []byte {
	const hex = "0123456789ABCDEF"
	return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
