package consumer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// oddRecords are what a letter must keep to the byte.
func oddRecords() map[string]*kgo.Record {
	key, value := []byte(`{"id":1}`), []byte("\x00\xff{")
	imitation := func(names []string) (headers []kgo.RecordHeader) {
		for _, name := range names {
			headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte("1")})
		}
		return headers
	}
	return map[string]*kgo.Record{
		"plain":        {Key: key, Value: value},
		"null value":   {Key: key},
		"null key":     {Value: value},
		"both null":    {},
		"both empty":   {Key: []byte{}, Value: []byte{}},
		"null header":  {Value: value, Headers: []kgo.RecordHeader{{Key: "h"}, {Key: "h", Value: []byte{}}, {Key: ""}}},
		"twice":        {Value: value, Headers: []kgo.RecordHeader{{Key: "h", Value: key}, {Key: "h", Value: value}}},
		"our names":    {Value: value, Headers: imitation([]string{HeaderRule, HeaderDone, HeaderAttempts, HeaderReplayed})},
		"like a mark":  {Headers: imitation([]string{HeaderDone, HeaderHow})},
		"half a block": {Value: value, Headers: imitation(letterBegins[:5])},
		"mixed": {Value: value, Headers: append(imitation(letterGoesOn), kgo.RecordHeader{Key: HeaderRule},
			kgo.RecordHeader{Key: "last", Value: value})},
	}
}

// original is what a replay must bring back, null apart from empty.
type original struct {
	Topic      string
	Partition  int32
	Timestamp  int64
	Key, Value []byte
	Headers    []kgo.RecordHeader
}

func originalOf(r *kgo.Record) original {
	o := original{r.Topic, r.Partition, r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers}
	if len(r.Headers) == 0 {
		o.Headers = nil
	}
	return o
}

func TestLetterKeepsRecord(t *testing.T) {
	t.Parallel()
	d := &deadLetters{topic: "letters", group: "g", build: "v1"}
	for name, r := range oddRecords() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.Topic, r.Partition, r.Offset, r.Timestamp = "cdc.public.order", 3, 17, testTime
			want, failed := originalOf(r), r
			for attempt := 1; attempt <= 3; attempt++ {
				built := d.letter(&deadLetter{record: failed, entity: "order", operation: "INSERT",
					err: rejectf("required", "one\ntwo")}, testTime.Add(time.Hour))
				built.Partition, built.Offset = 0, int64(100+attempt)
				l, ok := readLetter(built)
				if !ok {
					t.Fatalf("%+v is no letter", built)
				}
				if _, _, marker := readMarker(built); marker {
					t.Error("the letter counts as a marker")
				}
				if diff := cmp.Diff(want, originalOf(l.Record)); diff != "" {
					t.Errorf("attempt %d (-want +got):\n%s", attempt, diff)
				}
				if l.Attempts != attempt || l.firstOffset != 17 {
					t.Errorf("attempts %d, first offset %d; want %d, 17", l.Attempts, l.firstOffset, attempt)
				}
				if more := len(only(built.Headers, HeaderReason)) - len(only(r.Headers, HeaderReason)); more != 1 {
					t.Errorf("attempt %d: %d reasons of ours, want the newest alone", attempt, more)
				}
				l.ID = "5"
				failed = l.replay()
				failed.Offset = int64(200 + attempt)
				if got := originOffset(failed); got != 17 {
					t.Errorf("the replay is ordered by %d, want 17", got)
				}
			}
		})
	}
}

// TestLetterProducedByHand: a letter that somebody produced to its topic as it is, all headers on it.
func TestLetterProducedByHand(t *testing.T) {
	t.Parallel()
	d := &deadLetters{topic: "letters"}
	r := &kgo.Record{Topic: "cdc.public.order", Offset: 4, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}}
	for attempt := 1; attempt <= 3; attempt++ {
		r = d.letter(&deadLetter{record: r, err: errors.New("refused")}, testTime)
		l, _ := readLetter(r)
		if len(l.Record.Headers) != 1 || l.Attempts != attempt {
			t.Errorf("attempt %d: attempts %d, headers %+v", attempt, l.Attempts, l.Record.Headers)
		}
	}
}

func TestLetterSaysEverything(t *testing.T) {
	t.Parallel()
	d := &deadLetters{topic: "letters", group: "g", build: "v1"}
	r := &kgo.Record{Topic: "cdc.public.order", Partition: 1, Offset: 17, Timestamp: testTime}
	replayed := (&Letter{ID: "7", Record: r, Attempts: 2, firstOffset: 3}).replay()
	replayed.Offset, replayed.Timestamp = 40, testTime
	long := strings.Repeat("é", reasonMaxBytes)
	built := d.letter(&deadLetter{record: replayed, entity: "order", operation: "UPDATE",
		err: &rejection{"enum", "status: bad\ntotal: worse\n" + long},
		source: letterSource{Table: "public.order", Position: "00ff", TxID: 4294967295,
			TsUs: testTime.UnixMicro() + 1}}, testTime.Add(time.Minute))
	got, ok := readLetter(built)
	if !ok {
		t.Fatal("no letter")
	}
	if len(got.Reasons) != 3 || len(got.Reasons[2]) > reasonMaxBytes {
		t.Fatalf("%d reasons, want 3 and no more than %d bytes", len(got.Reasons), reasonMaxBytes)
	}
	got.Record, got.Reasons = nil, got.Reasons[:2]
	want := &Letter{Time: testTime.Add(time.Minute).Truncate(time.Millisecond).UTC(), Rule: "enum",
		Reasons: []string{"status: bad", "total: worse"}, Entity: "order", Operation: "UPDATE",
		Table: "public.order", Position: "00ff", TxID: 4294967295,
		Committed: testTime.Add(time.Microsecond).UTC(), Consumer: "v1", Group: "g", Attempts: 3, ReplayOf: "7",
		firstOffset: 3}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Letter{}, letterPlace{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOlderLetter: letters from before there were more headers than these.
func TestOlderLetter(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Key: []byte("k"), Offset: 9, Timestamp: testTime, Headers: []kgo.RecordHeader{{Key: "h"}}}
	for i, value := range []string{"required", "required: email", "cdc.public.customer", "1", "12", "1790000000000"} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: letterBegins[i], Value: []byte(value)})
	}
	l, ok := readLetter(r)
	if !ok || l.Record.Offset != 12 || l.Attempts != 1 || !l.Time.Equal(testTime) || len(l.Record.Headers) != 1 {
		t.Errorf("%+v, %v", l, ok)
	}
}

func TestLetterPlaces(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]letterPlace{"0": {}, "12": {0, 12}, "0/12": {0, 12}, "3/4": {3, 4}} {
		if got, err := parsePlace(id); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", id, got, err, want)
		}
	}
	for _, id := range []string{"", "x", "-1", "1/", "/1", "1/2/3", "99999999999/1", "1/99999999999999999999"} {
		if got, err := parsePlace(id); err == nil {
			t.Errorf("%q is %v, want an error", id, got)
		}
	}
	if id := (letterPlace{1, 2}).id(2); id != "1/2" {
		t.Errorf("id %q", id)
	}
}
