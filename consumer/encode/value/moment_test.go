package value

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestTimesAreTimes: instants are read and written as the standard library does.
func TestTimesAreTimes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"),
			rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
		local := at.In(time.FixedZone("", 60*rapid.IntRange(-900, 900).Draw(t, "offset")))
		if local.Year() < 1 || local.Year() > 9999 {
			local = at
		}
		got, dated, _ := ParseZoned([]byte(local.Format(time.RFC3339Nano)))
		if !dated || !time.Unix(got.seconds, got.nanos).Equal(at) {
			t.Fatalf("%v is read as %v", local, got)
		}
		if text := string(got.AppendISO(nil)); text != at.Format(time.RFC3339Nano) {
			t.Fatalf("%v is written as %s", at, text)
		}
		if n := InstantOf(at.UnixMicro(), 1e6); n.seconds != at.Unix() ||
			n.nanos != int64(at.Nanosecond())/1000*1000 {
			t.Fatalf("%v in microseconds is %v", at, n)
		}
	})
}

// TestAnyDayIsReadBack: dates far beyond the standard library's texts too.
func TestAnyDayIsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		day := rapid.Int64Range(-2440588, 2145031948).Draw(t, "day") // PostgreSQL's
		year, month, of := civilFromDays(day)
		if daysFromCivil(year, month, of) != day {
			t.Fatalf("day %d is %d-%d-%d", day, year, month, of)
		}
		text := AppendDay(nil, day)
		if short, ok := ParseDay(text); ok && short != day || !ok && !IsFarDay(text) {
			t.Fatalf("day %d is written as %s", day, text)
		}
	})
}
