package reports

import (
	"bytes"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// numberOrTime is a number or a time in the JSON of a run.
var numberOrTime = regexp.MustCompile(
	`(?m)[ \[](-?\d[\d.e+-]*)(?:[,}\]]|$)|"(20\d\d-[^"]*Z)"`)

// hostileRun changes a few numbers and times of an encoded run to values at the edges of what a
// decoder takes.
func hostileRun(t *rapid.T, text string) string {
	places := numberOrTime.FindAllStringSubmatchIndex(text, -1)
	var made strings.Builder
	end := 0
	chosen := rapid.SliceOfNDistinct(rapid.IntRange(0, len(places)-1), 1, 6, rapid.ID[int])
	changed := map[int]bool{}
	for _, at := range chosen.Draw(t, "places") {
		changed[at] = true
	}
	for at, place := range places {
		if !changed[at] {
			continue
		}
		from, to := place[2], place[3]
		value := rapid.SampledFrom([]string{"0", "1", "-1", "1e15", "1e9", "604800", "1e-300",
			"999999999999999", "9007199254740993", "0.5"}).Draw(t, "number")
		if from < 0 {
			from, to = place[4], place[5]
			value = rapid.SampledFrom([]string{"1970-01-01T00:00:00Z", "0001-01-02T00:00:00Z",
				"9999-12-31T23:59:59Z", "2026-11-22T07:56:07Z"}).Draw(t, "time")
		}
		made.WriteString(text[end:from] + value)
		end = to
	}
	return made.String() + text[end:]
}

// TestHostileRuns: a run that can be decoded is judged, compared and merged in bounded memory,
// however far its numbers and times are from anything measured. A minute of a sound run takes about
// 20 MB of garbage; a series of the longest run about 200 MB.
func TestHostileRuns(t *testing.T) {
	_, first, second := halves(t)
	good := map[string]string{"chaos": encoded(t, chaosRun(t)), "first": encoded(t, first),
		"extreme": encoded(t, extremeRun(t))}
	decoded := 0
	rapid.Check(t, func(t *rapid.T) {
		text := hostileRun(t, good[rapid.SampledFrom([]string{"chaos", "first", "extreme"}).Draw(t,
			"run")])
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run, err := Decode(strings.NewReader(text))
		if err != nil {
			return
		}
		decoded++
		run.concludeAgain()
		if run.Verdict.Status == Pass && !run.Measured() {
			t.Errorf("a pass of nothing: %+v", run.Verdict)
		}
		Compare(run, second)
		Compare(second, run)
		if c := Compare(run, run); c.Verdict.Status == Pass {
			t.Errorf("a run passed against itself: %+v", c.Verdict)
		}
		run.Provenance.Config, run.Provenance.Seed = first.Provenance.Config, second.Provenance.Seed
		if merged, err := Merge(run, second); err == nil {
			merged.Mend()
			if err := merged.Encode(new(bytes.Buffer)); err != nil {
				t.Errorf("a merged run cannot be stored: %v", err)
			}
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<30 {
			t.Errorf("took %d MB", took>>20)
		}
	})
	if decoded == 0 {
		t.Error("no hostile run could be decoded: the test shows nothing")
	}
}
