package value

import (
	"bytes"
	"math"
	"regexp"
	"strconv"
)

// AppendDuration appends ISO 8601 in hours, minutes and seconds: PT10303H5M6.789S.
func AppendDuration(dst []byte, n, perSecond int64) []byte {
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

// Lengths of an interval's parts in microseconds. Debezium counts a month as a twelfth of 365.25
// days.
const (
	microsOfDay   = SecondsOfDay * 1_000_000
	microsOfMonth = microsOfDay * 36525 / 1200
)

var intervals = regexp.MustCompile(
	`^(?:(-?\d+) years?)? ?(?:([+-]?\d+) mons?)? ?(?:([+-]?\d+) days?)? ?` +
		`(?:([+-]?)(\d+):(\d\d):(\d\d(?:\.\d+)?))?$`)

// PostgresInterval returns 1 year 2 mons -3 days 04:05:06.789 in microseconds.
func PostgresInterval(text string) (int64, bool) {
	part := intervals.FindStringSubmatch(text)
	if part == nil || text == "" {
		return 0, false
	}
	number := func(text string) float64 {
		n, _ := strconv.ParseFloat(text, 64)
		return n
	}
	micros := (number(part[1])*12+number(part[2]))*microsOfMonth + number(part[3])*microsOfDay
	clock := number(part[5])*3600e6 + number(part[6])*60e6 + math.Round(number(part[7])*1e6)
	if part[4] == "-" {
		clock = -clock
	}
	return int64(micros + clock), true
}

var isoIntervals = regexp.MustCompile(`^(-?)P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)W)?(?:(-?\d+)D)?` +
	`(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:\.\d+)?)S)?)?$`)

// ISOMicros returns a duration of ISO 8601 in microseconds.
func ISOMicros(text []byte) (int64, bool) {
	part := isoIntervals.FindSubmatch(text)
	if part == nil || bytes.HasSuffix(text, []byte("P")) || bytes.HasSuffix(text, []byte("T")) {
		return 0, false
	}
	units := [...]float64{12 * microsOfMonth, microsOfMonth, 7 * microsOfDay, microsOfDay,
		3600e6, 60e6, 1e6}
	micros := 0.0
	for i, unit := range units {
		n, _ := strconv.ParseFloat(string(part[i+2]), 64)
		micros += math.Round(n * unit)
	}
	if len(part[1]) > 0 {
		micros = -micros
	}
	return int64(micros), true
}
