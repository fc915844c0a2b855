package entity

import (
	"bytes"
	"math"
	"strconv"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// class is what a scalar holds.
type class uint8

const (
	isNothing class = iota
	isText
	isBool
	isInt64
	isDecimal
	isLong // a decimal that Decimal128 cannot hold, as text
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

// scalar is a value on its way from a record into a document. Its text is valid until the reader's
// next read.
type scalar struct {
	is        class
	uuid      bool // the text is known to be one, in lower case
	text      []byte
	n         int64 // an int, 1 for true, days
	high, low uint64
	f         float64
	at        instant
	v         debezium.Value // an array or object, and whatever the text of a number is
}

// reader reads values; it owns the memory of their texts.
type reader struct{ scratch []byte }

// read reads a value as its column's form says; false where it is not written that way.
func (r *reader) read(f form, t *debezium.Type, v debezium.Value, s *scalar) bool {
	s.is, s.v, s.uuid = isNothing, v, false
	switch f {
	case asPlain:
		return r.plain(v, s)
	case asJSON:
		if v.Kind() != debezium.String {
			r.scratch = v.AppendJSON(r.scratch[:0])
			s.is, s.text = isText, r.scratch
			return true
		}
		return str(v, s)
	case asString:
		return str(v, s)
	case asUUID:
		if !str(v, s) {
			return false
		}
		r.lowerUUID(s)
		return true
	case asBool, asBitText:
		if f == asBitText && v.Kind() == debezium.String && len(bytes.Trim(v.Text(), "01")) > 0 {
			return r.bits(v.Text(), t, s)
		}
		return bit(f, v, s)
	case asArray:
		s.is = isArray
		return v.Kind() == debezium.Array
	case asObject:
		return r.plain(v, s) && s.is >= isArray
	}
	switch v.Kind() {
	case debezium.Number:
		return r.number(f, v, s)
	case debezium.String:
		return r.word(f, t, v.Text(), s)
	case debezium.Object:
		return f == asVariable && r.variable(v, s)
	}
	return false
}

func str(v debezium.Value, s *scalar) bool {
	s.is, s.text = isText, v.Text()
	return v.Kind() == debezium.String
}

// lowerUUID leaves a text alone that is no UUID.
func (r *reader) lowerUUID(s *scalar) {
	var upper bool
	if s.uuid, upper = uuid(s.text); upper {
		r.scratch = append(r.scratch[:0], s.text...)
		s.text = bytes.ToLower(r.scratch)
	}
}

// hexadecimal digits: 1, and with a capital letter 3.
var hexadecimal = func() (is [256]byte) {
	for c := range 6 {
		is['a'+c], is['A'+c] = 1, 3
	}
	for c := '0'; c <= '9'; c++ {
		is[c] = 1
	}
	return is
}()

// uuid recognises one, and whether it has capital letters.
func uuid(text []byte) (is, upper bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return false, false
	}
	all, some := byte(1), byte(0)
	for _, part := range [5][]byte{text[:8], text[9:13], text[14:18], text[19:23], text[24:]} {
		for _, c := range part {
			all &= hexadecimal[c]
			some |= hexadecimal[c]
		}
	}
	return all == 1, all == 1 && some&2 != 0
}

func isUUID(text []byte) bool {
	is, _ := uuid(text)
	return is
}

func bit(f form, v debezium.Value, s *scalar) bool {
	if v.Kind() == debezium.String && f == asBitText {
		return str(v, s)
	}
	if s.is, s.n = isBool, 0; v.Bool() {
		s.n = 1
	}
	if f == asBitText {
		s.is, s.text = isText, []byte{byte('0' + s.n)}
	}
	return v.Kind() == debezium.Bool
}

// plain reads a value by its JSON type.
func (r *reader) plain(v debezium.Value, s *scalar) bool {
	switch s.v = v; v.Kind() {
	case debezium.String:
		return str(v, s)
	case debezium.Bool:
		return bit(asBool, v, s)
	case debezium.Number:
		return r.literal(v.Text(), s)
	case debezium.Array:
		s.is = isArray
		return true
	case debezium.Object:
		if v.Len() == 2 && r.variable(v, s) {
			return true
		}
		s.is = isObject
		return true
	}
	return false
}

// literal reads a number of which no schema says what it is.
func (r *reader) literal(text []byte, s *scalar) bool {
	if !bytes.ContainsAny(text, ".eE") {
		if n, ok := parseInt(text); ok && !(n == 0 && text[0] == '-') {
			s.is, s.n = isInt64, n
			return true
		}
	} else if f, err := strconv.ParseFloat(string(text), 64); err == nil && sameNumber(text, f) {
		s.is, s.f = isDouble, f
		return true
	}
	if !r.decimal(text, s) { // an exponent beyond reason
		s.is, s.text = isLong, text
	}
	return true
}

// sameNumber: the double has the same digits.
func sameNumber(text []byte, f float64) bool {
	var room [32]byte
	return sameDigits(text, strconv.AppendFloat(room[:0], f, 'e', -1, 64))
}

func sameDigits(a, b []byte) bool {
	var n, m number
	if n.parse(a) != fits || m.parse(b) != fits {
		return false
	}
	high, low := n.encode()
	otherHigh, otherLow := m.encode()
	order, ordered := compareDecimals(high, low, otherHigh, otherLow)
	return ordered && order == 0
}

// decimal reads a decimal's text, also that of a special one.
func (r *reader) decimal(text []byte, s *scalar) bool {
	var v verdict
	switch s.high, s.low, v = parseDecimal(text); v {
	case fits:
		s.is = isDecimal
	case tooLong:
		s.is, s.text = isLong, text
	}
	return v != noDecimal
}

// parseInt is strconv.ParseInt of an integer of JSON.
func parseInt(text []byte) (int64, bool) {
	if len(text) > 18 { // might overflow
		n, err := strconv.ParseInt(string(text), 10, 64)
		return n, err == nil
	}
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) == 0 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	n := int64(0)
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, true
}

