package consumer

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// FuzzReadRecording: what can be read can be written, and read again as the same.
func FuzzReadRecording(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"t","partition":1,"offset":2,"timestamp":3,"key":null,"value":"","headers":[{"k":"h","v":null}]}`,
		`{"topic":"t"}` + "\n\n" + `{"topic":"u","headers":null,"case":"x"}`, "\x1f\x8b", "{", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second []original
		var written bytes.Buffer
		err := ReadRecording(bytes.NewReader(text), func(r *kgo.Record) error {
			first = append(first, originalOf(r))
			return WriteRecord(&written, r)
		})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") && !strings.HasPrefix(err.Error(), "unpack the recording") {
				t.Errorf("%v does not say where", err)
			}
			return
		}
		if err := ReadRecording(&written, func(r *kgo.Record) error {
			second = append(second, originalOf(r))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzLetterHeaders: whatever headers a record has, a letter of it is a letter; it gives back the
// record's headers, less those of earlier letters and replays; and a replay of it again does.
func FuzzLetterHeaders(f *testing.F) {
	names := slices.Concat(letterBegins, letterGoesOn, replayBegins, []string{HeaderDone, HeaderHow, "h", ""})
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6}, true)
	f.Add([]byte{18, 19, 20, 0, 1, 2, 3, 4, 5, 18, 19, 20}, false)
	d := &deadLetters{topic: "letters", group: "g"}
	f.Fuzz(func(t *testing.T, picks []byte, null bool) {
		r := &kgo.Record{Topic: "t", Offset: 5, Timestamp: testTime}
		if !null {
			r.Key, r.Value = picks, picks
		}
		for i, pick := range picks {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: names[int(pick)%len(names)], Value: picks[i : i+1]})
		}
		if _, ours := splitHeaders(r.Headers); ours == nil {
			if l, _ := readLetter(d.letter(&deadLetter{record: r, err: errors.New("x")}, testTime)); !cmp.Equal(originalOf(r), originalOf(l.Record)) {
				t.Errorf("a record that never was a letter came back changed:\n%s", cmp.Diff(originalOf(r), originalOf(l.Record)))
			}
		}
		deep, rest := 0, r.Headers
		for ours := rest; ours != nil && deep <= lettersDeep; deep++ {
			rest, ours = splitHeaders(rest)
		}
		if deep > lettersDeep {
			return // what is left of the oldest is the record's own
		}
		var want original
		failed := r
		for attempt := range 3 {
			built := d.letter(&deadLetter{record: failed, err: errors.New("x")}, testTime)
			l, ok := readLetter(built)
			if _, _, marker := readMarker(built); !ok || marker {
				t.Fatalf("letter %v, marker %v: %+v", ok, marker, built.Headers)
			}
			if attempt == 0 {
				want = originalOf(l.Record)
			}
			if diff := cmp.Diff(want, originalOf(l.Record)); diff != "" {
				t.Errorf("attempt %d:\n%s", attempt, diff)
			}
			l.ID = "1"
			failed = l.replay()
		}
	})
}
