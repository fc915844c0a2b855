package value

import (
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

// The limits of Decimal128.
const (
	decimalDigits      = 34
	decimalBias        = 6176
	decimalMaxExponent = 6111
)

// Powers of ten: the halves of 10^34, and the greatest that fits 64 bits.
const (
	tenTo34Hi, tenTo34Lo = 0x1ed09bead87c0, 0x378d8e6400000000
	tenTo19              = 1e19
)

// shiftInDigit multiplies by ten and adds a digit.
func (n *number) shiftInDigit(digit byte) {
	carry, lo := bits.Mul64(n.lo, 10)
	lo, c := bits.Add64(lo, uint64(digit), 0)
	n.hi, n.lo = n.hi*10+carry+c, lo
}

// divideByTen divides by ten; false, without a change, where the division is not exact.
func (n *number) divideByTen() bool {
	hi, rest := n.hi/10, n.hi%10
	lo, rest := bits.Div64(rest, n.lo, 10)
	if rest != 0 {
		return false
	}
	n.hi, n.lo = hi, lo
	return true
}

func (n *number) zero() bool { return n.hi|n.lo == 0 }

// fitExponent brings the exponent into Decimal128's range; false where digits would be lost.
func (n *number) fitExponent() bool {
	if n.zero() {
		n.exponent = min(max(n.exponent, -decimalBias), decimalMaxExponent)
		return true
	}
	for n.exponent < -decimalBias {
		if !n.divideByTen() {
			return false
		}
		n.exponent++
	}
	for n.exponent > decimalMaxExponent {
		n.shiftInDigit(0)
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

// encodeDecimal returns the number as a Decimal; call fitExponent before.
func (n *number) encodeDecimal() Decimal {
	d := Decimal{High: uint64(n.exponent+decimalBias)<<49 | n.hi, Low: n.lo}
	if n.negative {
		d.High |= decimalSign
	}
	return d
}

// appendText appends the number without an exponent, with all the digits of its scale.
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

// appendScientific appends the number with an exponent: 15e-1.
func (n *number) appendScientific(dst []byte) []byte {
	if n.negative {
		dst = append(dst, '-')
	}
	return strconv.AppendInt(append(n.appendDigits(dst), 'e'), int64(n.exponent), 10)
}

// magnitude returns the place of the leading digit: 3 for 150, -1 for 0.015.
func (n *number) magnitude() int {
	var room [decimalDigits + 6]byte
	return len(n.appendDigits(room[:0])) + n.exponent
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

func (n *number) parseNumber(text []byte) Verdict {
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		n.negative, text = text[0] == '-', text[1:]
	}
	whole, text := leadingDigits(text)
	var fraction []byte
	if len(text) > 0 && text[0] == '.' {
		fraction, text = leadingDigits(text[1:])
	}
	if len(whole)+len(fraction) == 0 {
		return NoDecimal
	}
	if len(text) > 0 {
		if text[0] != 'e' && text[0] != 'E' {
			return NoDecimal
		}
		power, err := strconv.Atoi(string(text[1:]))
		if err != nil || power > maxExponent || power < -maxExponent {
			return NoDecimal
		}
		n.exponent = power
	}
	return n.takeDigits(whole, fraction)
}

// takeDigits takes the digits; beyond the 34th all must be zeros.
func (n *number) takeDigits(whole, fraction []byte) Verdict {
	n.exponent -= len(fraction)
	held := 0
	for _, digits := range [2][]byte{whole, fraction} {
		for _, d := range digits {
			switch {
			case held < decimalDigits:
				if n.shiftInDigit(d - '0'); held > 0 || d != '0' {
					held++
				}
			case d == '0':
				n.exponent++
			default:
				return TooLong
			}
		}
	}
	if !n.fitExponent() {
		return TooLong
	}
	return Fits
}

func leadingDigits(text []byte) (digits, rest []byte) {
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	return text[:i], text[i:]
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

// bigInUnits returns the number in units of 10^exponent.
func (n *number) bigInUnits(exponent int) *big.Int {
	v := new(big.Int).SetUint64(n.hi)
	v.Lsh(v, 64).Or(v, new(big.Int).SetUint64(n.lo))
	v.Mul(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n.exponent-exponent)), nil))
	if n.negative {
		v.Neg(v)
	}
	return v
}
