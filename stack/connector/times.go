package connector

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	microsPerSecond = 1_000_000
	secondsPerDay   = 24 * 60 * 60
	microsPerDay    = secondsPerDay * microsPerSecond
)

// Debezium's numbers for PostgreSQL's infinities (PostgresValueConverter, pgjdbc).
const (
	timestampInfinity      = int64(9223372036825200000)
	timestampMinusInfinity = int64(-9223372036832400000)
	dateInfinity           = int64(-2147472692)
	dateMinusInfinity      = int64(-2147472691)
)

// dateDays is io.debezium.time.Date: days since 1970.
func dateDays(text string) (any, bool) {
	switch text {
	case "infinity":
		return dateInfinity, true
	case "-infinity":
		return dateMinusInfinity, true
	}
	date, bc := strings.CutSuffix(text, " BC")
	seconds, ok := daySeconds(date, bc)
	return seconds / secondsPerDay, ok
}

// daySeconds reads "2026-11-22": seconds since 1970 at midnight. The year before 1 is 1 BC and
// counts as 0.
func daySeconds(date string, bc bool) (int64, bool) {
	parts := strings.Split(date, "-")
	if len(parts) != 3 {
		return 0, false
	}
	var numbers [3]int
	for i, part := range parts {
		n, ok := digits(part, 7)
		if !ok {
			return 0, false
		}
		numbers[i] = int(n)
	}
	year, month, day := numbers[0], numbers[1], numbers[2]
	if bc {
		year = 1 - year
	}
	at := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return at.Unix(), month == int(at.Month()) && day == at.Day()
}

// clockMicros reads "07:55:47.954888", "24:00:00" too: microseconds since midnight.
func clockMicros(clock string) (int64, bool) {
	clock, fraction, _ := strings.Cut(clock, ".")
	parts := strings.Split(clock, ":")
	if len(parts) != 3 {
		return 0, false
	}
	var seconds int64
	for _, part := range parts {
		n, ok := digits(part, 2)
		if !ok {
			return 0, false
		}
		seconds = seconds*60 + n
	}
	micros, ok := fractionMicros(fraction)
	return seconds*microsPerSecond + micros, ok
}

// fractionMicros reads up to six digits after the point.
func fractionMicros(fraction string) (int64, bool) {
	if fraction == "" {
		return 0, true
	}
	n, ok := digits(fraction, 6)
	for range 6 - len(fraction) {
		n *= 10
	}
	return n, ok
}

// digits reads an unsigned number of at most so many digits.
func digits(text string, most int) (int64, bool) {
	if len(text) == 0 || len(text) > most {
		return 0, false
	}
	var n int64
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// inMillis is true if Debezium counts milliseconds for the type's precision.
func (k kind) inMillis() bool { return k.typmod >= 0 && k.typmod <= 3 }

// timeOfDay is io.debezium.time.MicroTime, or Time of milliseconds up to precision 3.
func (k kind) timeOfDay(text string) (any, bool) {
	micros, ok := clockMicros(text)
	if k.inMillis() {
		return micros / 1000, ok
	}
	return micros, ok
}

// timestamp is io.debezium.time.MicroTimestamp, or Timestamp of milliseconds up to precision 3.
func (k kind) timestamp(text string) (any, bool) {
	micros, ok := timestampMicros(text)
	if k.inMillis() {
		return (micros - (micros%1000+1000)%1000) / 1000, ok
	}
	return micros, ok
}

func timestampMicros(text string) (int64, bool) {
	switch text {
	case "infinity":
		return timestampInfinity, true
	case "-infinity":
		return timestampMinusInfinity, true
	}
	text, bc := strings.CutSuffix(text, " BC")
	date, clock, ok := strings.Cut(text, " ")
	if !ok {
		return 0, false
	}
	seconds, dateOK := daySeconds(date, bc)
	micros, clockOK := clockMicros(clock)
	if seconds > math.MaxInt64/microsPerSecond-secondsPerDay ||
		seconds < math.MinInt64/microsPerSecond {
		return 0, false
	}
	return seconds*microsPerSecond + micros, dateOK && clockOK
}

// zonedTimestamp is io.debezium.time.ZonedTimestamp: ISO 8601 in UTC, with as many digits after the
// point as the column has. The session's time zone is UTC, so the digits need no arithmetic.
func (k kind) zonedTimestamp(text string) (any, bool) {
	if text == "infinity" || text == "-infinity" {
		return text, true
	}
	text, bc := strings.CutSuffix(text, " BC")
	date, clock, _ := strings.Cut(text, " ")
	clock, utc := strings.CutSuffix(clock, "+00")
	_, dateOK := daySeconds(date, bc)
	_, clockOK := clockMicros(clock)
	if !utc || !dateOK || !clockOK {
		return nil, false
	}
	precision := 6
	if k.typmod >= 0 && k.typmod <= 6 {
		precision = int(k.typmod)
	}
	clock, fraction, _ := strings.Cut(clock, ".")
	for len(fraction) < precision {
		fraction += "0"
	}
	if fraction != "" {
		clock += "." + fraction
	}
	return isoYear(date, bc) + "T" + clock + "Z", true
}

// isoYear writes years outside 0 to 9999 as ISO 8601 does: with a sign, 1 BC being 0.
func isoYear(date string, bc bool) string {
	digits, rest, _ := strings.Cut(date, "-")
	if !bc && len(digits) == 4 {
		return date
	}
	year, err := strconv.Atoi(digits)
	if err != nil {
		return date
	}
	switch {
	case bc && year == 1:
		return "0000-" + rest
	case bc:
		return fmt.Sprintf("-%04d-%s", year-1, rest)
	}
	return fmt.Sprintf("+%d-%s", year, rest)
}

// zonedTime is io.debezium.time.ZonedTime: the time of day in UTC, without trailing zeros.
func zonedTime(text string) (any, bool) {
	at := strings.LastIndexAny(text, "+-")
	if at < 0 {
		return nil, false
	}
	micros, ok := clockMicros(text[:at])
	offset := strings.Split(text[at+1:], ":")
	if !ok || len(offset) > 3 {
		return nil, false
	}
	var seconds int64
	for i := range 3 {
		seconds *= 60
		if i < len(offset) {
			n, ok := digits(offset[i], 2)
			if !ok {
				return nil, false
			}
			seconds += n
		}
	}
	if text[at] == '-' {
		seconds = -seconds
	}
	micros = ((micros-seconds*microsPerSecond)%microsPerDay + microsPerDay) % microsPerDay
	clock := time.UnixMicro(micros).UTC().Format("15:04:05.999999")
	return clock + "Z", true
}

// intervalText is io.debezium.time.Interval, interval.handling.mode=string, of an interval in
// PostgreSQL's ISO 8601: P-1MT0.5S becomes P0Y-1M0DT0H0M0.5S, with all parts.
func intervalText(text string) (any, bool) {
	rest, ok := strings.CutPrefix(text, "P")
	if !ok {
		return nil, false
	}
	date, clock, _ := strings.Cut(rest, "T")
	var parts []byte
	for _, half := range []struct{ text, units string }{{date, "YMD"}, {clock, "HMS"}} {
		for _, unit := range half.units {
			amount, after, found := strings.Cut(half.text, string(unit))
			if found {
				half.text = after
			} else {
				amount = "0"
			}
			if !isNumber(amount) {
				return nil, false
			}
			parts = append(append(parts, amount...), string(unit)...)
		}
		if half.text != "" {
			return nil, false
		}
	}
	whole := string(parts)
	return "P" + strings.Replace(whole, "D", "DT", 1), true
}
