package entity

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// RowText is a row in texts that compare with DocumentText's: by member, for every Field but the
// key, nil for NULL. columns are the row's values as PostgreSQL's ::text gives them (DateStyle ISO,
// any time zone), by column; nil or absent is NULL. An error names the column.
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

// DocumentText is a document, or the sub-document of an embedded entity, in texts that compare with
// RowText's; nil for a member that is null or absent. A value of another BSON type than its Field
// is stored as is an error, as is a date that disagrees with the exact text beside it; it names the
// member.
func (s *Spec) DocumentText(document bson.M) (map[string]*string, error) {
	texts := make(map[string]*string, len(s.Fields))
	for _, f := range s.Fields {
		if f.Column == s.Key {
			continue
		}
		member := f.Member()
		texts[member] = nil
		text, there, err := f.Text(document[member])
		if err == nil && f.exact() {
			text, err = f.withExact(text, there, document[member+ExactSuffix])
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

// withExact prefers the exact text to that of the date, if they agree.
func (f Field) withExact(dated string, there bool, exact any) (string, error) {
	switch exact := exact.(type) {
	case nil:
		return dated, nil
	case string:
		t, ok, _ := parseZoned([]byte(exact))
		if !ok {
			return "", fmt.Errorf("its exact text %q is no time", shorten(exact))
		}
		if !there || timeText(time.UnixMilli(t.millis())) != dated {
			return "", fmt.Errorf("the date %q and the exact text %q disagree", dated, shorten(exact))
		}
		return timeText(time.Unix(t.seconds, t.nanos)), nil
	case bson.A:
		if f.Kind == Array {
			return exactList(exact)
		}
	}
	return "", fmt.Errorf("its exact text is %s", describe(exact))
}

// Text is the canonical text of a stored value: false for null. Equal values have equal texts,
// whatever they were written as: 1.50 is 1.5, a time has its microseconds in UTC. A value of
// another BSON type than the Kind is stored as is an error.
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
		text, err = strconv.FormatBool(v), f.want(Bool, v)
	case int32:
		text, err = strconv.FormatInt(int64(v), 10), f.want(Int, v)
	case int64:
		text, err = strconv.FormatInt(v, 10), f.want(Int, v)
	case float64:
		text, err = doubleText(v), f.want(Double, v)
	case bson.Decimal128:
		if err = f.want(Decimal, v); err == nil {
			text, err = decimalText(v.String())
		}
	case bson.DateTime:
		text, err = f.dateText(v.Time())
	case time.Time:
		text, err = f.dateText(v)
	case bson.Binary:
		text, err = bytesText(v.Data), f.want(Bytes, v)
	case []byte:
		text, err = bytesText(v), f.want(Bytes, v)
	case bson.A:
		if err = f.want(Array, v); err == nil {
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

func (f Field) want(k Kind, v any) error {
	if f.Kind != k {
		return notA(f.Kind, v)
	}
	return nil
}

func notA(kind Kind, v any) error { return fmt.Errorf("%s is no %s", describe(v), kind) }

// describe shows a value in an error: its type and its beginning.
func describe(v any) string {
	return fmt.Sprintf("%T %q", v, shorten(fmt.Sprint(v)))
}

// storedText is that of what is stored as a string.
func (f Field) storedText(v string) (string, error) {
	switch f.Kind {
	case Text, JSON, Bits:
		return v, nil
	case UUID:
		if !isUUID([]byte(v)) {
			return "", notA(f.Kind, v)
		}
		if v != strings.ToLower(v) {
			return "", fmt.Errorf("%q is not in lower case", v)
		}
		return v, nil
	case Decimal:
		if _, _, verdict := parseDecimal([]byte(v)); verdict != tooLong {
			return "", notA(f.Kind, v)
		}
		return decimalText(v)
	case Timestamp, Date:
		if _, ok, _ := parseZoned([]byte(v)); ok || !isFar([]byte(v)) {
			return "", notA(f.Kind, v)
		}
		return farText(v), nil
	case Time:
		return clockText(v)
	case Interval:
		if micros, ok := isoMicros([]byte(v)); ok {
			return strconv.FormatInt(micros, 10), nil
		}
	}
	return "", notA(f.Kind, v)
}

func (f Field) dateText(t time.Time) (string, error) {
	switch f.Kind {
	case Timestamp:
		return timeText(t), nil
	case Date:
		if t = t.UTC(); t.Equal(t.Truncate(secondsOfDay * time.Second)) {
			return t.Format(time.DateOnly), nil
		}
	}
	return "", notA(f.Kind, t)
}

func doubleText(f float64) string { return string(appendFloat(nil, f)) }

func bytesText(raw []byte) string { return `\x` + hex.EncodeToString(raw) }

// listText is JSON of the items' texts.
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
	return jsonOf(texts)
}

// exactList is listText of the exact texts of timestamps.
func exactList(items bson.A) (string, error) {
	texts := make([]any, len(items))
	for i, item := range items {
		switch item := item.(type) {
		case nil:
		case string:
			texts[i] = farText(item)
			if t, ok, _ := parseZoned([]byte(item)); ok {
				texts[i] = timeText(time.Unix(t.seconds, t.nanos))
			}
		default:
			return "", notA(Timestamp, item)
		}
	}
	return jsonOf(texts)
}

func jsonOf(v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write a text of the items: %w", err)
	}
	return string(text), nil
}

// PostgresText is the canonical text, as Text's, of a value in PostgreSQL's output format
// (DateStyle ISO, IntervalStyle postgres).
func (f Field) PostgresText(text string) (string, error) {
	switch f.Kind {
	case UUID:
		if isUUID([]byte(text)) {
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
		return decimalText(text)
	case Double:
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return doubleText(n), nil
		}
	case Timestamp:
		return postgresTime(text)
	case Date:
		return postgresDate(text)
	case Time:
		return clockText(text)
	case Interval:
		if micros, ok := postgresInterval(text); ok {
			return strconv.FormatInt(micros, 10), nil
		}
	case Bytes:
		if _, err := hex.DecodeString(strings.TrimPrefix(text, `\x`)); err == nil && strings.HasPrefix(text, `\x`) {
			return strings.ToLower(text), nil
		}
	case Array:
		return f.postgresArray(text)
	}
	return "", notA(f.Kind, text)
}

// anyText is the text of a value of which only the BSON type says what it is. What PostgreSQL prints
// goes through plainText too, so that equal values have equal texts.
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
		return timeText(v.Time()), nil
	}
	for _, k := range []Kind{Bool, Int, Double, Decimal, Bytes, Array} {
		if text, there, err := (Field{Kind: k}).Text(v); err == nil && there {
			return plainText(text), nil
		}
	}
	return "", notA(Any, v)
}

// plainText makes one text of the ways in which a number or a time can be written.
func plainText(text string) string {
	if number, err := decimalText(text); err == nil {
		return number
	}
	if t, err := postgresTime(text); err == nil {
		return t
	}
	if t, err := postgresDate(text); err == nil {
		return t + "T00:00:00.000000Z"
	}
	return text
}
