package entity

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/encode/value"
)

// RowText returns a row in texts that compare with DocumentText's: by member, for every Field but
// the key, nil for NULL. columns are the row's values by column, as printed by PostgreSQL's ::text
// (DateStyle ISO, any time zone); nil or absent is NULL. An error names the column.
func (s *Spec) RowText(columns map[string]*string) (map[string]*string, error) {
	texts := make(map[string]*string, len(s.Fields))
	for _, f := range s.Fields {
		if f.Column == s.Key {
			continue
		}
		texts[f.Member()] = nil
		given := columns[f.Column]
		if given == nil {
			continue
		}
		text, err := f.PostgresText(*given)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Column, err)
		}
		texts[f.Member()] = &text
	}
	return texts, nil
}

// DocumentText returns a document, or the sub-document of an embedded entity, in texts that compare
// with RowText's; nil for a member that is null or absent. Errors are a value of another BSON type
// than the Field's, and a date that disagrees with its exact text. An error names the member.
func (s *Spec) DocumentText(document bson.M) (map[string]*string, error) {
	texts := make(map[string]*string, len(s.Fields))
	for _, f := range s.Fields {
		if f.Column == s.Key {
			continue
		}
		member := f.Member()
		texts[member] = nil
		text, there, err := f.Text(document[member])
		if err == nil && f.HasExact() {
			text, err = f.preferExact(text, there, document[member+ExactSuffix])
		}
		if err != nil {
			return nil, fmt.Errorf("member %s: %w", member, err)
		}
		if there {
			texts[member] = &text
		}
	}
	return texts, nil
}

// preferExact prefers the exact text to the date's text, if both agree.
func (f Field) preferExact(dated string, there bool, exact any) (string, error) {
	switch exact := exact.(type) {
	case nil:
		return dated, nil
	case string:
		t, ok, _ := value.ParseZoned([]byte(exact))
		if !ok {
			return "", fmt.Errorf("its exact text %q is no time", value.Shorten(exact))
		}
		if !there || value.TimeText(time.UnixMilli(t.Millis())) != dated {
			return "", fmt.Errorf("the date %q and the exact text %q disagree", dated,
				value.Shorten(exact))
		}
		return value.TimeText(t.Time()), nil
	case bson.A:
		if f.Kind == Array {
			return exactListText(exact)
		}
	}
	return "", fmt.Errorf("its exact text is %s", value.Describe(exact))
}

// Text returns the canonical text of a stored value: false for null. Equal values have equal texts,
// in whatever form they were written: 1.50 is 1.5, a time has its microseconds in UTC. A value of
// another BSON type than the Kind's is an error.
func (f Field) Text(v any) (text string, there bool, err error) {
	if v == nil {
		return "", false, nil
	}
	if f.Kind == Any {
		text, err = anyText(v)
		return text, err == nil, err
	}
	switch v := v.(type) {
	case string:
		text, err = f.storedText(v)
	case bool:
		text, err = strconv.FormatBool(v), f.requireKind(Bool, v)
	case int32:
		text, err = strconv.FormatInt(int64(v), 10), f.requireKind(Int, v)
	case int64:
		text, err = strconv.FormatInt(v, 10), f.requireKind(Int, v)
	case float64:
		text, err = doubleText(v), f.requireKind(Double, v)
	case bson.Decimal128:
		if err = f.requireKind(Decimal, v); err == nil {
			text, err = value.DecimalText(v.String())
		}
	case bson.DateTime:
		text, err = f.dateText(v.Time())
	case time.Time:
		text, err = f.dateText(v)
	case bson.Binary:
		text, err = bytesText(v.Data), f.requireKind(Bytes, v)
	case []byte:
		text, err = bytesText(v), f.requireKind(Bytes, v)
	case bson.A:
		if err = f.requireKind(Array, v); err == nil {
			text, err = f.listText(v)
		}
	default:
		err = notA(f.Kind, v)
	}
	if err != nil {
		return "", false, err
	}
	return text, true, nil
}

func (f Field) requireKind(k Kind, v any) error {
	if f.Kind != k {
		return notA(f.Kind, v)
	}
	return nil
}

func notA(kind Kind, v any) error { return value.NotA(string(kind), v) }

// storedText returns the text of a value stored as a string.
func (f Field) storedText(v string) (string, error) {
	switch f.Kind {
	case Text, JSON, Bits:
		return v, nil
	case UUID:
		if !value.IsUUID([]byte(v)) {
			return "", notA(f.Kind, v)
		}
		if v != strings.ToLower(v) {
			return "", fmt.Errorf("%q is not in lower case", v)
		}
		return v, nil
	case Decimal:
		if _, verdict := value.ParseDecimal([]byte(v)); verdict != value.TooLong {
			return "", notA(f.Kind, v)
		}
		return value.DecimalText(v)
	case Timestamp, Date:
		if _, ok, _ := value.ParseZoned([]byte(v)); ok || !value.IsFar([]byte(v)) {
			return "", notA(f.Kind, v)
		}
		return value.FarText(v), nil
	case Time:
		return value.ClockText(v)
	case Interval:
		if micros, ok := value.ISOMicros([]byte(v)); ok {
			return strconv.FormatInt(micros, 10), nil
		}
	}
	return "", notA(f.Kind, v)
}

