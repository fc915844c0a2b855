package entity

import (
	"encoding/base64"
	"math/big"
	"math/bits"
	"strconv"
)

// number is a decimal: (hi, lo) is below 10^34, times 10^exponent.
type number struct {
	hi, lo   uint64
	exponent int
	negative bool
}

// The limits of Decimal128. Source: IEEE 754-2008, 3.5.2; BSON stores the binary encoding.
const (
	decimalDigits      = 34
	decimalBias        = 6176
	decimalMaxExponent = 6111
	decimalNaN         = 0x7c << 56
	decimalInfinity    = 0x78 << 56
	decimalSign        = 1 << 63
)

// 10^34, and the powers of ten that fit 64 bits.
const tenTo34Hi, tenTo34Lo = 0x1ed09bead87c0, 0x378d8e6400000000

const tenTo19 = 1e19

// shift multiplies by ten and adds a digit.
func (n *number) shift(digit byte) {
	carry, lo := bits.Mul64(n.lo, 10)
	lo, c := bits.Add64(lo, uint64(digit), 0)
	n.hi, n.lo = n.hi*10+carry+c, lo
}

// unshift divides by ten where that is exact.
func (n *number) unshift() bool {
	hi, rest := n.hi/10, n.hi%10
	lo, rest := bits.Div64(rest, n.lo, 10)
	if rest != 0 {
		return false
	}
	n.hi, n.lo = hi, lo
	return true
}

func (n *number) zero() bool { return n.hi|n.lo == 0 }

// fit brings the exponent into Decimal128's range, if that is possible without loss.
func (n *number) fit() bool {
	if n.zero() {
		n.exponent = min(max(n.exponent, -decimalBias), decimalMaxExponent)
		return true
	}
	for n.exponent < -decimalBias {
		if !n.unshift() {
			return false
		}
		n.exponent++
	}
	for n.exponent > decimalMaxExponent {
		n.shift(0)
		n.exponent--
		if !n.below10to34() {
			return false
		}
	}
	return true
}

func (n *number) below10to34() bool {
	return n.hi < tenTo34Hi || n.hi == tenTo34Hi && n.lo < tenTo34Lo
}

// encode is the number as BSON has it; call fit before.
func (n *number) encode() (high, low uint64) {
	high = uint64(n.exponent+decimalBias)<<49 | n.hi
	if n.negative {
		high |= decimalSign
	}
	return high, n.lo
}

// decodeDecimal is the reverse; false for NaN and the infinities.
func decodeDecimal(high, low uint64) (number, bool) {
	if high&decimalInfinity == decimalInfinity {
		return number{}, false
	}
	return number{hi: high & (1<<49 - 1), lo: low, exponent: int(high>>49&0x3fff) - decimalBias,
		negative: high&decimalSign != 0}, true
}

// appendText appends it without an exponent, with all the digits of its scale.
func (n *number) appendText(dst []byte) []byte {
	if n.negative {
		dst = append(dst, '-')
	}
	var room [decimalDigits + 6]byte
	digits := n.appendDigits(room[:0])
	switch point := len(digits) + n.exponent; {
	case n.exponent >= 0:
		dst = append(dst, digits...)
		for range n.exponent {
			if n.zero() {
				break
			}
			dst = append(dst, '0')
		}
	case point <= 0:
		dst = append(dst, "0."...)
		for range -point {
			dst = append(dst, '0')
		}
		dst = append(dst, digits...)
	default:
		dst = append(dst, digits[:point]...)
		dst = append(dst, '.')
		dst = append(dst, digits[point:]...)
	}
	return dst
}

func (n *number) appendDigits(dst []byte) []byte {
	if n.hi == 0 {
		return strconv.AppendUint(dst, n.lo, 10)
	}
	high, low := bits.Div64(n.hi, n.lo, tenTo19)
	dst = strconv.AppendUint(dst, high, 10)
	from := len(dst)
	dst = append(dst, "0000000000000000000"...)
	for i := len(dst) - 1; i >= from; i-- {
		dst[i] = byte('0' + low%10)
		low /= 10
	}
	return dst
}

// verdict of reading a decimal.
type verdict uint8

const (
	noDecimal verdict = iota
	fits
	tooLong // for Decimal128
)

// parseDecimal reads a decimal, or one of its special values in any of their names, into what BSON
// has of it.
func parseDecimal(text []byte) (high, low uint64, v verdict) {
	var n number
	if v = n.parse(text); v == fits {
		high, low = n.encode()
		return high, low, fits
	}
	if v == noDecimal {
		switch special(text) {
		case "NaN":
			return decimalNaN, 0, fits
		case "Infinity":
			return decimalInfinity, 0, fits
		case "-Infinity":
			return decimalInfinity | decimalSign, 0, fits
		}
	}
	return 0, 0, v
}