// number reads a JSON number as a form that has them.
func (r *reader) number(f form, v debezium.Value, s *scalar) bool {
	text := v.Text()
	switch f {
	case asNumeric, asDecimal, asVariable:
		return r.decimal(text, s)
	case asFloat:
		var err error
		s.is = isDouble
		s.f, err = strconv.ParseFloat(string(text), 64)
		return err == nil
	}
	n, ok := parseInt(text)
	if !ok {
		return false
	}
	switch s.is, s.n = isInt64, n; f {
	case asInt:
	case asMicros:
		r.instant(n, 1e6, s)
	case asMillis:
		r.instant(n, 1e3, s)
	case asNanos:
		r.instant(n, 1e9, s)
	case asDays, asISODate:
		r.day(n, s)
	case asTimeMicros:
		return r.clock(n, 1e6, s)
	case asTimeMillis:
		return r.clock(n, 1e3, s)
	case asTimeNanos:
		return r.clock(n, 1e9, s)
	case asMicroDuration, asISODuration:
		r.duration(n, 1e6, s)
	case asNanoDuration:
		r.duration(n, 1e9, s)
	default:
		return false
	}
	return true
}

func (r *reader) instant(n, perSecond int64, s *scalar) {
	if text := infinite(n, perSecond); text != "" {
		s.is, s.text = isFarTime, append(r.scratch[:0], text...)
		return
	}
	if s.is, s.at = isInstant, units(n, perSecond); !s.at.dated() {
		r.scratch = s.at.appendISO(r.scratch[:0])
		s.is, s.text = isFarTime, r.scratch
	}
}

func (r *reader) day(n int64, s *scalar) {
	s.is = isDay
	if n >= dayMin && n <= dayMax {
		return
	}
	r.scratch = append(r.scratch[:0], infiniteDay(n)...)
	if len(r.scratch) == 0 {
		r.scratch = appendDay(r.scratch, min(max(n, math.MinInt32), math.MaxInt32))
	}
	s.is, s.text = isFarTime, r.scratch
}

func (r *reader) clock(n, perSecond int64, s *scalar) bool {
	if n < 0 || n > secondsOfDay*perSecond {
		return false
	}
	r.scratch = appendClock(r.scratch[:0], n/perSecond, n%perSecond*(1e9/perSecond))
	s.is, s.text = isTimeOfDay, r.scratch
	return true
}

func (r *reader) duration(n, perSecond int64, s *scalar) {
	r.scratch = appendDuration(r.scratch[:0], n, perSecond)
	s.is, s.text = isDuration, r.scratch
}
