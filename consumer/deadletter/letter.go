// Package deadletter is the dead-letter topic: records that can never be written, with the reason
// and the answer to each. Package fate decides about records. Start reading at Letter, then Topic.
package deadletter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers of a dead letter, behind the record's own headers, in this order. Texts; numbers are
// decimal. Key, value and the record's own headers keep all bytes; a null stays a null. The first
// six are always there.
const (
	HeaderRule      = "cdc.dead_letter.rule"
	HeaderReason    = "cdc.dead_letter.reason" // all reasons, each on a line
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

	HeaderTime     = "cdc.dead_letter.time"     // of the letter, milliseconds since 1970
	HeaderConsumer = "cdc.dead_letter.consumer" // version of the program
	HeaderGroup    = "cdc.dead_letter.group"
	HeaderAttempts = "cdc.dead_letter.attempts" // how often the record has failed
)

// The headers of a replayed record, behind the record's own: HeaderReplayed, HeaderFirstOffset and
// HeaderAttempts of the letter. A letter of a replayed record has the first two as well, as the
// last.
const (
	HeaderReplayed = "cdc.dead_letter.replayed" // id of the letter
	// HeaderFirstOffset is the record's offset before any replay, in the same partition, and orders
	// rows of a snapshot without positions.
	HeaderFirstOffset = "cdc.dead_letter.first_offset"
)

// The headers of a marker: a record of the dead-letter topic with neither key nor value, which
// tells the answer to a letter.
const (
	HeaderDone = "cdc.dead_letter.done" // id of the letter
	HeaderHow  = "cdc.dead_letter.how"  // Replayed or Dropped
)

// The answers to a letter.
const (
	Replayed = "replayed"
	Dropped  = "dropped"
)

var (
	letterBegins = []string{HeaderRule, HeaderReason, HeaderTopic, HeaderPartition, HeaderOffset,
		HeaderTimestamp}
	letterGoesOn = []string{HeaderEntity, HeaderOperation, HeaderSourceTable, HeaderSourcePosition,
		HeaderSourceTx, HeaderSourceTime, HeaderTime, HeaderConsumer, HeaderGroup, HeaderAttempts,
		HeaderReplayed, HeaderFirstOffset}
	replayBegins = []string{HeaderReplayed, HeaderFirstOffset, HeaderAttempts}
)

// splitHeaders takes off the last run of headers added by a letter or a replay; ours is nil where
// there is none. The order tells ours from others, so that a record may have headers of the same
// names from elsewhere.
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