func (n *number) parse(text []byte) verdict {
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		n.negative, text = text[0] == '-', text[1:]
	}
	whole, text := leadingDigits(text)
	var fraction []byte
	if len(text) > 0 && text[0] == '.' {
		fraction, text = leadingDigits(text[1:])
	}
	if len(whole)+len(fraction) == 0 {
		return noDecimal
	}
	if len(text) > 0 {
		if text[0] != 'e' && text[0] != 'E' {
			return noDecimal
		}
		power, err := strconv.Atoi(string(text[1:]))
		if err != nil || power > maxExponent || power < -maxExponent {
			return noDecimal
		}
		n.exponent = power
	}
	return n.add(whole, fraction)
}

// add takes the digits; those beyond the 34th must be zeros.
func (n *number) add(whole, fraction []byte) verdict {
	n.exponent -= len(fraction)
	held := 0
	for _, digits := range [2][]byte{whole, fraction} {
		for _, d := range digits {
			switch {
			case held < decimalDigits:
				if n.shift(d - '0'); held > 0 || d != '0' {
					held++
				}
			case d == '0':
				n.exponent++
			default:
				return tooLong
			}
		}
	}
	if !n.fit() {
		return tooLong
	}
	return fits
}

func leadingDigits(text []byte) (digits, rest []byte) {
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	return text[:i], text[i:]
}

// special is the name of a value without digits, "" if it is none.
func special(text []byte) string {
	if len(text) < len("nan") || len(text) > len("positive_infinity") {
		return ""
	}
	return specialDecimals[lower(text)]
}

func lower(text []byte) string {
	var room [24]byte
	b := append(room[:0], text...)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// maxScale is beyond PostgreSQL's 16383 digits after the point.
const maxScale = 20000

// unscaled reads a precise decimal: the base64 of a big-endian two's complement. scratch is memory
// to decode into; long is the text where Decimal128 cannot hold the number.
func unscaled(encoded []byte, scale int, scratch []byte) (high, low uint64, long []byte, v verdict) {
	raw, err := base64.StdEncoding.AppendDecode(scratch[:0], encoded)
	if err != nil || len(raw) == 0 || scale > maxScale || scale < -maxScale {
		return 0, 0, nil, noDecimal
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
		if n.below10to34() && n.fit() {
			high, low = n.encode()
			return high, low, nil, fits
		}
	}
	text := longText(raw, scale)
	if high, low, v = parseDecimal(text); v == fits {
		return high, low, nil, fits
	}
	return 0, 0, text, tooLong
}

func longText(raw []byte, scale int) []byte {
	n := new(big.Int).SetBytes(raw)
	if raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	var text []byte
	if n.Sign() < 0 {
		text = append(text, '-')
	}
	digits := n.Abs(n).Append(nil, 10)
	for range -scale {
		digits = append(digits, '0')
	}
	if scale <= 0 {
		return append(text, digits...)
	}
	for len(digits) <= scale {
		digits = append([]byte{'0'}, digits...)
	}
	text = append(text, digits[:len(digits)-scale]...)
	text = append(text, '.')
	return append(text, digits[len(digits)-scale:]...)
}

// compare is like that of numbers; NaN has no order.
func compareDecimals(aHigh, aLow, bHigh, bLow uint64) (order int, ordered bool) {
	a, aFinite := decodeDecimal(aHigh, aLow)
	b, bFinite := decodeDecimal(bHigh, bLow)
	if !aFinite || !bFinite {
		if aHigh == decimalNaN || bHigh == decimalNaN {
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
		return weight(aHigh, aFinite) - weight(bHigh, bFinite), true
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
	return a.big(min(a.exponent, b.exponent)).Cmp(b.big(min(a.exponent, b.exponent))), true
}

func (n *number) sign() int {
	switch {
	case n.zero():
		return 0
	case n.negative:
		return -1
	}
	return 1
}

// big is the number in units of 10^exponent.
func (n *number) big(exponent int) *big.Int {
	v := new(big.Int).SetUint64(n.hi)
	v.Lsh(v, 64).Or(v, new(big.Int).SetUint64(n.lo))
	v.Mul(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n.exponent-exponent)), nil))
	if n.negative {
		v.Neg(v)
	}
	return v
}
