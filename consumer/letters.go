package consumer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers of a dead letter, behind those of the record itself, in this order. Texts; numbers are
// decimal. Key, value and the record's own headers are its own bytes; a null stays a null. The first
// six are always there.
const (
	HeaderRule      = "cdc.dead_letter.rule"
	HeaderReason    = "cdc.dead_letter.reason" // all reasons, one a line
	HeaderTopic     = "cdc.dead_letter.topic"
	HeaderPartition = "cdc.dead_letter.partition"
	HeaderOffset    = "cdc.dead_letter.offset"
	HeaderTimestamp = "cdc.dead_letter.timestamp" // the record's, milliseconds since 1970
	HeaderEntity    = "cdc.dead_letter.entity"
	HeaderOperation = "cdc.dead_letter.operation"

	HeaderSourceTable    = "cdc.dead_letter.source.table" // schema.table
	HeaderSourcePosition = "cdc.dead_letter.source.position"
	HeaderSourceTx       = "cdc.dead_letter.source.tx_id"
	HeaderSourceTime     = "cdc.dead_letter.source.ts_us" // of the commit, microseconds since 1970

	HeaderTime     = "cdc.dead_letter.time"     // when the letter was written, milliseconds since 1970
	HeaderConsumer = "cdc.dead_letter.consumer" // version of the program
	HeaderGroup    = "cdc.dead_letter.group"
	HeaderAttempts = "cdc.dead_letter.attempts" // how often the record has failed
)

// The headers of a record that was replayed, behind its own: HeaderReplayed, HeaderFirstOffset and
// HeaderAttempts of the letter. A letter of it has the first two as well, as the last.
const (
	HeaderReplayed = "cdc.dead_letter.replayed" // id of the letter
	// HeaderFirstOffset is where the record was before any replay, in the same partition: rows of a
	// snapshot without positions are ordered by it.
	HeaderFirstOffset = "cdc.dead_letter.first_offset"
)

// The headers of a marker: a record of the dead-letter topic with neither key nor value, which says
// what became of a letter.
const (
	HeaderDone = "cdc.dead_letter.done" // id of the letter
	HeaderHow  = "cdc.dead_letter.how"  // LetterReplayed or LetterDropped
)

// What can have become of a letter that is done.
const (
	LetterReplayed = "replayed"
	LetterDropped  = "dropped"
)

var (
	letterBegins = []string{HeaderRule, HeaderReason, HeaderTopic, HeaderPartition, HeaderOffset, HeaderTimestamp}
	letterGoesOn = []string{HeaderEntity, HeaderOperation, HeaderSourceTable, HeaderSourcePosition,
		HeaderSourceTx, HeaderSourceTime, HeaderTime, HeaderConsumer, HeaderGroup, HeaderAttempts,
		HeaderReplayed, HeaderFirstOffset}
	replayBegins = []string{HeaderReplayed, HeaderFirstOffset, HeaderAttempts}
)

// splitHeaders takes the last run of headers off that a letter or a replay added; ours is nil where
// there is none. Ours are known by their order, so that a record may have headers of the same names
// from elsewhere.
func splitHeaders(headers []kgo.RecordHeader) (original, ours []kgo.RecordHeader) {
	begins := func(i int, names []string) bool {
		return i+len(names) <= len(headers) && slices.EqualFunc(headers[i:i+len(names)], names,
			func(h kgo.RecordHeader, name string) bool { return h.Key == name })
	}
	for i := len(headers) - 1; i >= 0; i-- {
		end := i
		switch {
		case begins(i, letterBegins):
			end += len(letterBegins)
			for _, name := range letterGoesOn {
				if end < len(headers) && headers[end].Key == name {
					end++
				}
			}
		case begins(i, replayBegins):
			end += len(replayBegins)
		default:
			continue
		}
		return slices.Concat(headers[:i], headers[end:]), headers[i:end]
	}
	return headers, nil
}

