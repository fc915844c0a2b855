package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// letterMaxBytes leaves room for records of topics that allow more than Kafka's default of 1 MiB, and
// for the headers of a letter.
const letterMaxBytes = 64 << 20

// reasonMaxBytes bounds the one header whose length others decide.
const reasonMaxBytes = 64 << 10

// lettersDeep bounds the work for a record that imitates letters of letters; ours is at most one.
const lettersDeep = 8

// letterTimeout ends one attempt; the partition then shows as paused.
const letterTimeout = 10 * time.Second

// deadLetter is a record that can never be written, and why: err is a rejection.
type deadLetter struct {
	record            *kgo.Record
	entity, operation string
	err               error
	source            letterSource
}

// letterSource is where the event came from, as far as it could be read: what could not is "" or 0.
type letterSource struct {
	Table    string // schema.table
	Position string // as in cdcMetadata.position
	TxID     uint32
	TsUs     int64 // of the commit, microseconds since 1970
}

func (d *deadLetter) rule() string {
	var r *rejection
	if errors.As(d.err, &r) {
		return r.rule
	}
	return ruleDocument
}

// reason is all that is wrong, one a line.
func (d *deadLetter) reason() string { return strings.TrimPrefix(d.err.Error(), d.rule()+": ") }

// said is the reason as far as it holds no value of a row, for the log: MongoDB quotes documents, and
// what is no event may have anything where an event has its operation; then only the place is told.
func (d *deadLetter) said() string {
	switch d.rule() {
	case ruleDocument, ruleUnique:
		return ""
	case ruleUndecodable:
		place, _, _ := strings.Cut(d.reason(), ":")
		return place
	}
	return d.reason()
}

// deadLetters is the dead-letter topic. It has a client of its own, which outlives the group's.
//
// The topic is the one home of dead letters, not a collection in MongoDB: it is acknowledged by the
// broker that holds the offset which moves next, also while MongoDB is away, and it takes what
// MongoDB refuses: a document that is too large, bytes that are no text. What became of a letter is
// written there too (letters_settle.go), so that nothing needs a second store to be understood.
type deadLetters struct {
	client *kgo.Client
	topic  string
	group  string
	build  string // of this program
}

func openDeadLetters(config Config) (*deadLetters, error) {
	options, err := config.KafkaOptions()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options,
		kgo.ClientID("cdc-consumer-dead-letters"),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(letterMaxBytes),
		kgo.RecordDeliveryTimeout(letterTimeout),
		kgo.RetryTimeout(letterTimeout),
	)...)
	if err != nil {
		return nil, fmt.Errorf("set up the client of the dead-letter topic: %w", err)
	}
	return &deadLetters{client, config.DeadLetterTopic, config.Group, buildVersion()}, nil
}

func (d *deadLetters) close() { d.client.Close() }

// create makes the topic if it is not there yet: one partition, so that the letters have one order,
// with the broker's replication, and kept for ever: a letter must not end before somebody saw it.
func (d *deadLetters) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, letterTimeout)
	defer cancel()
	size, policy, retention := strconv.Itoa(letterMaxBytes), "delete", "-1"
	_, err := kadm.NewClient(d.client).CreateTopic(ctx, 1, -1, map[string]*string{
		"max.message.bytes": &size, "cleanup.policy": &policy, "retention.ms": &retention}, d.topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return classifyKafka(fmt.Errorf("create the topic %s: %w", d.topic, err))
	}
	return nil
}

// send returns nil when every letter is acknowledged by all in-sync replicas.
func (d *deadLetters) send(ctx context.Context, letters []deadLetter) error {
	records := make([]*kgo.Record, len(letters))
	for i, l := range letters {
		records[i] = d.letter(&l, time.Now())
	}
	if err := d.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return classifyKafka(fmt.Errorf("write %d dead letters: %w", len(letters), err))
	}
	return nil
}

// letter is the record as it came, and behind its headers ours. Those of an earlier letter go: a
// record that was replayed and failed again has the newest reasons, and the number of times.
func (d *deadLetters) letter(l *deadLetter, now time.Time) *kgo.Record {
	r := l.record
	headers, attempts := slices.Clone(r.Headers), 0
	var replayed []kgo.RecordHeader
	for range lettersDeep {
		original, ours := splitHeaders(headers)
		if ours == nil {
			break
		}
		attempts = max(attempts, int(headerNumber(ours, HeaderAttempts)), 1)
		if replayed == nil {
			replayed = only(ours, HeaderReplayed, HeaderFirstOffset)
		}
		headers = original
	}
	add := func(name, value string) {
		if value != "" {
			headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	add(HeaderRule, l.rule())
	add(HeaderReason, cut(l.reason(), reasonMaxBytes))
	add(HeaderTopic, r.Topic)
	add(HeaderPartition, number(int64(r.Partition)))
	add(HeaderOffset, number(r.Offset))
	add(HeaderTimestamp, number(r.Timestamp.UnixMilli()))
	add(HeaderEntity, l.entity)
	add(HeaderOperation, l.operation)
	if s := l.source; s != (letterSource{}) {
		add(HeaderSourceTable, s.Table)
		add(HeaderSourcePosition, s.Position)
		add(HeaderSourceTx, number(int64(s.TxID)))
		add(HeaderSourceTime, number(s.TsUs))
	}
	add(HeaderTime, number(now.UnixMilli()))
	add(HeaderConsumer, d.build)
	add(HeaderGroup, d.group)
	add(HeaderAttempts, strconv.Itoa(attempts+1))
	return &kgo.Record{Topic: d.topic, Key: r.Key, Value: r.Value, Headers: append(headers, replayed...)}
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " ..."
}

// buildVersion is the module's version, or the commit, as far as the build knows them.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := cmp.Or(info.Main.Version, "unknown")
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && version == "(devel)" {
			version = setting.Value
		}
	}
	return version
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
