package entity

import (
	"fmt"
	"strings"
	"time"
)

// parseISO reads Debezium's ZonedTimestamp: any number of digits of a second up to nine.
func parseISO(text string) (time.Time, error) {
	return parseTime(text, time.RFC3339)
}

// parsePostgres reads timestamptz in DateStyle ISO: 2026-11-22 10:00:01.123456+00, with an offset
// of hours, of hours and minutes, or (before standard time) of seconds too.
func parsePostgres(text string) (time.Time, error) {
	layout := "2006-01-02 15:04:05-07"
	if i := strings.LastIndexAny(text, "+-"); i > 0 {
		switch len(text) - i {
		case len("+00:00"):
			layout = "2006-01-02 15:04:05-07:00"
		case len("+00:00:00"):
			layout = "2006-01-02 15:04:05-07:00:00"
		}
	}
	return parseTime(text, layout)
}

func parseTime(text, layout string) (time.Time, error) {
	t, err := time.Parse(layout, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time between the years 1 and 9999", text)
	}
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("%q is not between the years 1 and 9999", text)
	}
	return t, nil
}

// timeText has microseconds, which is PostgreSQL's resolution, and more only where the value has.
func timeText(t time.Time) string {
	if t = t.UTC(); t.Nanosecond()%int(time.Microsecond) != 0 {
		return t.Format("2006-01-02T15:04:05.000000000Z")
	}
	return t.Format("2006-01-02T15:04:05.000000Z")
}
