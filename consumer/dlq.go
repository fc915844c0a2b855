package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers a dead letter has after those of the record itself. Texts; Timestamp is the record's,
// milliseconds since 1970. Key, value and the other headers are the record's own bytes, so that
// producing them to HeaderTopic again is a replay.
const (
	HeaderRule      = "cdc.dead_letter.rule"
	HeaderReason    = "cdc.dead_letter.reason"
	HeaderTopic     = "cdc.dead_letter.topic"
	HeaderPartition = "cdc.dead_letter.partition"
	HeaderOffset    = "cdc.dead_letter.offset"
	HeaderTimestamp = "cdc.dead_letter.timestamp"
)

// letterMaxBytes leaves room for records of topics that allow more than Kafka's default of 1 MiB.
const letterMaxBytes = 32 << 20

// letterTimeout ends one attempt; the partition then shows as paused.
const letterTimeout = 10 * time.Second

// deadLetter is a record that can never be written, and why: err is a rejection.
type deadLetter struct {
	record            *kgo.Record
	entity, operation string
	err               error
}

func (d *deadLetter) rule() string {
	var r *rejection
	if errors.As(d.err, &r) {
		return r.rule
	}
	return ruleDocument
}

// deadLetters is the dead-letter topic. It has a client of its own, which outlives the group's.
type deadLetters struct {
	client *kgo.Client
	topic  string
}

func openDeadLetters(config Config) (*deadLetters, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(config.Brokers, ",")...),
		kgo.ClientID("cdc-consumer-dead-letters"),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(letterMaxBytes),
		kgo.RecordDeliveryTimeout(letterTimeout),
		kgo.RetryTimeout(letterTimeout),
	)
	if err != nil {
		return nil, fmt.Errorf("set up the client of the dead-letter topic: %w", err)
	}
	return &deadLetters{client, config.DeadLetterTopic}, nil
}

func (d *deadLetters) close() { d.client.Close() }

// create makes the topic if it is not there yet: one partition, with the broker's replication.
func (d *deadLetters) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, letterTimeout)
	defer cancel()
	size := strconv.Itoa(letterMaxBytes)
	_, err := kadm.NewClient(d.client).CreateTopic(ctx, 1, -1,
		map[string]*string{"max.message.bytes": &size}, d.topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return classifyKafka(fmt.Errorf("create the topic %s: %w", d.topic, err))
	}
	return nil
}

// send returns nil when every letter is acknowledged by all in-sync replicas.
func (d *deadLetters) send(ctx context.Context, letters []deadLetter) error {
	records := make([]*kgo.Record, len(letters))
	for i, l := range letters {
		records[i] = l.build(d.topic)
	}
	if err := d.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return classifyKafka(fmt.Errorf("write %d dead letters: %w", len(letters), err))
	}
	return nil
}

func (d *deadLetter) build(topic string) *kgo.Record {
	r := d.record
	own := []kgo.RecordHeader{
		{Key: HeaderRule, Value: []byte(d.rule())},
		{Key: HeaderReason, Value: []byte(d.err.Error())},
		{Key: HeaderTopic, Value: []byte(r.Topic)},
		{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
		{Key: HeaderOffset, Value: strconv.AppendInt(nil, r.Offset, 10)},
		{Key: HeaderTimestamp, Value: strconv.AppendInt(nil, r.Timestamp.UnixMilli(), 10)},
	}
	return &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value,
		Headers: slices.Concat(r.Headers, own)}
}

// kafkaError marks an error of the broker's side, for the metrics.
type kafkaError struct{ err error }

func (k *kafkaError) Error() string { return k.err.Error() }
func (k *kafkaError) Unwrap() error { return k.err }

// classifyKafka makes a haltError of what only a change of configuration cures.
func classifyKafka(err error) error {
	for _, denied := range []*kerr.Error{kerr.TopicAuthorizationFailed,
		kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.InvalidGroupID,
		kerr.InvalidSessionTimeout, kerr.UnsupportedVersion} {
		if errors.Is(err, denied) {
			return &haltError{err}
		}
	}
	return &kafkaError{err}
}
