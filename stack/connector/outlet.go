package connector

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

const (
	// roomBytes is how much may wait for Kafka before PostgreSQL is no longer read.
	roomBytes = 64 << 20
	// recordBytes is what a record costs beyond its key and value.
	recordBytes = 512
	// topicLimit bounds the creation of a topic.
	topicLimit = 10 * time.Second
	// flushLimit bounds the waiting for acknowledgements at the end of Run.
	flushLimit = 3 * time.Second
)

// LargestRecord is how many bytes a record may have, and so a topic must take; as in the profiles
// of Debezium.
const LargestRecord = 8 << 20

// outlet is the way to Kafka. An outlet outlives the sessions, so that a session's records are
// delivered before their repetition by the next session.
type outlet struct {
	client     *kgo.Client
	admin      *kadm.Client
	room       *semaphore.Weighted
	partitions int32
	// topics are the topics known to exist.
	topics map[string]bool
}

func newOutlet(config Config) (*outlet, error) {
	client, err := kgo.NewClient(append(slices.Clone(config.KafkaOptions),
		kgo.SeedBrokers(config.Brokers...),
		kgo.ClientID("cdclab-connector"),
		kgo.DisableClientMetrics(),
		// Idempotent and in order; a record is tried until accepted or refused for good.
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(LargestRecord),
		// The wire is the loopback: compression would only cost time.
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		// The partitioner of Debezium's records, Java's default.
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.UnknownTopicRetries(-1),
		// room is the bound, because waiting for room can be given up.
		kgo.MaxBufferedRecords(math.MaxInt32),
		kgo.MetadataMinAge(50*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return &outlet{
		client:     client,
		admin:      kadm.NewClient(client),
		room:       semaphore.NewWeighted(roomBytes),
		partitions: int32(config.Partitions),
		topics:     map[string]bool{},
	}, nil
}

// close drops undelivered records.
func (o *outlet) close() { o.client.Close() }

// ensure creates the topic unless it exists.
func (o *outlet) ensure(ctx context.Context, topic string) error {
	if o.topics[topic] {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, topicLimit)
	defer cancel()
	const defaultReplication = -1
	limit := map[string]*string{"max.message.bytes": kadm.StringPtr(strconv.Itoa(LargestRecord))}
	_, err := o.admin.CreateTopic(ctx, o.partitions, defaultReplication, limit, topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	o.topics[topic] = true
	return nil
}

// send hands a record of the transaction to Kafka and returns at once, unless too much waits
// already. acks learns the outcome.
func (o *outlet) send(ctx context.Context, record *kgo.Record, acks *acks, tx *transaction) error {
	size := min(int64(len(record.Key)+len(record.Value)+recordBytes), roomBytes)
	if err := o.room.Acquire(ctx, size); err != nil {
		return fmt.Errorf("wait for Kafka: %w", err)
	}
	acks.sent(tx)
	// Not ctx: an accepted record is delivered even if the session ends first.
	o.client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
		o.room.Release(size)
		if err != nil {
			err = fmt.Errorf("deliver a record of %d bytes to %s: %w", len(r.Value), r.Topic, err)
		}
		acks.acked(tx, err)
	})
	return nil
}

// flush waits until every record sent is acknowledged.
func (o *outlet) flush(ctx context.Context) error {
	if err := o.client.Flush(ctx); err != nil {
		return fmt.Errorf("wait for Kafka: %w", err)
	}
	return nil
}
