package deadletter

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
)

// FuzzLetterHeaders: a letter of a record with any headers is a letter and gives back the record's
// headers, less the headers of earlier letters and replays. So does a letter of the replay.
func FuzzLetterHeaders(f *testing.F) {
	names := slices.Concat(letterBegins, letterGoesOn, replayBegins,
		[]string{HeaderDone, HeaderHow, "h", ""})
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6}, true)
	f.Add([]byte{18, 19, 20, 0, 1, 2, 3, 4, 5, 18, 19, 20}, false)
	d := &Topic{topic: "letters", group: "g"}
	f.Fuzz(func(t *testing.T, picks []byte, null bool) {
		r := &kgo.Record{Topic: "t", Offset: 5, Timestamp: consumertest.Time}
		if !null {
			r.Key, r.Value = picks, picks
		}
		for i, pick := range picks {
			r.Headers = append(r.Headers,
				kgo.RecordHeader{Key: names[int(pick)%len(names)], Value: picks[i : i+1]})
		}
		if _, ours := splitHeaders(r.Headers); ours == nil {
			if l, _ := readLetter(d.letterRecord(&Rejected{Record: r, Err: errors.New("x")},
				consumertest.Time)); !cmp.Equal(consumertest.OriginalOf(r),
				consumertest.OriginalOf(l.Record)) {
				t.Errorf("a record that never was a letter came back changed:\n%s",
					cmp.Diff(consumertest.OriginalOf(r), consumertest.OriginalOf(l.Record)))
			}
		}
		deep, rest := 0, r.Headers
		for ours := rest; ours != nil && deep <= lettersDeep; deep++ {
			rest, ours = splitHeaders(rest)
		}
		if deep > lettersDeep {
			return // the rest is the record's own
		}
		var want consumertest.Original
		failed := r
		for attempt := range 3 {
			built := d.letterRecord(&Rejected{Record: failed, Err: errors.New("x")},
				consumertest.Time)
			l, ok := readLetter(built)
			if _, _, marker := readMarker(built); !ok || marker {
				t.Fatalf("letter %v, marker %v: %+v", ok, marker, built.Headers)
			}
			if attempt == 0 {
				want = consumertest.OriginalOf(l.Record)
			}
			if diff := cmp.Diff(want, consumertest.OriginalOf(l.Record)); diff != "" {
				t.Errorf("attempt %d:\n%s", attempt, diff)
			}
			l.ID = "1"
			failed = l.replayRecord()
		}
	})
}