// HeaderOf returns the value of the last header of a name, "" where there is none.
func HeaderOf(headers []kgo.RecordHeader, name string) string {
	for _, h := range headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// headerNumber is 0 where there is none.
func headerNumber(headers []kgo.RecordHeader, name string) int64 {
	n, err := strconv.ParseInt(HeaderOf(headers, name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func onlyHeaders(headers []kgo.RecordHeader, names ...string) []kgo.RecordHeader {
	var found []kgo.RecordHeader
	for _, h := range headers {
		if slices.Contains(names, h.Key) {
			found = append(found, h)
		}
	}
	return found
}

// OriginOffset returns the record's offset, or the first offset of a replayed record. The offset
// orders events without a position, so that a replay is as old as the replayed event.
func OriginOffset(r *kgo.Record) int64 {
	_, ours := splitHeaders(r.Headers)
	if first := onlyHeaders(ours, HeaderFirstOffset); first != nil {
		return headerNumber(first, HeaderFirstOffset)
	}
	return r.Offset
}

// Letter is a dead letter. A field is "" or zero where the event could not be read.
type Letter struct {
	ID string
	// Time is the time of writing.
	Time    time.Time
	Rule    string
	Reasons []string
	// Entity is "unknown" where the event's table could not be read.
	Entity, Operation string
	// Record is the original record: topic, partition, offset, timestamp, key, value, headers.
	Record *kgo.Record
	// Table is schema.table, Position the guard's position (see cdcMetadata.position), Committed
	// the time of the commit.
	Table, Position string
	TxID            uint32
	Committed       time.Time
	// Consumer is the version of the program that wrote the letter, and Group the program's group.
	Consumer, Group string
	// Attempts is how often the record has failed, ReplayOf the previous letter of the record.
	Attempts int
	ReplayOf string
	// Done is "", Replayed or Dropped.
	Done string
	// Again are further letters of the very same record: the consumer that wrote the first died
	// before moving the offset. Further letters are done together with the first.
	Again []string

	at          letterPlace
	FirstOffset int64
}

// letterPlace is where a letter is in the dead-letter topic.
type letterPlace struct {
	partition int32
	offset    int64
}

// letterID returns the offset alone where the topic has a single partition, as by default.
func (p letterPlace) letterID(partitions int) string {
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
		return letterPlace{},
			fmt.Errorf("%q is no id of a dead letter: want an offset, or partition/offset", id)
	}
	return letterPlace{int32(p), int64(o)}, nil
}

// CheckID returns an error for an impossible id of a letter. An id is an offset in the dead-letter
// topic, or partition/offset where the topic has several partitions.
func CheckID(id string) error {
	_, err := parsePlace(id)
	return err
}

// readLetter returns false for any other record.
func readLetter(r *kgo.Record) (*Letter, bool) {
	original, ours := splitHeaders(r.Headers)
	if ours == nil || ours[0].Key != HeaderRule {
		return nil, false
	}
	partition, err := strconv.ParseInt(HeaderOf(ours, HeaderPartition), 10, 32)
	offset, err2 := strconv.ParseInt(HeaderOf(ours, HeaderOffset), 10, 64)
	if err != nil || err2 != nil {
		return nil, false
	}
	l := &Letter{
		at: letterPlace{r.Partition, r.Offset}, Time: r.Timestamp.UTC(),
		Rule:    HeaderOf(ours, HeaderRule),
		Reasons: strings.Split(HeaderOf(ours, HeaderReason), "\n"),
		Entity:  HeaderOf(ours, HeaderEntity), Operation: HeaderOf(ours, HeaderOperation),
		Record: &kgo.Record{Topic: HeaderOf(ours, HeaderTopic), Partition: int32(partition),
			Offset:    offset,
			Timestamp: time.UnixMilli(headerNumber(ours, HeaderTimestamp)).UTC(),
			Key:       r.Key, Value: r.Value, Headers: original},
		Table: HeaderOf(ours, HeaderSourceTable), Position: HeaderOf(ours, HeaderSourcePosition),
		TxID:     uint32(headerNumber(ours, HeaderSourceTx)),
		Consumer: HeaderOf(ours, HeaderConsumer), Group: HeaderOf(ours, HeaderGroup),
		Attempts:    max(1, int(headerNumber(ours, HeaderAttempts))),
		ReplayOf:    HeaderOf(ours, HeaderReplayed),
		FirstOffset: offset,
	}
	if ms := headerNumber(ours, HeaderTime); ms != 0 {
		l.Time = time.UnixMilli(ms).UTC()
	}
	if us := headerNumber(ours, HeaderSourceTime); us != 0 {
		l.Committed = time.UnixMicro(us).UTC()
	}
	if first := onlyHeaders(ours, HeaderFirstOffset); first != nil {
		l.FirstOffset = headerNumber(first, HeaderFirstOffset)
	}
	return l, true
}

// readMarker returns false for any other record.
func readMarker(r *kgo.Record) (of letterPlace, how string, ok bool) {
	if _, ours := splitHeaders(r.Headers); ours != nil || r.Key != nil || r.Value != nil {
		return letterPlace{}, "", false
	}
	how = HeaderOf(r.Headers, HeaderHow)
	of, err := parsePlace(HeaderOf(r.Headers, HeaderDone))
	return of, how, err == nil && (how == Replayed || how == Dropped)
}
