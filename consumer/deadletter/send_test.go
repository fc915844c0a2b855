package deadletter

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/fate"
)

// imitations are oddRecords, and records whose headers look like a letter's.
func imitations() map[string]*kgo.Record {
	value := []byte("\x00\xff{")
	imitation := func(names []string) (headers []kgo.RecordHeader) {
		for _, name := range names {
			headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte("1")})
		}
		return headers
	}
	all := consumertest.OddRecords()
	maps.Copy(all, map[string]*kgo.Record{
		"our names": {Value: value, Headers: imitation([]string{HeaderRule, HeaderDone,
			HeaderAttempts, HeaderReplayed})},
		"like a mark":  {Headers: imitation([]string{HeaderDone, HeaderHow})},
		"half a block": {Value: value, Headers: imitation(letterBegins[:5])},
		"mixed": {Value: value, Headers: append(imitation(letterGoesOn),
			kgo.RecordHeader{Key: HeaderRule},
			kgo.RecordHeader{Key: "last", Value: value})},
	})
	return all
}

func TestLetterKeepsRecord(t *testing.T) {
	t.Parallel()
	d := &Topic{topic: "letters", group: "g", build: "v1"}
	for name, r := range imitations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.Topic, r.Partition, r.Offset, r.Timestamp = "cdc.public.order", 3, 17,
				consumertest.Time
			want, failed := consumertest.OriginalOf(r), r
			for attempt := 1; attempt <= 3; attempt++ {
				built := d.letterRecord(&Rejected{Record: failed, Entity: "order",
					Operation: "INSERT", Err: fate.Rejectf("required", "one\ntwo")},
					consumertest.Time.Add(time.Hour))
				built.Partition, built.Offset = 0, int64(100+attempt)
				l, ok := readLetter(built)
				if !ok {
					t.Fatalf("%+v is no letter", built)
				}
				if _, _, marker := readMarker(built); marker {
					t.Error("the letter counts as a marker")
				}
				if diff := cmp.Diff(want, consumertest.OriginalOf(l.Record)); diff != "" {
					t.Errorf("attempt %d (-want +got):\n%s", attempt, diff)
				}
				if l.Attempts != attempt || l.FirstOffset != 17 {
					t.Errorf("attempts %d, first offset %d; want %d, 17", l.Attempts, l.FirstOffset,
						attempt)
				}
				if more := len(onlyHeaders(built.Headers, HeaderReason)) -
					len(onlyHeaders(r.Headers, HeaderReason)); more != 1 {
					t.Errorf("attempt %d: %d reasons of ours, want the newest alone", attempt, more)
				}
				l.ID = "5"
				failed = l.replayRecord()
				failed.Offset = int64(200 + attempt)
				if got := OriginOffset(failed); got != 17 {
					t.Errorf("the replay is ordered by %d, want 17", got)
				}
			}
		})
	}
}

// TestLetterProducedByHand: somebody produced a letter to the dead-letter topic, with all headers.
func TestLetterProducedByHand(t *testing.T) {
	t.Parallel()
	d := &Topic{topic: "letters"}
	r := &kgo.Record{Topic: "cdc.public.order", Offset: 4,
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}}
	for attempt := 1; attempt <= 3; attempt++ {
		r = d.letterRecord(&Rejected{Record: r, Err: errors.New("refused")}, consumertest.Time)
		l, _ := readLetter(r)
		if len(l.Record.Headers) != 1 || l.Attempts != attempt {
			t.Errorf("attempt %d: attempts %d, headers %+v", attempt, l.Attempts, l.Record.Headers)
		}
	}
}

func TestLetterSaysEverything(t *testing.T) {
	t.Parallel()
	d := &Topic{topic: "letters", group: "g", build: "v1"}
	r := &kgo.Record{Topic: "cdc.public.order", Partition: 1, Offset: 17,
		Timestamp: consumertest.Time}
	replayed := (&Letter{ID: "7", Record: r, Attempts: 2, FirstOffset: 3}).replayRecord()
	replayed.Offset, replayed.Timestamp = 40, consumertest.Time
	long := strings.Repeat("é", reasonMaxBytes)
	built := d.letterRecord(&Rejected{Record: replayed, Entity: "order", Operation: "UPDATE",
		Err: &fate.Rejection{Rule: "enum", Reason: "status: bad\ntotal: worse\n" + long},
		Source: Source{Table: "public.order", Position: "00ff", TxID: 4294967295,
			TsUs: consumertest.Time.UnixMicro() + 1}}, consumertest.Time.Add(time.Minute))
	got, ok := readLetter(built)
	if !ok {
		t.Fatal("no letter")
	}
	if len(got.Reasons) != 3 || len(got.Reasons[2]) > reasonMaxBytes {
		t.Fatalf("%d reasons, want 3 and no more than %d bytes", len(got.Reasons), reasonMaxBytes)
	}
	got.Record, got.Reasons = nil, got.Reasons[:2]
	want := &Letter{Time: consumertest.Time.Add(time.Minute).Truncate(time.Millisecond).UTC(),
		Rule:    "enum",
		Reasons: []string{"status: bad", "total: worse"}, Entity: "order", Operation: "UPDATE",
		Table: "public.order", Position: "00ff", TxID: 4294967295,
		Committed: consumertest.Time.Add(time.Microsecond).UTC(), Consumer: "v1", Group: "g",
		Attempts: 3, ReplayOf: "7", FirstOffset: 3}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Letter{}, letterPlace{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOlderLetter: letters from before there were more headers than these.
func TestOlderLetter(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Key: []byte("k"), Offset: 9, Timestamp: consumertest.Time,
		Headers: []kgo.RecordHeader{{Key: "h"}}}
	for i, value := range []string{"required", "required: email", "cdc.public.customer", "1", "12",
		"1790000000000"} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: letterBegins[i], Value: []byte(value)})
	}
	l, ok := readLetter(r)
	if !ok || l.Record.Offset != 12 || l.Attempts != 1 || !l.Time.Equal(consumertest.Time) ||
		len(l.Record.Headers) != 1 {
		t.Errorf("%+v, %v", l, ok)
	}
}

func TestLetterPlaces(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]letterPlace{"0": {}, "12": {0, 12}, "0/12": {0, 12},
		"3/4": {3, 4}} {
		if got, err := parsePlace(id); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", id, got, err, want)
		}
	}
	for _, id := range []string{"", "x", "-1", "1/", "/1", "1/2/3", "99999999999/1",
		"1/99999999999999999999"} {
		if got, err := parsePlace(id); err == nil {
			t.Errorf("%q is %v, want an error", id, got)
		}
	}
	if id := (letterPlace{1, 2}).letterID(2); id != "1/2" {
		t.Errorf("id %q", id)
	}
}
