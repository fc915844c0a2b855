// Package unit prints numbers with their units, for sentences, tables and axes. The package knows
// nothing of a Run. Start reading at Number, then at Amount.
package unit

import (
	"fmt"
	"math"
	"strings"
)

// Number prints a value with about three significant digits and no exponent, such as 0.042, 99.9,
// 2140.
func Number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0:
		return "-" + Number(-v)
	case v < 0.001:
		return "<0.001"
	case v < 1:
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
	case v < 100:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	return fmt.Sprintf("%.0f", v)
}

// Ms prints milliseconds with the digits that matter and no unit, such as 0.42, 6.6, 2140: the
// columns of a table share a unit.
func Ms(v float64) string {
	switch {
	case v < 1:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Duration prints milliseconds in the unit that makes the text short, such as "420 µs", "6.6 ms",
// "2 min".
func Duration(v float64) string {
	switch {
	case v >= 60_000:
		return Number(v/60_000) + " min"
	case v >= 1000:
		return Number(v/1000) + " s"
	case v < 0.1:
		return Number(v*1000) + " µs"
	}
	return Number(v) + " ms"
}

// SecondsOr prints seconds, or other words for a time below 0, which means no time.
func SecondsOr(otherwise string, s float64) string {
	if s < 0 {
		return otherwise
	}
	return Number(s) + " s"
}

// Bytes prints a number of bytes in powers of 1024, such as "61.0 MiB".
func Bytes(n int64) string {
	const kibi = 1 << 10
	switch {
	case n >= kibi*kibi*kibi:
		return fmt.Sprintf("%.1f GiB", float64(n)/(kibi*kibi*kibi))
	case n >= kibi*kibi:
		return fmt.Sprintf("%.1f MiB", float64(n)/(kibi*kibi))
	case n >= kibi:
		return fmt.Sprintf("%.1f KiB", float64(n)/kibi)
	}
	return fmt.Sprintf("%d B", n)
}

// Amount prints a number, perhaps a negative number, with its unit: "bytes" as Bytes does, any
// other as given.
func Amount(v float64, unit string) string {
	switch {
	case v < 0 && v > -0.001:
		return Amount(0, unit)
	case v < 0:
		return "-" + Amount(-v, unit)
	case unit == "bytes":
		return Bytes(int64(v))
	}
	return strings.TrimSpace(Number(v) + " " + unit)
}

// Plural prints a count with the word for one or for many, such as "1 write", "3 writes".
func Plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Shares prints the shares of counts in their sum, in per cent, such as "70/20/10".
func Shares(counts ...int64) string {
	var all int64
	for _, n := range counts {
		all += n
	}
	var shares []string
	for _, n := range counts {
		shares = append(shares, Number(math.Round(100*float64(n)/float64(max(1, all)))))
	}
	return strings.Join(shares, "/")
}
