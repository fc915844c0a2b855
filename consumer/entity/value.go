package entity

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// KeyMember is the member that holds a document's key.
const KeyMember = "_id"

// ExactSuffix is what a timestamp's member is followed by in the name of the member that holds its
// exact text.
const ExactSuffix = "Exact"

// Member is the name of the document's member: Name, or else the column in camelCase (lab_version
// is labVersion). In a Spec from Load the key column's is KeyMember.
func (f Field) Member() string {
	if f.Name != "" {
		return f.Name
	}
	var b strings.Builder
	upper := false
	for _, r := range f.Column {
		switch {
		case r == '_' && b.Len() > 0:
			upper = true
		case upper:
			b.WriteString(strings.ToUpper(string(r)))
			upper = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// BSON converts a decoded JSON value of Debezium's into what is stored: nil, string, bool, int64,
// bson.Decimal128 or bson.DateTime. exact is a timestamp's RFC 3339 text in UTC where it has more
// than the milliseconds of the date, else "".
//
// Taken are nil, strings of a uuid (stored in lower case) and of a text, booleans, json.Number or
// int64 of an int, strings or json.Number of a decimal, and ISO strings (io.debezium.time.
// ZonedTimestamp) of a timestamp. Anything else is an error, as are a decimal that Decimal128
// cannot hold exactly and a time outside the years 1 to 9999.
func (f Field) BSON(v any) (value any, exact string, err error) {
	if v == nil {
		return nil, "", nil
	}
	switch f.Kind {
	case UUID:
		value, err = uuidOf(v)
	case Text:
		value, err = textOf(v)
	case Bool:
		if b, is := v.(bool); is {
			return b, "", nil
		}
		err = notA(f.Kind, v)
	case Int:
		value, err = intOf(v)
	case Decimal:
		value, err = decimalOf(v)
	case Timestamp:
		return timestampOf(v)
	default:
		err = fmt.Errorf("kind %q is unknown", f.Kind)
	}
	if err != nil {
		return nil, "", err
	}
	return value, "", nil
}

func notA(kind Kind, v any) error { return fmt.Errorf("%s is no %s", describe(v), kind) }

// describe shows a value in an error: its type and its beginning.
func describe(v any) string {
	return fmt.Sprintf("%T %q", v, shorten(fmt.Sprint(v)))
}

func shorten(text string) string {
	cut := 60
	if len(text) <= cut {
		return text
	}
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}

func uuidOf(v any) (string, error) {
	text, is := v.(string)
	if !is || !isUUID(text) {
		return "", notA(UUID, v)
	}
	return strings.ToLower(text), nil
}

func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}

func textOf(v any) (string, error) {
	text, is := v.(string)
	if !is {
		return "", notA(Text, v)
	}
	return text, nil
}

func intOf(v any) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, notA(Int, v)
}

func decimalOf(v any) (bson.Decimal128, error) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	default:
		return bson.Decimal128{}, notA(Decimal, v)
	}
	if special, is := specialDecimals[strings.ToLower(text)]; is {
		text = special
	}
	want, err := decimalText(text)
	if err != nil {
		return bson.Decimal128{}, err
	}
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		return d, fmt.Errorf("%s does not fit Decimal128: %w", describe(v), err)
	}
	// The parser drops digits it has no room for.
	if got, err := decimalText(d.String()); err != nil || got != want {
		return d, fmt.Errorf("%s does not fit the 34 digits of Decimal128", describe(v))
	}
	return d, nil
}

func timestampOf(v any) (any, string, error) {
	text, is := v.(string)
	if !is {
		return nil, "", fmt.Errorf("%w: only ISO texts (timestamptz) are read", notA(Timestamp, v))
	}
	t, err := parseISO(text)
	if err != nil {
		return nil, "", err
	}
	exact := ""
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		exact = t.Format(time.RFC3339Nano)
	}
	return bson.NewDateTimeFromTime(t), exact, nil
}
