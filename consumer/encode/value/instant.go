package value

import (
	"math"
	"time"
)

// Instant is a time between the years 1 and 9999, like a document's dates.
type Instant struct {
	seconds int64 // since 1970
	nanos   int64
}

// The length of a day, and a document's first and last date in days since 1970.
const (
	SecondsOfDay = 24 * 60 * 60
	DayMin       = -719162 // 0001-01-01
	DayMax       = 2932896 // 9999-12-31
)

// Dated is true if the time is in the years 1 to 9999, so that a document's date can hold it.
func (t Instant) Dated() bool {
	return t.seconds >= DayMin*SecondsOfDay && t.seconds < (DayMax+1)*SecondsOfDay
}

// Millis returns the time in milliseconds since 1970.
func (t Instant) Millis() int64 { return t.seconds*1000 + t.nanos/1e6 }

// Micros returns the time in microseconds since 1970.
func (t Instant) Micros() int64 { return t.seconds*1e6 + t.nanos/1e3 }

// Time returns the time as a time.Time.
func (t Instant) Time() time.Time { return time.Unix(t.seconds, t.nanos) }

// Midnight is true if the time is a midnight in UTC.
func (t Instant) Midnight() bool { return t.nanos == 0 && t.seconds%SecondsOfDay == 0 }

// Fine is true if the time has digits beyond a date's milliseconds.
func (t Instant) Fine() bool { return t.nanos%1e6 != 0 }

// AppendISO appends RFC 3339 in UTC, with all digits of the second. Years before 1 and after 9999
// have a sign and are astronomical: -0043 is 44 BC, +10000.
func (t Instant) AppendISO(dst []byte) []byte {
	days := floorDiv(t.seconds, SecondsOfDay)
	dst = append(AppendDay(dst, days), 'T')
	return append(AppendClock(dst, t.seconds-days*SecondsOfDay, t.nanos), 'Z')
}

// InstantOf turns a count of fractions of a second into an instant.
func InstantOf(n, perSecond int64) Instant {
	seconds := floorDiv(n, perSecond)
	return Instant{seconds, (n - seconds*perSecond) * (1e9 / perSecond)}
}

// The counts that stand for infinity. Source: PGStatement.java of PostgreSQL's driver (timestamps,
// passed on by Debezium in microseconds and in milliseconds), and measured (dates, which overflow
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
	"-5877611-06-21": InfinityText, "-5877611-06-22": MinusInfinityText,
	"+292278994-08-16": InfinityText, "+292269055-12-02": MinusInfinityText,
	"+294247-01-10T04:00:25.2Z": InfinityText, "-290308-12-21T19:59:27.6Z": MinusInfinityText,
	"+292269055-12-02T23:00:00Z": MinusInfinityText,
}

// InfinityText and MinusInfinityText are the infinite times, as PostgreSQL prints them.
const InfinityText, MinusInfinityText = "infinity", "-infinity"

// Infinite returns the text of an infinite timestamp, "" for a finite timestamp.
func Infinite(n, perSecond int64) string {
	switch {
	case n == infinityMicros || perSecond == 1e3 && n == infinityMicros/1e3 || n == math.MaxInt64:
		return InfinityText
	case n == minusInfinityMicros || perSecond == 1e3 && n == minusInfinityMicros/1e3 ||
		n == math.MinInt64:
		return MinusInfinityText
	}
	return ""
}

// InfiniteText returns the text of an infinite time, "" for a finite time. text is ISO 8601,
// without zeros at the end of the fraction.
func InfiniteText(text []byte) string { return infiniteTexts[string(text)] }

// ParseZoned reads RFC 3339 with up to nine digits of a second. dated is true if a document's date
// can hold the time; far is true if no date can: infinity, or a year of another length.
func ParseZoned(text []byte) (t Instant, dated, far bool) {
	if len(text) < len("2026-11-22T10:00:00Z") || text[4] != '-' || text[10] != 'T' {
		return t, false, IsFar(text)
	}
	days, ok := ParseDay(text[:10])
	if !ok || text[13] != ':' || text[16] != ':' {
		return t, false, IsFar(text)
	}
	hour, minute := readTwoDigits(text[11:]), readTwoDigits(text[14:])
	second := readTwoDigits(text[17:])
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
	t.seconds = days*SecondsOfDay + hour*3600 + minute*60 + second - offset
	return t, t.Dated(), !t.Dated()
}

// IsFar is true if the text is infinity, or ISO 8601 with a year outside 0 to 9999.
func IsFar(text []byte) bool {
	if string(text) == InfinityText || string(text) == MinusInfinityText {
		return true
	}
	if len(text) < len("-0043-03-15") || text[0] != '-' && text[0] != '+' {
		return false
	}
	year, rest := leadingDigits(text[1:])
	if len(year) < 4 || len(year) > 9 || len(rest) < len("-03-15") {
		return false
	}
	if _, ok := ParseDay(append([]byte("2000"), rest[:6]...)); !ok {
		return false
	}
	if rest = rest[6:]; len(rest) == 0 || string(rest) == "Z" {
		return true
	}
	_, dated, _ := ParseZoned(append([]byte("2000-01-01"), rest...))
	return dated
}