func header(headers []kgo.RecordHeader, name string) string {
	for _, h := range headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// headerNumber is 0 where there is none.
func headerNumber(headers []kgo.RecordHeader, name string) int64 {
	n, err := strconv.ParseInt(header(headers, name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func only(headers []kgo.RecordHeader, names ...string) []kgo.RecordHeader {
	var found []kgo.RecordHeader
	for _, h := range headers {
		if slices.Contains(names, h.Key) {
			found = append(found, h)
		}
	}
	return found
}

// originOffset is the record's offset; of a replayed one that which it had first. An event without a
// position of its own is ordered by it, so that a replay is as old as what it replays.
func originOffset(r *kgo.Record) int64 {
	_, ours := splitHeaders(r.Headers)
	if first := only(ours, HeaderFirstOffset); first != nil {
		return headerNumber(first, HeaderFirstOffset)
	}
	return r.Offset
}

// Letter is one dead letter. What could not be read of the event is "" or zero.
type Letter struct {
	ID string
	// Time is when it was written.
	Time    time.Time
	Rule    string
	Reasons []string
	// Entity is "unknown" where the event's table could not be read.
	Entity, Operation string
	// Record is the record as it was: topic, partition, offset, timestamp, key, value, headers.
	Record *kgo.Record
	// Table is schema.table, Position that of the guard (see cdcMetadata.position), Committed the
	// time of the commit.
	Table, Position string
	TxID            uint32
	Committed       time.Time
	// Consumer is the version of the program that wrote the letter, and Group its group.
	Consumer, Group string
	// Attempts is how often the record has failed; ReplayOf the letter before this one.
	Attempts int
	ReplayOf string
	// Done is "", LetterReplayed or LetterDropped.
	Done string
	// Again are further letters of the very same record: the consumer that wrote the first died
	// before its offset moved. They are done when this one is.
	Again []string

	at          letterPlace
	firstOffset int64
}

// letterPlace is where a letter is in the dead-letter topic.
type letterPlace struct {
	partition int32
	offset    int64
}

// id is short where the topic has one partition, as it has unless somebody added some.
func (p letterPlace) id(partitions int) string {
	if partitions <= 1 {
		return strconv.FormatInt(p.offset, 10)
	}
	return fmt.Sprintf("%d/%d", p.partition, p.offset)
}

func parsePlace(id string) (letterPlace, error) {
	partition, offset, both := strings.Cut(id, "/")
	if !both {
		partition, offset = "0", id
	}
	p, err := strconv.ParseUint(partition, 10, 31)
	o, err2 := strconv.ParseUint(offset, 10, 63)
	if err != nil || err2 != nil {
		return letterPlace{}, fmt.Errorf("%q is no id of a dead letter: want an offset, or partition/offset", id)
	}
	return letterPlace{int32(p), int64(o)}, nil
}

// CheckLetterID is an error for what cannot be the id of a letter: its offset in the dead-letter topic,
// or partition/offset where that has more partitions than one.
func CheckLetterID(id string) error {
	_, err := parsePlace(id)
	return err
}

// readLetter returns false for what is no letter.
func readLetter(r *kgo.Record) (*Letter, bool) {
	original, ours := splitHeaders(r.Headers)
	if ours == nil || ours[0].Key != HeaderRule {
		return nil, false
	}
	partition, err := strconv.ParseInt(header(ours, HeaderPartition), 10, 32)
	offset, err2 := strconv.ParseInt(header(ours, HeaderOffset), 10, 64)
	if err != nil || err2 != nil {
		return nil, false
	}
	l := &Letter{
		at: letterPlace{r.Partition, r.Offset}, Time: r.Timestamp.UTC(), Rule: header(ours, HeaderRule),
		Reasons: strings.Split(header(ours, HeaderReason), "\n"),
		Entity:  header(ours, HeaderEntity), Operation: header(ours, HeaderOperation),
		Record: &kgo.Record{Topic: header(ours, HeaderTopic), Partition: int32(partition), Offset: offset,
			Timestamp: time.UnixMilli(headerNumber(ours, HeaderTimestamp)).UTC(),
			Key:       r.Key, Value: r.Value, Headers: original},
		Table: header(ours, HeaderSourceTable), Position: header(ours, HeaderSourcePosition),
		TxID:     uint32(headerNumber(ours, HeaderSourceTx)),
		Consumer: header(ours, HeaderConsumer), Group: header(ours, HeaderGroup),
		Attempts: max(1, int(headerNumber(ours, HeaderAttempts))), ReplayOf: header(ours, HeaderReplayed),
		firstOffset: offset,
	}
	if ms := headerNumber(ours, HeaderTime); ms != 0 {
		l.Time = time.UnixMilli(ms).UTC()
	}
	if us := headerNumber(ours, HeaderSourceTime); us != 0 {
		l.Committed = time.UnixMicro(us).UTC()
	}
	if first := only(ours, HeaderFirstOffset); first != nil {
		l.firstOffset = headerNumber(first, HeaderFirstOffset)
	}
	return l, true
}

// readMarker returns false for what is no marker.
func readMarker(r *kgo.Record) (of letterPlace, how string, ok bool) {
	if _, ours := splitHeaders(r.Headers); ours != nil || r.Key != nil || r.Value != nil {
		return letterPlace{}, "", false
	}
	how = header(r.Headers, HeaderHow)
	of, err := parsePlace(header(r.Headers, HeaderDone))
	return of, how, err == nil && (how == LetterReplayed || how == LetterDropped)
}
