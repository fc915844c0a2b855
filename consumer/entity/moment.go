package entity

import (
	"math"
	"strconv"
)

// instant is a time between the years 1 and 9999, which is what a document's dates are.
type instant struct {
	seconds int64 // since 1970
	nanos   int64
}

const (
	secondsOfDay = 24 * 60 * 60
	dayMin       = -719162 // 0001-01-01
	dayMax       = 2932896 // 9999-12-31
)

func (t instant) dated() bool {
	return t.seconds >= dayMin*secondsOfDay && t.seconds < (dayMax+1)*secondsOfDay
}

func (t instant) millis() int64 { return t.seconds*1000 + t.nanos/1e6 }

// fine: a date cannot hold it exactly.
func (t instant) fine() bool { return t.nanos%1e6 != 0 }

// appendISO appends RFC 3339 in UTC, with as many digits of the second as it has. Years before 1
// have a sign and are astronomical (-0043 is 44 BC), as are those after 9999 (+10000).
func (t instant) appendISO(dst []byte) []byte {
	days := floorDiv(t.seconds, secondsOfDay)
	dst = append(appendDay(dst, days), 'T')
	return append(appendClock(dst, t.seconds-days*secondsOfDay, t.nanos), 'Z')
}

// units turns a count of fractions of a second into an instant.
func units(n, perSecond int64) instant {
	seconds := floorDiv(n, perSecond)
	return instant{seconds, (n - seconds*perSecond) * (1e9 / perSecond)}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// The counts that stand for infinity. Source: PGStatement.java of PostgreSQL's driver (timestamps;
// Debezium passes them on in microseconds and in milliseconds), and measured (dates, which overflow
// on the way, in a snapshot and in arrays otherwise than in the stream).
const (
	infinityMicros        = 9223372036825200000
	minusInfinityMicros   = -9223372036832400000
	infinityDays          = -2147472692
	minusInfinityDays     = -2147472691
	infinityDaysRead      = -622191234
	minusInfinityDaysRead = -625821272
)

// infiniteTexts are the same in ISO 8601, with time.precision.mode=isostring and in timestamptz[].
var infiniteTexts = map[string]string{
	"-5877611-06-21": infinityText, "-5877611-06-22": minusInfinityText,
	"+292278994-08-16": infinityText, "+292269055-12-02": minusInfinityText,
	"+294247-01-10T04:00:25.2Z": infinityText, "-290308-12-21T19:59:27.6Z": minusInfinityText,
	"+292269055-12-02T23:00:00Z": minusInfinityText,
}

const infinityText, minusInfinityText = "infinity", "-infinity"

// infinite is the text of an infinite timestamp, "" for a finite one.
func infinite(n, perSecond int64) string {
	switch {
	case n == infinityMicros || perSecond == 1e3 && n == infinityMicros/1e3 || n == math.MaxInt64:
		return infinityText
	case n == minusInfinityMicros || perSecond == 1e3 && n == minusInfinityMicros/1e3 || n == math.MinInt64:
		return minusInfinityText
	}
	return ""
}

func infiniteDay(n int64) string {
	switch n {
	case infinityDays, infinityDaysRead, math.MaxInt32:
		return infinityText
	case minusInfinityDays, minusInfinityDaysRead, math.MinInt32:
		return minusInfinityText
	}
	return ""
}

// appendDay appends a date of the proleptic Gregorian calendar, counted in days since 1970.
func appendDay(dst []byte, days int64) []byte {
	year, month, day := civil(days)
	switch {
	case year < 0:
		dst, year = append(dst, '-'), -year
	case year > 9999:
		dst = append(dst, '+')
	}
	for limit := int64(1000); limit > year && limit > 1; limit /= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, year, 10)
	return append(dst, '-', byte('0'+month/10), byte('0'+month%10), '-', byte('0'+day/10), byte('0'+day%10))
}

// civil is the inverse of daysOf. Source: Howard Hinnant, "chrono-Compatible Low-Level Date
// Algorithms", civil_from_days.
func civil(days int64) (year, month, day int64) {
	const era = 146097
	days += 719468
	cycle := floorDiv(days, era)
	of := days - cycle*era
	yearOf := (of - of/1460 + of/36524 - of/146096) / 365
	ofYear := of - (365*yearOf + yearOf/4 - yearOf/100)
	month = (5*ofYear + 2) / 153
	day = ofYear - (153*month+2)/5 + 1
	if month < 10 {
		month += 3
	} else {
		month -= 9
	}
	year = yearOf + cycle*400
	if month <= 2 {
		year++
	}
	return year, month, day
}

func daysOf(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 9
	} else {
		month -= 3
	}
	cycle := floorDiv(year, 400)
	yearOf := year - cycle*400
	return cycle*146097 + yearOf*365 + yearOf/4 - yearOf/100 + (153*month+2)/5 + day - 1 - 719468
}

// appendClock appends HH:MM:SS and the digits of a second that there are. 24:00:00 is a time of day
// in PostgreSQL.
func appendClock(dst []byte, seconds, nanos int64) []byte {
	for i, n := range [3]int64{seconds / 3600, seconds / 60 % 60, seconds % 60} {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, byte('0'+n/10), byte('0'+n%10))
	}
	return appendFraction(dst, nanos)
}

func appendFraction(dst []byte, nanos int64) []byte {
	if nanos == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := int64(1e8); nanos > 0; unit /= 10 {
		dst = append(dst, byte('0'+nanos/unit))
		nanos %= unit
	}
	return dst
}

