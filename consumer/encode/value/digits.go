package value

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// specialDecimals are the values without digits: PostgreSQL's and Decimal128's names, and
// Debezium's with decimal.handling.mode=string.
var specialDecimals = map[string]string{
	"nan": "NaN", "infinity": "Infinity", "-infinity": "-Infinity", "inf": "Infinity",
	"-inf": "-Infinity", "positive_infinity": "Infinity", "negative_infinity": "-Infinity",
}

// maxExponent is beyond the 131072 digits that PostgreSQL's numeric has before the point.
const maxExponent = 150_000

// DecimalText writes a decimal without exponent, superfluous zeros or the sign of a zero.
func DecimalText(text string) (string, error) {
	if special, is := specialDecimals[strings.ToLower(text)]; is {
		return special, nil
	}
	bad := NotA("decimal", text)
	rest, exponent := text, 0
	if mantissa, power, scientific := strings.Cut(strings.ToLower(text), "e"); scientific {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil {
			return "", bad
		}
		if exponent > maxExponent || exponent < -maxExponent {
			return "", fmt.Errorf("%s is out of range", Describe(text))
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

// ParseSpecial reads the doubles that JSON lacks, as Debezium writes them.
func ParseSpecial(text []byte) (f float64, is bool) {
	switch string(text) {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

// IsSpecial is true if ParseSpecial reads the text.
func IsSpecial(text []byte) bool {
	_, is := ParseSpecial(text)
	return is
}

// AppendFloat appends the shortest digits of a double, or the name of a special double.
func AppendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// SameNumber is true if the double has the same digits as the text.
func SameNumber(text []byte, f float64) bool {
	var room [32]byte
	return sameDigits(text, strconv.AppendFloat(room[:0], f, 'e', -1, 64))
}

func sameDigits(a, b []byte) bool {
	var n, m number
	if n.parseNumber(a) != Fits || m.parseNumber(b) != Fits {
		return false
	}
	order, ordered := n.encodeDecimal().Compare(m.encodeDecimal())
	return ordered && order == 0
}

// ParseInt is strconv.ParseInt of an integer of JSON.
func ParseInt(text []byte) (int64, bool) {
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
