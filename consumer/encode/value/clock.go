package value

import (
	"math"
	"regexp"
	"strconv"
)

// AppendClock appends HH:MM:SS and the digits of the fraction, if any. 24:00:00 is a time of day in
// PostgreSQL.
func AppendClock(dst []byte, seconds, nanos int64) []byte {
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

// readTwoDigits reads two digits; a large number for anything else.
func readTwoDigits(text []byte) int64 {
	a, b := text[0]-'0', text[1]-'0'
	if a > 9 || b > 9 {
		return math.MaxInt16
	}
	return int64(a)*10 + int64(b)
}

func parseOffset(text []byte) (seconds int64, ok bool) {
	if len(text) == 1 {
		return 0, text[0] == 'Z'
	}
	if len(text) != len("+00:00") || text[3] != ':' || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	hours, minutes := readTwoDigits(text[1:]), readTwoDigits(text[4:])
	if hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds = hours*3600 + minutes*60
	if text[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// IsClock is true if the text is HH:MM, HH:MM:SS or more digits, followed by nothing, a Z or an
// offset.
func IsClock(text []byte) bool {
	if len(text) < 5 || text[2] != ':' || readTwoDigits(text) > 24 || readTwoDigits(text[3:]) > 59 {
		return false
	}
	rest := text[5:]
	if len(rest) >= 3 && rest[0] == ':' {
		if readTwoDigits(rest[1:]) > 60 {
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

// TrimFraction drops the zeros at the end of a time's fraction: how many there are differs between
// a snapshot and the stream.
func TrimFraction(dst, text []byte) []byte {
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

var clocks = regexp.MustCompile(
	`^(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d(?::\d\d(?::\d\d)?)?)?$`)

// ClockText returns a time of day; a time with a zone is in UTC.
func ClockText(text string) (string, error) {
	part := clocks.FindStringSubmatch(text)
	if part == nil || !IsClock([]byte(text[:8])) {
		return "", NotA("time", text)
	}
	seconds := readTwoDigits([]byte(part[1]))*3600 + readTwoDigits([]byte(part[2]))*60 +
		readTwoDigits([]byte(part[3]))
	nanos, _ := strconv.ParseInt((part[4] + "000000000")[:9], 10, 64)
	if part[5] == "" {
		return string(AppendClock(nil, seconds, nanos)), nil
	}
	if part[5] != "Z" {
		seconds = ((seconds-postgresOffset(part[5]))%SecondsOfDay + SecondsOfDay) % SecondsOfDay
	}
	return string(append(AppendClock(nil, seconds, nanos), 'Z')), nil
}
