package entity

import (
	"fmt"
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
