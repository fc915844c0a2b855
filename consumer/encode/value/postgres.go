package value

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// TimeText writes microseconds, PostgreSQL's resolution, or nanoseconds where the value needs more.
func TimeText(t time.Time) string {
	if t = t.UTC(); t.Nanosecond()%int(time.Microsecond) != 0 {
		return t.Format("2006-01-02T15:04:05.000000000Z")
	}
	return t.Format("2006-01-02T15:04:05.000000Z")
}

// FarText returns the text of a time that no date can hold, without zeros at the end of the
// fraction.
func FarText(text string) string { return string(TrimFraction(nil, []byte(text))) }

// postgresDates: a year of four digits or more, the time, a zone of hours, of minutes and (before
// standard time) of seconds, and the era.
var postgresDates = regexp.MustCompile(
	`^(\d{4,6})(-\d\d-\d\d)` +
		`(?: (\d\d:\d\d:\d\d)(\.\d{1,6})?([+-]\d\d(?::\d\d(?::\d\d)?)?)?)?( BC)?$`)

// PostgresTime reads timestamp and timestamptz: 2026-11-22 10:00:01.123456+00.
func PostgresTime(text string) (string, error) {
	if text == InfinityText || text == MinusInfinityText {
		return text, nil
	}
	part := postgresDates.FindStringSubmatch(text)
	if part == nil || part[3] == "" {
		return "", fmt.Errorf("%q is no time", Shorten(text))
	}
	days, ok := postgresDays(part)
	clock := []byte(part[3])
	hour, minute := readTwoDigits(clock), readTwoDigits(clock[3:])
	second := readTwoDigits(clock[6:])
	if !ok || hour > 23 || minute > 59 || second > 59 {
		return "", fmt.Errorf("%q is no time", Shorten(text))
	}
	seconds := hour*3600 + minute*60 + second
	t := Instant{seconds: days*SecondsOfDay + seconds}
	if part[4] != "" {
		t.nanos, _ = strconv.ParseInt((part[4] + "00000000")[1:10], 10, 64)
	}
	t.seconds -= postgresOffset(part[5])
	if !t.Dated() {
		return string(t.AppendISO(nil)), nil
	}
	return TimeText(t.Time()), nil
}

func postgresDays(part []string) (days int64, ok bool) {
	year, _ := strconv.ParseInt(part[1], 10, 64)
	if part[6] != "" {
		year = 1 - year
	}
	month, day := readTwoDigits([]byte(part[2])[1:]), readTwoDigits([]byte(part[2])[4:])
	if month < 1 || month > 12 {
		return 0, false
	}
	days = daysFromCivil(year, month, day)
	_, m, d := civilFromDays(days)
	return days, m == month && d == day
}

func postgresOffset(zone string) int64 {
	if zone == "" {
		return 0
	}
	seconds, unit := int64(0), int64(3600)
	for _, n := range strings.Split(zone[1:], ":") {
		seconds, unit = seconds+readTwoDigits([]byte(n))*unit, unit/60
	}
	if zone[0] == '-' {
		return -seconds
	}
	return seconds
}

// PostgresDate reads date: 2026-11-22, or 0044-03-15 BC.
func PostgresDate(text string) (string, error) {
	if text == InfinityText || text == MinusInfinityText {
		return text, nil
	}
	part := postgresDates.FindStringSubmatch(text)
	if part == nil || part[3] != "" {
		return "", fmt.Errorf("%q is no date", Shorten(text))
	}
	days, ok := postgresDays(part)
	if !ok {
		return "", fmt.Errorf("%q is no date", Shorten(text))
	}
	return string(AppendDay(nil, days)), nil
}
