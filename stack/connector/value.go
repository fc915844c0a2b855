package connector

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/jackc/pgx/v5/pgtype"
)

// kind is the part of a column's type that decides the encoding: domains are resolved, and an array
// has the oid of the elements. typmod is PostgreSQL's type modifier, -1 for none.
type kind struct {
	oid    uint32
	typmod int32
	array  bool
}

// value turns PostgreSQL's text of a value into the value in Debezium's JSON (Debezium's
// documentation, "Data type mappings", with decimal.handling.mode and
// interval.handling.mode=string). Text without a rule, or unreadable for the rule, is sent
// unchanged, so that nothing is lost and a consumer that cannot use the text says so.
func (k kind) value(text string) any {
	if k.array {
		return k.elements(text)
	}
	if v, ok := k.scalar(text); ok {
		return v
	}
	return text
}

func (k kind) scalar(text string) (any, bool) {
	switch k.oid {
	case pgtype.BoolOID:
		return text == "t", text == "t" || text == "f"
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		n, err := strconv.ParseInt(text, 10, 64)
		return n, err == nil
	case pgtype.Float4OID, pgtype.Float8OID:
		// NaN and Infinity are no JSON numbers, and strings in Debezium too.
		return json.Number(text), isNumber(text)
	case pgtype.NumericOID:
		return numericText(text), true
	case pgtype.DateOID:
		return dateDays(text)
	case pgtype.TimeOID:
		return k.timeOfDay(text)
	case pgtype.TimetzOID:
		return zonedTime(text)
	case pgtype.TimestampOID:
		return k.timestamp(text)
	case pgtype.TimestamptzOID:
		return k.zonedTimestamp(text)
	case pgtype.IntervalOID:
		return intervalText(text)
	case pgtype.ByteaOID:
		return base64OfHex(text)
	}
	return nil, false
}

// isNumber is true if the text is a number in JSON. Valid alone would admit true and spaces.
func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') &&
		text[len(text)-1] > ' ' && json.Valid([]byte(text))
}

func numericText(text string) string {
	switch text {
	case "NaN":
		return "NAN"
	case "Infinity":
		return "POSITIVE_INFINITY"
	case "-Infinity":
		return "NEGATIVE_INFINITY"
	}
	return text
}

func base64OfHex(text string) (any, bool) {
	digits, ok := strings.CutPrefix(text, `\x`)
	if !ok {
		return nil, false
	}
	raw, err := hex.DecodeString(digits)
	return base64.StdEncoding.EncodeToString(raw), err == nil
}

// zero is the value of a NOT NULL column not sent and without a constant default:
// JdbcValueConverters' fallbacks.
func (k kind) zero() any {
	if k.array {
		return []any{}
	}
	switch k.oid {
	case pgtype.BoolOID:
		return false
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.Float4OID,
		pgtype.Float8OID, pgtype.DateOID, pgtype.TimeOID, pgtype.TimestampOID:
		return int64(0)
	case pgtype.IntervalOID:
		return k.value("PT0S")
	case pgtype.NumericOID:
		return "0"
	case pgtype.TimetzOID:
		return "00:00:00Z"
	case pgtype.TimestamptzOID:
		return k.value("1970-01-01 00:00:00+00")
	}
	return ""
}

// scaled gives a numeric constant the column's digits: the 0 of a numeric(12,2) is 0.00.
func (k kind) scaled(text string) string {
	if k.oid != pgtype.NumericOID || k.array || k.typmod < 4 {
		return text
	}
	// numeric_typmod_scale of PostgreSQL's numeric.c.
	scale := int(((k.typmod-4)&0x7ff)^1024) - 1024
	whole, fraction, _ := strings.Cut(text, ".")
	if missing := scale - len(fraction); scale > 0 && missing > 0 {
		return whole + "." + fraction + strings.Repeat("0", missing)
	}
	return text
}

// unavailable stands for a TOASTed value not sent because unchanged, in Debezium's shapes
// (UnchangedToastedPlaceholder).
func (k kind) unavailable() any {
	if k.array {
		switch k.oid {
		case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
			var numbers []any
			for _, b := range []byte(debezium.Unavailable) {
				numbers = append(numbers, int64(b))
			}
			return numbers
		}
		return []any{debezium.Unavailable}
	}
	if k.oid == pgtype.ByteaOID {
		return base64.StdEncoding.EncodeToString([]byte(debezium.Unavailable))
	}
	return debezium.Unavailable
}
