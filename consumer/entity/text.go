package entity

import (
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
		if err == nil && f.Kind == Timestamp {
			text, err = withExact(text, there, document[member+ExactSuffix])
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
func withExact(date string, there bool, exact any) (string, error) {
	if exact == nil {
		return date, nil
	}
	text, is := exact.(string)
	if !is {
		return "", fmt.Errorf("its exact text is %s", describe(exact))
	}
	t, err := parseISO(text)
	if err != nil {
		return "", fmt.Errorf("its exact text: %w", err)
	}
	if !there || timeText(bson.NewDateTimeFromTime(t).Time()) != date {
		return "", fmt.Errorf("the date %q and the exact text %q disagree", date, text)
	}
	return timeText(t), nil
}

// Text is the canonical text of a stored value: false for null. Equal values have equal texts,
// whatever they were written as: 1.50 is 1.5, a time has its microseconds in UTC. A value of
// another BSON type than the Kind is stored as is an error.
func (f Field) Text(v any) (text string, there bool, err error) {
	if v == nil {
		return "", false, nil
	}
	switch f.Kind {
	case UUID:
		if text, err = uuidOf(v); err == nil && text != v {
			err = fmt.Errorf("%q is not in lower case", v)
		}
	case Text:
		text, err = textOf(v)
	case Bool:
		if b, is := v.(bool); is {
			return strconv.FormatBool(b), true, nil
		}
		err = notA(f.Kind, v)
	case Int:
		switch n := v.(type) {
		case int64:
			text = strconv.FormatInt(n, 10)
		case int32:
			text = strconv.FormatInt(int64(n), 10)
		default:
			err = notA(f.Kind, v)
		}
	case Decimal:
		if d, is := v.(bson.Decimal128); is {
			text, err = decimalText(d.String())
		} else {
			err = notA(f.Kind, v)
		}
	case Timestamp:
		switch t := v.(type) {
		case bson.DateTime:
			text = timeText(t.Time())
		case time.Time:
			text = timeText(t)
		default:
			err = notA(f.Kind, v)
		}
	default:
		err = fmt.Errorf("kind %q is unknown", f.Kind)
	}
	return text, err == nil, err
}

// PostgresText is the canonical text, as Text's, of a value in PostgreSQL's output format
// (DateStyle ISO).
func (f Field) PostgresText(text string) (string, error) {
	switch f.Kind {
	case UUID:
		return uuidOf(text)
	case Text:
		return text, nil
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
	case Timestamp:
		t, err := parsePostgres(text)
		if err != nil {
			return "", err
		}
		return timeText(t), nil
	}
	return "", notA(f.Kind, text)
}

// specialDecimals are the values without digits: PostgreSQL's and Decimal128's names, and
// Debezium's with decimal.handling.mode=string.
var specialDecimals = map[string]string{
	"nan": "NaN", "infinity": "Infinity", "-infinity": "-Infinity", "inf": "Infinity",
	"-inf": "-Infinity", "positive_infinity": "Infinity", "negative_infinity": "-Infinity",
}

// maxExponent is beyond Decimal128's 6144 and its 34 digits.
const maxExponent = 6200

// decimalText writes a decimal without exponent, superfluous zeros or the sign of a zero.
func decimalText(text string) (string, error) {
	if special, is := specialDecimals[strings.ToLower(text)]; is {
		return special, nil
	}
	bad := notA(Decimal, text)
	rest, exponent := text, 0
	if mantissa, power, scientific := strings.Cut(strings.ToLower(text), "e"); scientific {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil {
			return "", bad
		}
		if exponent > maxExponent || exponent < -maxExponent {
			return "", fmt.Errorf("%s is out of range", describe(text))
		}
		rest = mantissa
	}
	sign := ""
	if rest != "" && (rest[0] == '-' || rest[0] == '+') {
		sign = strings.TrimPrefix(rest[:1], "+")
		rest = rest[1:]
	}
	whole, fraction, _ := strings.Cut(rest, ".")
	digits := whole + fraction
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return "", bad
	}
	point := len(whole) + exponent
	if point < 0 {
		digits, point = strings.Repeat("0", -point)+digits, 0
	}
	if short := point - len(digits); short > 0 {
		digits += strings.Repeat("0", short)
	}
	whole = strings.TrimLeft(digits[:point], "0")
	fraction = strings.TrimRight(digits[point:], "0")
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		return sign + whole + "." + fraction, nil
	}
	if whole == "0" {
		return whole, nil
	}
	return sign + whole, nil
}
