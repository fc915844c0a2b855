package value

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"math/big"
	"math/bits"
	"strconv"
)

// Decimal is a Decimal128, NaN and the infinities included: the halves of the binary encoding,
// which BSON stores. Source: IEEE 754-2008, 3.5.2.
type Decimal struct{ High, Low uint64 }

// The highest bits of a Decimal that is no finite number, and the sign of any.
const (
	decimalNaN      = 0x7c << 56
	decimalInfinity = 0x78 << 56
	decimalSign     = 1 << 63
)

// finiteNumber returns the finite number in a Decimal; false for NaN and the infinities.
func (d Decimal) finiteNumber() (number, bool) {
	if d.High&decimalInfinity == decimalInfinity {
		return number{}, false
	}
	return number{hi: d.High & (1<<49 - 1), lo: d.Low,
		exponent: int(d.High>>49&0x3fff) - decimalBias, negative: d.High&decimalSign != 0}, true
}

// Verdict says whether a text is a decimal, and whether Decimal128 holds the number.
type Verdict uint8

// The verdicts.
const (
	NoDecimal Verdict = iota
	Fits
	TooLong // for Decimal128
)

// ParseDecimal reads a decimal, or a special value under any of its names.
func ParseDecimal(text []byte) (Decimal, Verdict) {
	var n number
	v := n.parseNumber(text)
	if v == Fits {
		return n.encodeDecimal(), Fits
	}
	if v == NoDecimal {
		switch specialName(text) {
		case "NaN":
			return Decimal{High: decimalNaN}, Fits
		case "Infinity":
			return Decimal{High: decimalInfinity}, Fits
		case "-Infinity":
			return Decimal{High: decimalInfinity | decimalSign}, Fits
		}
	}
	return Decimal{}, v
}

// specialName returns the name of a value without digits, "" for any other text.
func specialName(text []byte) string {
	if len(text) < len("nan") || len(text) > len("positive_infinity") {
		return ""
	}
	return specialDecimals[lowerCaseText(text)]
}

func lowerCaseText(text []byte) string {
	var room [24]byte
	b := append(room[:0], text...)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// MaxScale is beyond PostgreSQL's 16383 digits after the point.
const MaxScale = 20000

// maxUnscaled is beyond the bytes of PostgreSQL's longest numeric, of 147455 digits. The work for
// the digits of a longer number would grow faster than the number.
const maxUnscaled = 62_000

// ParseUnscaled reads a precise decimal: the base64 of a big-endian two's complement. scratch is
// memory to decode into; long is the text where Decimal128 cannot hold the number.
func ParseUnscaled(encoded []byte, scale int, scratch []byte) (d Decimal, long []byte, v Verdict) {
	if len(encoded) > maxUnscaled*4/3 || scale > MaxScale || scale < -MaxScale {
		return Decimal{}, nil, NoDecimal
	}
	raw, err := base64.StdEncoding.AppendDecode(scratch[:0], encoded)
	if err != nil || len(raw) == 0 {
		return Decimal{}, nil, NoDecimal
	}
	n := number{exponent: -scale, negative: raw[0] >= 0x80}
	if len(raw) <= 16 {
		if n.negative {
			n.hi, n.lo = ^uint64(0), ^uint64(0)
		}
		for _, b := range raw {
			n.hi, n.lo = n.hi<<8|n.lo>>56, n.lo<<8|uint64(b)
		}
		if n.negative {
			var borrow uint64
			n.lo, borrow = bits.Sub64(0, n.lo, 0)
			n.hi, _ = bits.Sub64(0, n.hi, borrow)
		}
		if n.below10to34() && n.fitExponent() {
			return n.encodeDecimal(), nil, Fits
		}
	}
	text := unscaledText(raw, scale)
	if d, v = ParseDecimal(text); v == Fits {
		return d, nil, Fits
	}
	return Decimal{}, text, TooLong
}

func unscaledText(raw []byte, scale int) []byte {
	n := new(big.Int).SetBytes(raw)
	if raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	var text []byte
	if n.Sign() < 0 {
		text = append(text, '-')
	}
	digits := n.Abs(n).Append(nil, 10)
	if scale <= 0 {
		return append(append(text, digits...), bytes.Repeat([]byte{'0'}, -scale)...)
	}
	if len(digits) <= scale {
		text = append(text, "0."...)
		text = append(text, bytes.Repeat([]byte{'0'}, scale-len(digits))...)
		return append(text, digits...)
	}
	text = append(text, digits[:len(digits)-scale]...)
	text = append(text, '.')
	return append(text, digits[len(digits)-scale:]...)
}

// Compare orders two decimals as numbers, the infinities included; NaN has no order.
func (d Decimal) Compare(other Decimal) (order int, ordered bool) {
	a, aFinite := d.finiteNumber()
	b, bFinite := other.finiteNumber()
	if !aFinite || !bFinite {
		if d.High == decimalNaN || other.High == decimalNaN {
			return 0, false
		}
		weight := func(high uint64, finite bool) int {
			switch {
			case finite:
				return 0
			case high&decimalSign != 0:
				return -1
			}
			return 1
		}
		return weight(d.High, aFinite) - weight(other.High, bFinite), true
	}
	if sa, sb := a.sign(), b.sign(); sa != sb || sa == 0 {
		return sa - sb, true
	}
	if a.exponent == b.exponent && a.hi|b.hi == 0 {
		order = 0
		if a.lo < b.lo {
			order = -1
		} else if a.lo > b.lo {
			order = 1
		}
		return order * a.sign(), true
	}
	// A leading digit in a higher place decides, so that the exponents of the rest are close.
	if high, other := a.magnitude(), b.magnitude(); high != other {
		return cmp.Compare(high, other) * a.sign(), true
	}
	least := min(a.exponent, b.exponent)
	return a.bigInUnits(least).Cmp(b.bigInUnits(least)), true
}

// Int returns the whole number of a decimal; false with a fraction, or beyond 64 bits.
func (d Decimal) Int() (int64, bool) {
	n, finite := d.finiteNumber()
	if n.zero() {
		n.exponent = 0
	}
	for finite && n.exponent < 0 && n.divideByTen() {
		n.exponent++
	}
	if !finite || n.exponent != 0 {
		return 0, false
	}
	return ParseInt(n.appendText(nil))
}

// Double returns the double of the same digits as a decimal; false without such a double.
func (d Decimal) Double() (float64, bool) {
	n, finite := d.finiteNumber()
	if !finite {
		return 0, false
	}
	text := n.appendScientific(nil)
	f, err := strconv.ParseFloat(string(text), 64)
	return f, err == nil && SameNumber(text, f)
}

// AppendText appends the digits of a decimal, all of its scale, or the name of a special value.
func (d Decimal) AppendText(dst []byte) []byte {
	n, finite := d.finiteNumber()
	switch {
	case finite:
		return n.appendText(dst)
	case d.High == decimalInfinity:
		return append(dst, "Infinity"...)
	case d.High == decimalInfinity|decimalSign:
		return append(dst, "-Infinity"...)
	}
	return append(dst, "NaN"...)
}