func (f Field) dateText(t time.Time) (string, error) {
	switch f.Kind {
	case Timestamp:
		return value.TimeText(t), nil
	case Date:
		if t = t.UTC(); t.Equal(t.Truncate(value.SecondsOfDay * time.Second)) {
			return t.Format(time.DateOnly), nil
		}
	}
	return "", notA(f.Kind, t)
}

func doubleText(f float64) string { return string(value.AppendFloat(nil, f)) }

func bytesText(raw []byte) string { return `\x` + hex.EncodeToString(raw) }

// listText returns JSON of the items' texts.
func (f Field) listText(items bson.A) (string, error) {
	of := Field{Kind: f.Items}
	if f.Items == "" {
		of.Kind = Any
	}
	texts := make([]any, len(items))
	for i, item := range items {
		if inner, nested := item.(bson.A); nested {
			text, err := f.listText(inner)
			if err != nil {
				return "", err
			}
			texts[i] = json.RawMessage(text)
			continue
		}
		text, there, err := of.Text(item)
		if err != nil {
			return "", fmt.Errorf("item %d: %w", i, err)
		}
		if there {
			texts[i] = text
		}
	}
	return itemsAsJSON(texts)
}

// exactListText is listText of the exact texts of timestamps.
func exactListText(items bson.A) (string, error) {
	texts := make([]any, len(items))
	for i, item := range items {
		switch item := item.(type) {
		case nil:
		case string:
			texts[i] = value.FarText(item)
			if t, ok, _ := value.ParseZoned([]byte(item)); ok {
				texts[i] = value.TimeText(t.Time())
			}
		default:
			return "", notA(Timestamp, item)
		}
	}
	return itemsAsJSON(texts)
}

func itemsAsJSON(v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write a text of the items: %w", err)
	}
	return string(text), nil
}

// PostgresText returns the canonical text, as Text's, of a value in PostgreSQL's output format
// (DateStyle ISO, IntervalStyle postgres).
func (f Field) PostgresText(text string) (string, error) {
	switch f.Kind {
	case UUID:
		if value.IsUUID([]byte(text)) {
			return strings.ToLower(text), nil
		}
	case Text, JSON, Bits:
		return text, nil
	case Any:
		return plainText(text), nil
	case Bool:
		switch text {
		case "t", "true":
			return "true", nil
		case "f", "false":
			return "false", nil
		}
	case Int:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.FormatInt(n, 10), nil
		}
	case Decimal:
		return value.DecimalText(text)
	case Double:
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return doubleText(n), nil
		}
	case Timestamp:
		return value.PostgresTime(text)
	case Date:
		return value.PostgresDate(text)
	case Time:
		return value.ClockText(text)
	case Interval:
		if micros, ok := value.PostgresInterval(text); ok {
			return strconv.FormatInt(micros, 10), nil
		}
	case Bytes:
		digits, prefixed := strings.CutPrefix(text, `\x`)
		if _, err := hex.DecodeString(digits); err == nil && prefixed {
			return strings.ToLower(text), nil
		}
	case Array:
		return f.postgresArray(text)
	}
	return "", notA(f.Kind, text)
}

// anyText returns the text of a value of unknown kind, by the BSON type alone. Values printed by
// PostgreSQL go through plainText too, so that equal values have equal texts.
func anyText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return plainText(v), nil
	case bson.M, bson.D:
		raw, err := bson.MarshalExtJSON(v, true, false)
		if err != nil {
			return "", fmt.Errorf("write a document as a text: %w", err)
		}
		return string(raw), nil
	case bson.DateTime:
		return value.TimeText(v.Time()), nil
	}
	for _, k := range []Kind{Bool, Int, Double, Decimal, Bytes, Array} {
		if text, there, err := (Field{Kind: k}).Text(v); err == nil && there {
			return plainText(text), nil
		}
	}
	return "", notA(Any, v)
}

// plainText makes a single text of all the ways to write a number or a time.
func plainText(text string) string {
	if number, err := value.DecimalText(text); err == nil {
		return number
	}
	if t, err := value.PostgresTime(text); err == nil {
		return t
	}
	if t, err := value.PostgresDate(text); err == nil {
		return t + "T00:00:00.000000Z"
	}
	return text
}
