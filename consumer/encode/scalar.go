package encode

import (
	"bytes"
	"math"
	"strconv"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/value"
)

// class is the type of a scalar's content.
type class uint8

const (
	isNothing class = iota
	isText
	isBool
	isInt64
	isDecimal
	isLong // a decimal too long for Decimal128, as text
	isDouble
	isInstant
	isDay       // days since 1970, between the years 1 and 9999
	isFarTime   // a time that no date can hold, as text
	isTimeOfDay // as text
	isDuration  // as text
	isBytes
	isArray
	isObject
)

// scalar is a value on the way from a record into a document. Its text is valid until the reader's
// next read.
type scalar struct {
	is      class
	uuid    bool // the text is known to be a UUID, in lower case
	text    []byte
	n       int64 // an int, 1 for true, days
	decimal value.Decimal
	f       float64
	at      value.Instant
	v       debezium.Value // an array, an object or a number
}

// reader reads values, and owns the memory of their texts.
type reader struct{ scratch []byte }

// readScalar reads a value in its column's form; false where the value has another form.
func (r *reader) readScalar(f form, t *debezium.Type, v debezium.Value, s *scalar) bool {
	s.is, s.v, s.uuid = isNothing, v, false
	switch f {
	case asPlain:
		return r.readByJSONType(v, s)
	case asJSON:
		if v.Kind() != debezium.String {
			r.scratch = v.AppendJSON(r.scratch[:0])
			s.is, s.text = isText, r.scratch
			return true
		}
		return readString(v, s)
	case asString:
		return readString(v, s)
	case asUUID:
		if !readString(v, s) {
			return false
		}
		r.lowerUUID(s)
		return true
	case asBool, asBitText:
		if f == asBitText && v.Kind() == debezium.String && len(bytes.Trim(v.Text(), "01")) > 0 {
			return r.readBitString(v.Text(), t, s)
		}
		return readBoolean(f, v, s)
	case asArray:
		s.is = isArray
		return v.Kind() == debezium.Array
	case asObject:
		return r.readByJSONType(v, s) && s.is >= isArray
	}
	switch v.Kind() {
	case debezium.Number:
		return r.readNumber(f, v, s)
	case debezium.String:
		return r.readSpelling(f, t, v.Text(), s)
	case debezium.Object:
		return f == asVariable && r.readVariableScale(v, s)
	}
	return false
}

func readString(v debezium.Value, s *scalar) bool {
	s.is, s.text = isText, v.Text()
	return v.Kind() == debezium.String
}

// lowerUUID makes a UUID lower case, and leaves any other text alone.
func (r *reader) lowerUUID(s *scalar) {
	var upper bool
	if s.uuid, upper = value.ParseUUID(s.text); upper {
		r.scratch = append(r.scratch[:0], s.text...)
		s.text = bytes.ToLower(r.scratch)
	}
}

func readBoolean(f form, v debezium.Value, s *scalar) bool {
	if v.Kind() == debezium.String && f == asBitText {
		return readString(v, s)
	}
	if s.is, s.n = isBool, 0; v.Bool() {
		s.n = 1
	}
	if f == asBitText {
		s.is, s.text = isText, []byte{byte('0' + s.n)}
	}
	return v.Kind() == debezium.Bool
}

// readByJSONType reads a value by its JSON type.
func (r *reader) readByJSONType(v debezium.Value, s *scalar) bool {
	switch s.v = v; v.Kind() {
	case debezium.String:
		return readString(v, s)
	case debezium.Bool:
		return readBoolean(asBool, v, s)
	case debezium.Number:
		return r.readLiteral(v.Text(), s)
	case debezium.Array:
		s.is = isArray
		return true
	case debezium.Object:
		if r.readVariableScale(v, s) {
			return true
		}
		s.is = isObject
		return true
	}
	return false
}

