package entity

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What PostgreSQL prints, and what the same value is as a text of ours.

// timeText has microseconds, which is PostgreSQL's resolution, and more only where the value has.
func timeText(t time.Time) string {
	if t = t.UTC(); t.Nanosecond()%int(time.Microsecond) != 0 {
		return t.Format("2006-01-02T15:04:05.000000000Z")
	}
	return t.Format("2006-01-02T15:04:05.000000Z")
}

// farText is the text of a time that no date can hold, without zeros at the end of its fraction.
func farText(text string) string { return string(trimFraction(nil, []byte(text))) }

// postgresDates: a year of four digits or more, the time, a zone of hours, of minutes and (before
// standard time) of seconds, and the era.
var postgresDates = regexp.MustCompile(
	`^(\d{4,6})(-\d\d-\d\d)(?: (\d\d:\d\d:\d\d)(\.\d{1,6})?([+-]\d\d(?::\d\d(?::\d\d)?)?)?)?( BC)?$`)

// postgresTime reads timestamp and timestamptz: 2026-11-22 10:00:01.123456+00.
func postgresTime(text string) (string, error) {
	if text == infinityText || text == minusInfinityText {
		return text, nil
	}
	part := postgresDates.FindStringSubmatch(text)
	if part == nil || part[3] == "" {
		return "", fmt.Errorf("%q is no time", shorten(text))
	}
	days, ok := postgresDays(part)
	clock := []byte(part[3])
	if !ok || pair(clock) > 23 || pair(clock[3:]) > 59 || pair(clock[6:]) > 59 {
		return "", fmt.Errorf("%q is no time", shorten(text))
	}
	t := instant{seconds: days*secondsOfDay + pair(clock)*3600 + pair(clock[3:])*60 + pair(clock[6:])}
	if part[4] != "" {
		t.nanos, _ = strconv.ParseInt((part[4] + "00000000")[1:10], 10, 64)
	}
	t.seconds -= postgresOffset(part[5])
	if !t.dated() {
		return string(t.appendISO(nil)), nil
	}
	return timeText(time.Unix(t.seconds, t.nanos)), nil
}

func postgresDays(part []string) (days int64, ok bool) {
	year, _ := strconv.ParseInt(part[1], 10, 64)
	if part[6] != "" {
		year = 1 - year
	}
	month, day := pair([]byte(part[2])[1:]), pair([]byte(part[2])[4:])
	if month < 1 || month > 12 {
		return 0, false
	}
	days = daysOf(year, month, day)
	_, m, d := civil(days)
	return days, m == month && d == day
}

func postgresOffset(zone string) int64 {
	if zone == "" {
		return 0
	}
	seconds, unit := int64(0), int64(3600)
	for _, n := range strings.Split(zone[1:], ":") {
		seconds, unit = seconds+pair([]byte(n))*unit, unit/60
	}
	if zone[0] == '-' {
		return -seconds
	}
	return seconds
}

func postgresDate(text string) (string, error) {
	if text == infinityText || text == minusInfinityText {
		return text, nil
	}
	part := postgresDates.FindStringSubmatch(text)
	if part == nil || part[3] != "" {
		return "", fmt.Errorf("%q is no date", shorten(text))
	}
	days, ok := postgresDays(part)
	if !ok {
		return "", fmt.Errorf("%q is no date", shorten(text))
	}
	return string(appendDay(nil, days)), nil
}

var clocks = regexp.MustCompile(`^(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d(?::\d\d(?::\d\d)?)?)?$`)

// clockText is a time of day; one with a zone is in UTC.
func clockText(text string) (string, error) {
	part := clocks.FindStringSubmatch(text)
	if part == nil || !isClock([]byte(text[:8])) {
		return "", notA(Time, text)
	}
	seconds := pair([]byte(part[1]))*3600 + pair([]byte(part[2]))*60 + pair([]byte(part[3]))
	nanos, _ := strconv.ParseInt((part[4] + "000000000")[:9], 10, 64)
	if part[5] == "" {
		return string(appendClock(nil, seconds, nanos)), nil
	}
	if part[5] != "Z" {
		seconds = ((seconds-postgresOffset(part[5]))%secondsOfDay + secondsOfDay) % secondsOfDay
	}
	return string(append(appendClock(nil, seconds, nanos), 'Z')), nil
}

// Lengths of an interval's parts in microseconds. Debezium counts a month as a twelfth of 365.25 days.
const (
	microsOfDay   = secondsOfDay * 1_000_000
	microsOfMonth = microsOfDay * 36525 / 1200
)

var intervals = regexp.MustCompile(`^(?:(-?\d+) years?)? ?(?:([+-]?\d+) mons?)? ?(?:([+-]?\d+) days?)? ?` +
	`(?:([+-]?)(\d+):(\d\d):(\d\d(?:\.\d+)?))?$`)

// postgresInterval is 1 year 2 mons -3 days 04:05:06.789 in microseconds.
func postgresInterval(text string) (int64, bool) {
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

// isoMicros is a duration of ISO 8601 in microseconds.
func isoMicros(text []byte) (int64, bool) {
	part := isoIntervals.FindSubmatch(text)
	if part == nil || bytes.HasSuffix(text, []byte("P")) || bytes.HasSuffix(text, []byte("T")) {
		return 0, false
	}
	units := [...]float64{12 * microsOfMonth, microsOfMonth, 7 * microsOfDay, microsOfDay, 3600e6, 60e6, 1e6}
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

// postgresArray reads {1,NULL,"a b",{2}} into JSON of the items' texts.
func (f Field) postgresArray(text string) (string, error) {
	of := Field{Kind: f.Items}
	if f.Items == "" {
		of.Kind = Any
	}
	// Bounds other than 1 come first: [0:1]={1,2}.
	if i := strings.Index(text, "={"); strings.HasPrefix(text, "[") && i > 0 {
		text = text[i+1:]
	}
	list, rest, err := of.postgresItems(text)
	if err != nil || rest != "" {
		return "", notA(Array, text)
	}
	return jsonOf(list)
}

func (f Field) postgresItems(text string) (list []any, rest string, err error) {
	if !strings.HasPrefix(text, "{") {
		return nil, "", notA(Array, text)
	}
	list, text = []any{}, text[1:]
	for !strings.HasPrefix(text, "}") {
		var item any
		if strings.HasPrefix(text, "{") {
			item, text, err = f.postgresItems(text)
		} else {
			item, text, err = f.postgresItem(text)
		}
		if err != nil {
			return nil, "", err
		}
		if list = append(list, item); strings.HasPrefix(text, ",") && !strings.HasPrefix(text, ",}") {
			text = text[1:]
		} else if !strings.HasPrefix(text, "}") {
			return nil, "", notA(Array, text)
		}
	}
	return list, text[1:], nil
}

func (f Field) postgresItem(text string) (item any, rest string, err error) {
	var b strings.Builder
	if quoted := strings.HasPrefix(text, `"`); quoted {
		i := 1
		for ; i < len(text) && text[i] != '"'; i++ {
			if text[i] == '\\' && i+1 < len(text) {
				i++
			}
			b.WriteByte(text[i])
		}
		if i >= len(text) {
			return nil, "", notA(Array, text)
		}
		rest = text[i+1:]
	} else {
		end := strings.IndexAny(text, ",}")
		if end <= 0 {
			return nil, "", notA(Array, text)
		}
		if b.WriteString(text[:end]); b.String() == "NULL" {
			return nil, text[end:], nil
		}
		rest = text[end:]
	}
	canonical, err := f.PostgresText(b.String())
	return canonical, rest, err
}
