package deadletter

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

	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/kafka"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// letterMaxBytes is near Kafka's largest request of 100 MiB, because a topic may allow records far
// above the default of 1 MiB. MaxRecordBytes leaves room for the headers of a letter.
const (
	letterMaxBytes = 96 << 20
	MaxRecordBytes = 95 << 20
)

// reasonMaxBytes bounds the reason's header, the only header as long as others decide.
const reasonMaxBytes = 64 << 10

// lettersDeep bounds the work for a record that imitates letters of letters. A letter of this
// program is at most 1 deep.
const lettersDeep = 8

// metadataMinAge lets a topic made anew be noticed soon; the client's default is 5 s.
const metadataMinAge = 250 * time.Millisecond

// letterTimeout ends an attempt; the partition then shows as paused.
const letterTimeout = 10 * time.Second

// Rejected is a record that can never be written. Err is a rejection with the reason.
type Rejected struct {
	Record            *kgo.Record
	Entity, Operation string
	Err               error
	Source            Source
}

// Source is the origin of the event, as far as readable: an unreadable field is "" or 0.
type Source struct {
	Table    string // schema.table
	Position string // as in cdcMetadata.position
	TxID     uint32
	TsUs     int64 // of the commit, microseconds since 1970
}

// Rule returns the first broken rule.
func (d *Rejected) Rule() string {
	var r *fate.Rejection
	if errors.As(d.Err, &r) {
		return r.Rule
	}
	return fate.RuleDocument
}

// Reason returns all reasons, each on a line.
func (d *Rejected) Reason() string { return strings.TrimPrefix(d.Err.Error(), d.Rule()+": ") }

// ReasonForLog returns the part of the reason without values of a row, for the log. MongoDB quotes
// documents, and a record that is no event may have anything in place of the operation: then only
// the place is told.
func (d *Rejected) ReasonForLog() string {
	switch d.Rule() {
	case fate.RuleDocument, fate.RuleUnique:
		return ""
	case fate.RuleUndecodable:
		place, _, _ := strings.Cut(d.Reason(), ":")
		return place
	}
	return d.Reason()
}

// Topic is the dead-letter topic. Topic has its own client, which outlives the group's.
//
// The topic is the only home of dead letters, instead of a collection in MongoDB. The broker that
// holds the offset about to move acknowledges the letter, also while MongoDB is away. The topic
// takes all that MongoDB refuses: too large documents, bytes that are no text. The answers to
// letters stand in the topic, too (answer.go), so that no second store is needed to understand the
// topic.
type Topic struct {
	client *kgo.Client
	topic  string
	group  string
	build  string // of this program
}

// Open makes the client of the topic, with the options of every Kafka client. group is the
// consumer's, for the letters' headers.
func Open(options []kgo.Opt, topic, group string) (*Topic, error) {
	client, err := kgo.NewClient(append(options,
		kgo.ClientID("cdc-consumer-dead-letters"),
		kgo.ProducerLinger(0),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.ProducerBatchMaxBytes(letterMaxBytes),
		kgo.RecordDeliveryTimeout(letterTimeout),
		kgo.RetryTimeout(letterTimeout),
	)...)
	if err != nil {
		return nil, fmt.Errorf("set up the client of the dead-letter topic: %w", err)
	}
	return &Topic{client, topic, group, telemetry.Version()}, nil
}

// Close closes the client.
func (d *Topic) Close() { d.client.Close() }

// CountBrokers asks how many brokers the cluster has; 0 means that none answers.
func (d *Topic) CountBrokers(ctx context.Context) int { return kafka.CountBrokers(ctx, d.client) }

// Create makes the topic if the topic is missing, with the broker's replication. One partition
// gives the letters one order. Letters are kept for ever, because no letter may end unseen.
func (d *Topic) Create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, letterTimeout)
	defer cancel()
	size, policy, retention := strconv.Itoa(letterMaxBytes), "delete", "-1"
	_, err := kadm.NewClient(d.client).CreateTopic(ctx, 1, -1, map[string]*string{
		"max.message.bytes": &size, "cleanup.policy": &policy, "retention.ms": &retention}, d.topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return kafka.Classify(fmt.Errorf("create the topic %s: %w", d.topic, err))
	}
	return nil
}

// Send returns nil when every letter is acknowledged by all in-sync replicas.
func (d *Topic) Send(ctx context.Context, letters []Rejected) error {
	records := make([]*kgo.Record, len(letters))
	for i, l := range letters {
		records[i] = d.letterRecord(&l, time.Now())
	}
	if err := d.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		if errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) {
			// Otherwise the client stays with a topic that was deleted, also once made anew.
			d.client.PurgeTopicsFromProducing(d.topic)
		}
		return kafka.Classify(fmt.Errorf("write %d dead letters: %w", len(letters), err))
	}
	return nil
}

// letterRecord returns the record unchanged, with our headers behind the record's own. Headers of
// an earlier letter go: a replayed record that failed again has the newest reasons, and the number
// of times.
func (d *Topic) letterRecord(l *Rejected, now time.Time) *kgo.Record {
	r := l.Record
	headers, attempts := slices.Clone(r.Headers), 0
	var replayed []kgo.RecordHeader
	for range lettersDeep {
		original, ours := splitHeaders(headers)
		if ours == nil {
			break
		}
		attempts = max(attempts, int(headerNumber(ours, HeaderAttempts)), 1)
		if replayed == nil {
			replayed = onlyHeaders(ours, HeaderReplayed, HeaderFirstOffset)
		}
		headers = original
	}
	add := func(name, value string) {
		if value != "" {
			headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	add(HeaderRule, l.Rule())
	add(HeaderReason, cutText(l.Reason(), reasonMaxBytes))
	add(HeaderTopic, r.Topic)
	add(HeaderPartition, number(int64(r.Partition)))
	add(HeaderOffset, number(r.Offset))
	add(HeaderTimestamp, number(r.Timestamp.UnixMilli()))
	add(HeaderEntity, l.Entity)
	add(HeaderOperation, l.Operation)
	if s := l.Source; s != (Source{}) {
		add(HeaderSourceTable, s.Table)
		add(HeaderSourcePosition, s.Position)
		add(HeaderSourceTx, number(int64(s.TxID)))
		add(HeaderSourceTime, number(s.TsUs))
	}
	add(HeaderTime, number(now.UnixMilli()))
	add(HeaderConsumer, d.build)
	add(HeaderGroup, d.group)
	add(HeaderAttempts, strconv.Itoa(attempts+1))
	return &kgo.Record{Topic: d.topic, Key: r.Key, Value: r.Value,
		Headers: append(headers, replayed...)}
}

func cutText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " ..."
}