// readLiteral reads a number without a schema.
func (r *reader) readLiteral(text []byte, s *scalar) bool {
	if !bytes.ContainsAny(text, ".eE") {
		if n, ok := value.ParseInt(text); ok && !(n == 0 && text[0] == '-') {
			s.is, s.n = isInt64, n
			return true
		}
	} else if f, err := strconv.ParseFloat(string(text), 64); err == nil &&
		value.SameNumber(text, f) {
		s.is, s.f = isDouble, f
		return true
	}
	if !r.readDecimal(text, s) { // an exponent beyond reason
		s.is, s.text = isLong, text
	}
	return true
}

// readDecimal reads a decimal's text, or a special value's.
func (r *reader) readDecimal(text []byte, s *scalar) bool {
	d, v := value.ParseDecimal(text)
	return s.takeDecimal(d, text, v)
}

// takeDecimal makes the scalar a decimal, or a text where Decimal128 cannot hold the number.
func (s *scalar) takeDecimal(d value.Decimal, text []byte, v value.Verdict) bool {
	switch v {
	case value.Fits:
		s.is, s.decimal = isDecimal, d
	case value.TooLong:
		s.is, s.text = isLong, text
	}
	return v != value.NoDecimal
}

// readNumber reads a JSON number in any form made of numbers.
func (r *reader) readNumber(f form, v debezium.Value, s *scalar) bool {
	text := v.Text()
	switch f {
	case asNumeric, asDecimal, asVariable:
		return r.readDecimal(text, s)
	case asFloat:
		var err error
		s.is = isDouble
		s.f, err = strconv.ParseFloat(string(text), 64)
		return err == nil
	}
	n, ok := value.ParseInt(text)
	if !ok {
		return false
	}
	switch s.is, s.n = isInt64, n; f {
	case asInt:
	case asMicros:
		r.readInstant(n, 1e6, s)
	case asMillis:
		r.readInstant(n, 1e3, s)
	case asNanos:
		r.readInstant(n, 1e9, s)
	case asDays, asISODate:
		r.day(n, s)
	case asTimeMicros:
		return r.readTimeOfDay(n, 1e6, s)
	case asTimeMillis:
		return r.readTimeOfDay(n, 1e3, s)
	case asTimeNanos:
		return r.readTimeOfDay(n, 1e9, s)
	case asMicroDuration, asISODuration:
		r.readDuration(n, 1e6, s)
	case asNanoDuration:
		r.readDuration(n, 1e9, s)
	default:
		return false
	}
	return true
}

func (r *reader) readInstant(n, perSecond int64, s *scalar) {
	if text := value.Infinite(n, perSecond); text != "" {
		s.is, s.text = isFarTime, append(r.scratch[:0], text...)
		return
	}
	if s.is, s.at = isInstant, value.InstantOf(n, perSecond); !s.at.Dated() {
		r.scratch = s.at.AppendISO(r.scratch[:0])
		s.is, s.text = isFarTime, r.scratch
	}
}

func (r *reader) day(n int64, s *scalar) {
	s.is = isDay
	if n >= value.DayMin && n <= value.DayMax {
		return
	}
	r.scratch = append(r.scratch[:0], value.InfiniteDay(n)...)
	if len(r.scratch) == 0 {
		r.scratch = value.AppendDay(r.scratch, min(max(n, math.MinInt32), math.MaxInt32))
	}
	s.is, s.text = isFarTime, r.scratch
}

func (r *reader) readTimeOfDay(n, perSecond int64, s *scalar) bool {
	if n < 0 || n > value.SecondsOfDay*perSecond {
		return false
	}
	r.scratch = value.AppendClock(r.scratch[:0], n/perSecond, n%perSecond*(1e9/perSecond))
	s.is, s.text = isTimeOfDay, r.scratch
	return true
}

func (r *reader) readDuration(n, perSecond int64, s *scalar) {
	r.scratch = value.AppendDuration(r.scratch[:0], n, perSecond)
	s.is, s.text = isDuration, r.scratch
}
