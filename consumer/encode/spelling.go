package encode

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strconv"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/value"
)

// readSpelling reads a JSON string in any form made of strings.
func (r *reader) readSpelling(f form, t *debezium.Type, text []byte, s *scalar) bool {
	switch f {
	case asNumeric:
		return r.readDecimal(text, s)
	case asDecimal:
		if t == nil {
			return r.readDecimal(text, s)
		}
		return r.readUnscaled(text, t.Scale, s)
	case asFloat:
		return s.readSpecial(text)
	case asZoned:
		t, dated, far := value.ParseZoned(text)
		if s.is, s.at = isInstant, t; far {
			r.setFarTime(text, s)
		}
		return dated || far
	case asISODate:
		return r.readISODate(text, s)
	case asClock:
		r.scratch = value.TrimFraction(r.scratch[:0], text)
		s.is, s.text = isTimeOfDay, r.scratch
		if t != nil && t.Name == isoTime { // the column has no Z
			s.text = bytes.TrimSuffix(s.text, []byte("Z"))
		}
		return value.IsClock(text)
	case asISODuration:
		s.is, s.text = isDuration, text
		_, ok := value.ISOMicros(text)
		return ok
	case asBase64:
		return r.readBase64(text, s)
	case asHex:
		raw, err := hex.AppendDecode(r.scratch[:0], text)
		if err != nil || bytes.ContainsAny(text, "ABCDEF") { // Debezium writes small letters
			return r.readBase64(text, s)
		}
		r.scratch = raw
		s.is, s.text = isBytes, raw
		return true
	case asBits:
		return r.readBitString(text, t, s)
	}
	return false
}

// readSpecial reads the numbers that JSON lacks.
func (s *scalar) readSpecial(text []byte) (is bool) {
	s.is = isDouble
	s.f, is = value.ParseSpecial(text)
	return is
}

// readISODate reads YYYY-MM-DD, with or without the Z of Debezium's IsoDate.
func (r *reader) readISODate(text []byte, s *scalar) bool {
	text = bytes.TrimSuffix(text, []byte("Z"))
	days, ok := value.ParseDay(text)
	if s.is, s.n = isDay, days; ok && days >= value.DayMin {
		return true
	}
	r.setFarTime(text, s)
	return ok || value.IsFarDay(text)
}

// setFarTime makes the scalar a time that no date can hold: unchanged, but for infinity.
func (r *reader) setFarTime(text []byte, s *scalar) {
	s.is, s.text = isFarTime, text
	r.scratch = value.TrimFraction(r.scratch[:0], text)
	if infinite := value.InfiniteText(r.scratch); infinite != "" {
		r.scratch = append(r.scratch[:0], infinite...)
		s.text = r.scratch
	}
}

func (r *reader) readUnscaled(encoded []byte, scale int, s *scalar) bool {
	d, long, v := value.ParseUnscaled(encoded, scale, r.scratch)
	return s.takeDecimal(d, long, v)
}

// readVariableScale reads the struct of a decimal with its own scale; false for any other object.
func (r *reader) readVariableScale(v debezium.Value, s *scalar) bool {
	var scale int64
	var encoded []byte
	members, whole := 0, false
	for name, member := range v.Members() {
		switch string(name) {
		case "scale":
			scale, whole = member.Int()
		case "value":
			if member.Kind() == debezium.String {
				encoded = member.Text()
			}
		default:
			return false
		}
		members++
	}
	return members == 2 && whole && encoded != nil &&
		scale >= -value.MaxScale && scale <= value.MaxScale &&
		r.readUnscaled(encoded, int(scale), s)
}

func (r *reader) readBase64(text []byte, s *scalar) bool {
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

// maxPadded bounds the digits for which a schema alone can ask.
const maxPadded = 1 << 16

// readBitString reads a bit string: bytes, the lowest first. A value has as many digits as the
// column has bits. A value of fewer bytes may be a varbit's, and has only the digits needed,
// because the record lacks the varbit's length. Only column.propagate.source.type tells a bit(n).
func (r *reader) readBitString(text []byte, t *debezium.Type, s *scalar) bool {
	if !r.readBase64(text, s) {
		return false
	}
	raw := bytes.Clone(s.text)
	length, n := 0, len(raw)*8
	if t != nil {
		length, _ = strconv.Atoi(t.Parameters[debezium.ParameterLength])
		if t.Parameters[debezium.ParameterColumnType] == "BIT" && length <= maxPadded {
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