// appendDuration appends ISO 8601 in hours, minutes and seconds: PT10303H5M6.789S.
func appendDuration(dst []byte, n, perSecond int64) []byte {
	seconds, nanos := n/perSecond, n%perSecond*(1e9/perSecond)
	if n < 0 {
		dst, seconds, nanos = append(dst, '-'), -seconds, -nanos
	}
	dst = append(dst, 'P', 'T')
	if seconds|nanos == 0 {
		return append(dst, '0', 'S')
	}
	if hours := seconds / 3600; hours != 0 {
		dst = append(strconv.AppendInt(dst, hours, 10), 'H')
	}
	if minutes := seconds / 60 % 60; minutes != 0 {
		dst = append(strconv.AppendInt(dst, minutes, 10), 'M')
	}
	if seconds %= 60; seconds|nanos != 0 {
		dst = append(appendFraction(strconv.AppendInt(dst, seconds, 10), nanos), 'S')
	}
	return dst
}

// parseZoned reads RFC 3339 with up to nine digits of a second; dated says whether a document's date
// can hold it, and far whether it is a time that none can: infinity, or a year of another length.
func parseZoned(text []byte) (t instant, dated, far bool) {
	if len(text) < len("2026-11-22T10:00:00Z") || text[4] != '-' || text[10] != 'T' {
		return t, false, isFar(text)
	}
	days, ok := parseDay(text[:10])
	if !ok || text[13] != ':' || text[16] != ':' {
		return t, false, isFar(text)
	}
	hour, minute, second := pair(text[11:]), pair(text[14:]), pair(text[17:])
	if hour > 23 || minute > 59 || second > 59 {
		return t, false, false
	}
	rest := text[19:]
	if rest[0] == '.' {
		digits, after := leadingDigits(rest[1:])
		if len(digits) == 0 || len(digits) > 9 || len(after) == 0 {
			return t, false, false
		}
		for i := range 9 {
			t.nanos *= 10
			if i < len(digits) {
				t.nanos += int64(digits[i] - '0')
			}
		}
		rest = after
	}
	offset, ok := parseOffset(rest)
	if !ok {
		return t, false, false
	}
	t.seconds = days*secondsOfDay + hour*3600 + minute*60 + second - offset
	return t, t.dated(), !t.dated()
}

// pair reads two digits; a large number if they are none.
func pair(text []byte) int64 {
	a, b := text[0]-'0', text[1]-'0'
	if a > 9 || b > 9 {
		return math.MaxInt16
	}
	return int64(a)*10 + int64(b)
}

// parseDay reads YYYY-MM-DD.
func parseDay(text []byte) (days int64, ok bool) {
	if len(text) != 10 || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	century, year, month, day := pair(text), pair(text[2:]), pair(text[5:]), pair(text[8:])
	if century > 99 || year > 99 || month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, false
	}
	if year += century * 100; day > 28 && day > monthDays[month] && !(month == 2 && day == 29 && leap(year)) {
		return 0, false
	}
	return daysOf(year, month, day), true
}

var monthDays = [13]int64{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func leap(year int64) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func parseOffset(text []byte) (seconds int64, ok bool) {
	if len(text) == 1 {
		return 0, text[0] == 'Z'
	}
	if len(text) != len("+00:00") || text[3] != ':' || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	hours, minutes := pair(text[1:]), pair(text[4:])
	if hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds = hours*3600 + minutes*60
	if text[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// isFar recognises infinity, and ISO 8601 with a year that is not one of 0 to 9999.
func isFar(text []byte) bool {
	if string(text) == infinityText || string(text) == minusInfinityText {
		return true
	}
	if len(text) < len("-0043-03-15") || text[0] != '-' && text[0] != '+' {
		return false
	}
	year, rest := leadingDigits(text[1:])
	if len(year) < 4 || len(year) > 9 || len(rest) < len("-03-15") {
		return false
	}
	if _, ok := parseDay(append([]byte("2000"), rest[:6]...)); !ok {
		return false
	}
	if rest = rest[6:]; len(rest) == 0 || string(rest) == "Z" {
		return true
	}
	_, dated, _ := parseZoned(append([]byte("2000-01-01"), rest...))
	return dated
}

// isClock recognises HH:MM, HH:MM:SS or more digits, and after it nothing, a Z or an offset.
func isClock(text []byte) bool {
	if len(text) < 5 || text[2] != ':' || pair(text) > 24 || pair(text[3:]) > 59 {
		return false
	}
	rest := text[5:]
	if len(rest) >= 3 && rest[0] == ':' {
		if pair(rest[1:]) > 60 {
			return false
		}
		if rest = rest[3:]; len(rest) > 0 && rest[0] == '.' {
			digits, after := leadingDigits(rest[1:])
			if len(digits) == 0 {
				return false
			}
			rest = after
		}
	}
	if len(rest) == 0 {
		return true
	}
	_, ok := parseOffset(rest)
	return ok
}

// trimFraction drops the zeros at the end of a time's fraction: how many there are differs between
// a snapshot and the stream.
func trimFraction(dst, text []byte) []byte {
	for i, c := range text {
		if c != '.' {
			continue
		}
		digits, rest := leadingDigits(text[i+1:])
		for len(digits) > 0 && digits[len(digits)-1] == '0' {
			digits = digits[:len(digits)-1]
		}
		if dst = append(dst, text[:i]...); len(digits) > 0 {
			dst = append(append(dst, '.'), digits...)
		}
		return append(dst, rest...)
	}
	return append(dst, text...)
}
