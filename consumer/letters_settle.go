package consumer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What one batch of replayed letters may hold; the bytes are of keys and values.
const (
	settleMax      = 100
	settleMaxBytes = 16 << 20
	settleTimeout  = 30 * time.Second
)

// ReplayLetters puts the records of the letters that the filter takes back where they came from: the
// same topic and partition, key, value and headers as they were, and behind those HeaderReplayed,
// HeaderFirstOffset and HeaderAttempts; the timestamp is the record's own. Each is acknowledged by
// all in-sync replicas before its letter is marked as replayed: after an error a letter may be
// pending although its record was replayed. That does no harm, nor does replaying old events: the
// consumer judges a replayed record like any other, and an event older than its document is stale.
// done is told of each letter that is marked.
func ReplayLetters(ctx context.Context, client *kgo.Client, topic string, filter LetterFilter,
	done func(*Letter)) (LetterCounts, error) {
	return settleLetters(ctx, client, topic, filter, LetterReplayed, done)
}

// DropLetters marks the letters that the filter takes as dropped. Nothing is deleted: with
// LetterFilter.Done they can still be read, and replayed.
func DropLetters(ctx context.Context, client *kgo.Client, topic string, filter LetterFilter,
	done func(*Letter)) (LetterCounts, error) {
	return settleLetters(ctx, client, topic, filter, LetterDropped, done)
}

func settleLetters(ctx context.Context, client *kgo.Client, topic string, filter LetterFilter, how string,
	done func(*Letter)) (LetterCounts, error) {
	producer, err := kgo.NewClient(append(slices.Clone(client.Opts()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(letterMaxBytes), kgo.AllowIdempotentProduceCancellation(),
		kgo.RetryTimeout(letterTimeout))...)
	if err != nil {
		return LetterCounts{}, fmt.Errorf("set up the producer of the replay: %w", err)
	}
	defer producer.Close()
	b := settling{producer: producer, topic: topic, how: how, done: done}
	counts, err := Letters(ctx, client, topic, filter, func(l *Letter) error {
		b.letters = append(b.letters, l)
		b.bytes += len(l.Record.Key) + len(l.Record.Value)
		if len(b.letters) < settleMax && b.bytes < settleMaxBytes {
			return nil
		}
		return b.flush(ctx)
	})
	if err != nil {
		return counts, err
	}
	return counts, b.flush(ctx)
}

// settling is a batch of letters that become done.
type settling struct {
	producer   *kgo.Client
	topic, how string
	done       func(*Letter)

	letters []*Letter
	bytes   int
}

// flush marks what was replayed also where a part of the batch was not.
func (b *settling) flush(ctx context.Context) error {
	letters, failed := b.letters, error(nil)
	b.letters, b.bytes = nil, 0
	if b.how == LetterReplayed {
		letters, failed = b.produce(ctx, letters, (*Letter).replay)
	}
	marked, err := b.produce(ctx, letters, b.marker)
	for _, l := range marked {
		l.Done = b.how
		b.done(l)
	}
	return cmp.Or(failed, err)
}

// produce returns the letters whose record was acknowledged, and the first error of the others.
func (b *settling) produce(ctx context.Context, letters []*Letter, record func(*Letter) *kgo.Record) (
	[]*Letter, error) {
	records := make([]*kgo.Record, len(letters))
	for i, l := range letters {
		records[i] = record(l)
	}
	// Not RecordDeliveryTimeout: it counts from the record's timestamp, which is old.
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	lost := map[*kgo.Record]bool{}
	var failed error
	for _, result := range b.producer.ProduceSync(ctx, records...) {
		if result.Err == nil {
			continue
		}
		lost[result.Record] = true
		failed = cmp.Or(failed, fmt.Errorf("write to %s/%d: %w", result.Record.Topic, result.Record.Partition,
			result.Err))
	}
	var through []*Letter
	for i, l := range letters {
		if !lost[records[i]] {
			through = append(through, l)
		}
	}
	return through, failed
}

// marker is in the letter's partition: it must not be forgotten before the letter is.
func (b *settling) marker(l *Letter) *kgo.Record {
	return &kgo.Record{Topic: b.topic, Partition: l.at.partition, Headers: []kgo.RecordHeader{
		{Key: HeaderDone, Value: []byte(l.ID)}, {Key: HeaderHow, Value: []byte(b.how)}}}
}

func (l *Letter) replay() *kgo.Record {
	r := l.Record
	return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value,
		Headers: append(slices.Clone(r.Headers),
			kgo.RecordHeader{Key: HeaderReplayed, Value: []byte(l.ID)},
			kgo.RecordHeader{Key: HeaderFirstOffset, Value: strconv.AppendInt(nil, l.firstOffset, 10)},
			kgo.RecordHeader{Key: HeaderAttempts, Value: strconv.AppendInt(nil, int64(l.Attempts), 10)})}
}
