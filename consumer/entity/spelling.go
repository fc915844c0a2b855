package entity

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// word reads a JSON string as a form that has them.
func (r *reader) word(f form, t *debezium.Type, text []byte, s *scalar) bool {
	switch f {
	case asNumeric:
		return r.decimal(text, s)
	case asDecimal:
		if t == nil {
			return r.decimal(text, s)
		}
		return r.precise(text, t.Scale, s)
	case asFloat:
		return special64(text, s)
	case asZoned:
		t, dated, far := parseZoned(text)
		if s.is, s.at = isInstant, t; far {
			r.far(text, s)
		}
		return dated || far
	case asISODate:
		return r.isoDate(text, s)
	case asClock:
		r.scratch = trimFraction(r.scratch[:0], text)
		s.is, s.text = isTimeOfDay, r.scratch
		if t != nil && t.Name == isoTime { // its Z is not the column's
			s.text = bytes.TrimSuffix(s.text, []byte("Z"))
		}
		return isClock(text)
	case asISODuration:
		s.is, s.text = isDuration, text
		_, ok := isoMicros(text)
		return ok
	case asBase64:
		return r.base64(text, s)
	case asHex:
		raw, err := hex.AppendDecode(r.scratch[:0], text)
		if err != nil || bytes.ContainsAny(text, "ABCDEF") { // Debezium writes small letters
			return r.base64(text, s)
		}
		r.scratch = raw
		s.is, s.text = isBytes, raw
		return true
	case asBits:
		return r.bits(text, t, s)
	}
	return false
}

// special64 reads what JSON has no numbers for.
func special64(text []byte, s *scalar) bool {
	s.is = isDouble
	switch string(text) {
	case "NaN":
		s.f = math.NaN()
	case "Infinity":
		s.f = math.Inf(1)
	case "-Infinity":
		s.f = math.Inf(-1)
	default:
		return false
	}
	return true
}

// isoDate reads YYYY-MM-DD, with the Z that Debezium's IsoDate has or without.
func (r *reader) isoDate(text []byte, s *scalar) bool {
	text = bytes.TrimSuffix(text, []byte("Z"))
	days, ok := parseDay(text)
	if s.is, s.n = isDay, days; ok && days >= dayMin {
		return true
	}
	r.far(text, s)
	return ok || isFarDay(text)
}

// far is a time that no date can hold, as it came but for infinity.
func (r *reader) far(text []byte, s *scalar) {
	s.is, s.text = isFarTime, text
	r.scratch = trimFraction(r.scratch[:0], text)
	if infinite, is := infiniteTexts[string(r.scratch)]; is {
		r.scratch = append(r.scratch[:0], infinite...)
		s.text = r.scratch
	}
}

func isFarDay(text []byte) bool { return isFar(text) && bytes.IndexByte(text, 'T') < 0 }

func (r *reader) precise(encoded []byte, scale int, s *scalar) bool {
	var long []byte
	var v verdict
	r.scratch = r.scratch[:0]
	switch s.high, s.low, long, v = unscaled(encoded, scale, r.scratch); v {
	case fits:
		s.is = isDecimal
	case tooLong:
		s.is, s.text = isLong, long
	}
	return v != noDecimal
}

// variable reads the struct of a decimal of its own scale.
func (r *reader) variable(v debezium.Value, s *scalar) bool {
	if v.Len() != 2 {
		return false
	}
	scale, isNumber := v.Member("scale").Int()
	encoded := v.Member("value")
	return isNumber && encoded.Kind() == debezium.String && scale >= -maxScale && scale <= maxScale &&
		r.precise(encoded.Text(), int(scale), s)
}

func (r *reader) base64(text []byte, s *scalar) bool {
	encoding := base64.StdEncoding
	if bytes.ContainsAny(text, "-_") {
		encoding = base64.URLEncoding
	}
	raw, err := encoding.AppendDecode(r.scratch[:0], text)
	if err != nil {
		return false
	}
	r.scratch = raw
	s.is, s.text = isBytes, raw
	return true
}

// typeParameter is there with Debezium's column.propagate.source.type; maxPadded bounds what a schema
// alone can ask for.
const (
	typeParameter = "__debezium.source.column.type"
	maxPadded     = 1 << 16
)

// bits reads a bit string: bytes, the lowest first. As many digits are made as the column has bits,
// but of a value with fewer bytes than that, which may be a varbit's, as many as it needs: its own
// length is not in the record. Only column.propagate.source.type tells a bit(n).
func (r *reader) bits(text []byte, t *debezium.Type, s *scalar) bool {
	if !r.base64(text, s) {
		return false
	}
	raw := bytes.Clone(s.text)
	length, n := 0, len(raw)*8
	if t != nil {
		length, _ = strconv.Atoi(t.Parameters["length"])
		if t.Parameters[typeParameter] == "BIT" && length <= maxPadded {
			n = max(n, length)
		}
	}
	r.scratch = r.scratch[:0]
	for i := n - 1; i >= 0; i-- {
		one := i/8 < len(raw) && raw[i/8]>>(i%8)&1 == 1
		if one || len(r.scratch) > 0 || i < length && n >= length {
			digit := byte('0')
			if one {
				digit = '1'
			}
			r.scratch = append(r.scratch, digit)
		}
	}
	s.is, s.text = isText, r.scratch
	return true
}
