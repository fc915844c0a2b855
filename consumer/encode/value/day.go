package value

import (
	"bytes"
	"math"
	"strconv"
)

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// InfiniteDay returns the text of an infinite date, "" for a finite date.
func InfiniteDay(n int64) string {
	switch n {
	case infinityDays, infinityDaysRead, math.MaxInt32:
		return InfinityText
	case minusInfinityDays, minusInfinityDaysRead, math.MinInt32:
		return MinusInfinityText
	}
	return ""
}

// AppendDay appends a date of the proleptic Gregorian calendar, counted in days since 1970.
func AppendDay(dst []byte, days int64) []byte {
	year, month, day := civilFromDays(days)
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
	return append(dst, '-', byte('0'+month/10), byte('0'+month%10),
		'-', byte('0'+day/10), byte('0'+day%10))
}

// civilFromDays is the inverse of daysFromCivil. Source: Howard Hinnant, "chrono-Compatible
// Low-Level Date Algorithms", civil_from_days.
func civilFromDays(days int64) (year, month, day int64) {
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

func daysFromCivil(year, month, day int64) int64 {
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

// ParseDay reads YYYY-MM-DD.
func ParseDay(text []byte) (days int64, ok bool) {
	if len(text) != 10 || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	century, year := readTwoDigits(text), readTwoDigits(text[2:])
	month, day := readTwoDigits(text[5:]), readTwoDigits(text[8:])
	if century > 99 || year > 99 || month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, false
	}
	year += century * 100
	if day > 28 && day > monthDays[month] && !(month == 2 && day == 29 && isLeapYear(year)) {
		return 0, false
	}
	return daysFromCivil(year, month, day), true
}

var monthDays = [13]int64{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func isLeapYear(year int64) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

// IsFarDay is true if the text is infinity, or a date of ISO 8601 with a year outside 0 to 9999.
func IsFarDay(text []byte) bool { return IsFar(text) && bytes.IndexByte(text, 'T') < 0 }
