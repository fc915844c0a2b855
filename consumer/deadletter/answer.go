package deadletter

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The bounds of a batch of replayed letters; the bytes are of keys and values.
const (
	settleMax      = 100
	settleMaxBytes = 16 << 20
	settleTimeout  = 30 * time.Second
)

// Replay puts the records of the filter's letters back: into the same topic and partition, with the
// same timestamp, key, value and headers, and behind the headers HeaderReplayed, HeaderFirstOffset
// and HeaderAttempts. All in-sync replicas acknowledge a record before the record's letter is
// marked as replayed, so that after an error the letter of a replayed record may be pending. A
// second replay does no harm, nor does a replay of old events: the consumer judges a replayed
// record like any other, and an event older than the stored document is stale. done is told of each
// marked letter.
//
// Replay writes only to topics that match into, which are the consumer's. Whoever may write a
// letter names the topic of the record in a header, so that any other topic is an error, and the
// letters behind stay pending; CountTopics tells beforehand.
func Replay(ctx context.Context, client *kgo.Client, topic string, filter Filter,
	into *regexp.Regexp, done func(*Letter)) (Counts, error) {
	return answerLetters(ctx, client, topic, filter, Replayed, into, done)
}

// CountTopics returns by topic how many records a Replay of the filter's letters would write.
func CountTopics(ctx context.Context, client *kgo.Client, topic string, filter Filter) (
	map[string]int, error) {
	topics := map[string]int{}
	_, err := Read(ctx, client, topic, filter, func(l *Letter) error {
		topics[l.Record.Topic]++
		return nil
	})
	return topics, err
}

// Drop marks the filter's letters as dropped. Nothing is deleted: with Filter.Done dropped letters
// can still be read, and replayed.
func Drop(ctx context.Context, client *kgo.Client, topic string, filter Filter,
	done func(*Letter)) (Counts, error) {
	return answerLetters(ctx, client, topic, filter, Dropped, nil, done)
}

// MayReplay returns true if a replay may write to the topic: a topic of the consumer, which match
// into, and never the topic of the dead letters.
func MayReplay(to, letters string, into *regexp.Regexp) bool {
	return to != letters && into.MatchString(to)
}

func answerLetters(ctx context.Context, client *kgo.Client, topic string, filter Filter, how string,
	into *regexp.Regexp, done func(*Letter)) (Counts, error) {
	producer, err := kgo.NewClient(append(slices.Clone(client.Opts()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(letterMaxBytes),
		kgo.AllowIdempotentProduceCancellation(), kgo.RetryTimeout(letterTimeout))...)
	if err != nil {
		return Counts{}, fmt.Errorf("set up the producer of the replay: %w", err)
	}
	defer producer.Close()
	b := answering{producer: producer, topic: topic, how: how, done: done}
	counts, err := Read(ctx, client, topic, filter, func(l *Letter) error {
		if to := l.Record.Topic; into != nil && !MayReplay(to, topic, into) {
			return fmt.Errorf("letter %s is of %q, which is no topic of the consumer", l.ID, to)
		}
		b.letters = append(b.letters, l)
		b.bytes += len(l.Record.Key) + len(l.Record.Value)
		if len(b.letters) < settleMax && b.bytes < settleMaxBytes {
			return nil
		}
		return b.answerBatch(ctx)
	})
	if err != nil {
		return counts, err
	}
	return counts, b.answerBatch(ctx)
}

// answering is a batch of letters on the way to done.
type answering struct {
	producer   *kgo.Client
	topic, how string
	done       func(*Letter)

	letters []*Letter
	bytes   int
}

// answerBatch marks the replayed letters also where a part of the batch failed.
func (b *answering) answerBatch(ctx context.Context) error {
	letters, failed := b.letters, error(nil)
	b.letters, b.bytes = nil, 0
	if b.how == Replayed {
		letters, failed = b.produceAll(ctx, letters, (*Letter).replayRecord)
	}
	marked, err := b.produceAll(ctx, letters, b.markerOf)
	for _, l := range marked {
		l.Done = b.how
		b.done(l)
	}
	return cmp.Or(failed, err)
}

// produceAll returns the letters whose record was acknowledged, and the first error of the others.
func (b *answering) produceAll(ctx context.Context, letters []*Letter,
	record func(*Letter) *kgo.Record) ([]*Letter, error) {
	records := make([]*kgo.Record, len(letters))
	for i, l := range letters {
		records[i] = record(l)
	}
	// Not RecordDeliveryTimeout, which counts from the record's old timestamp.
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	lost := map[*kgo.Record]bool{}
	var failed error
	for _, result := range b.producer.ProduceSync(ctx, records...) {
		if result.Err == nil {
			continue
		}
		lost[result.Record] = true
		failed = cmp.Or(failed, fmt.Errorf("write to %s/%d: %w",
			result.Record.Topic, result.Record.Partition, result.Err))
	}
	var through []*Letter
	for i, l := range letters {
		if !lost[records[i]] {
			through = append(through, l)
		}
	}
	return through, failed
}

// markerOf returns a marker in the letter's partition, because the marker must not be forgotten
// before the letter.
func (b *answering) markerOf(l *Letter) *kgo.Record {
	return &kgo.Record{Topic: b.topic, Partition: l.at.partition, Headers: []kgo.RecordHeader{
		{Key: HeaderDone, Value: []byte(l.ID)}, {Key: HeaderHow, Value: []byte(b.how)}}}
}

func (l *Letter) replayRecord() *kgo.Record {
	r := l.Record
	return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Timestamp: r.Timestamp, Key: r.Key,
		Value: r.Value,
		Headers: append(slices.Clone(r.Headers),
			kgo.RecordHeader{Key: HeaderReplayed, Value: []byte(l.ID)},
			kgo.RecordHeader{Key: HeaderFirstOffset,
				Value: strconv.AppendInt(nil, l.FirstOffset, 10)},
			kgo.RecordHeader{Key: HeaderAttempts,
				Value: strconv.AppendInt(nil, int64(l.Attempts), 10)})}
}
