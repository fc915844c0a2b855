package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/postgres"
)

// drainLook is the time between two looks of Drained: longer than the consumer takes from a poll to
// the write, and no longer than the consumer's commits take.
const drainLook = 250 * time.Millisecond

// Drained returns when the consumer has applied every commit in PostgreSQL before the call: the
// connector has confirmed the log's position at the call, the consumer's group has committed up to
// the end of every table's topic, and the end has not moved between two looks. The error, when ctx
// ends first, names the rest still to come.
func (s *Stack) Drained(ctx context.Context) error {
	target, err := s.walPosition(ctx)
	if err != nil {
		return fmt.Errorf("wait for the pipeline to drain: %w", err)
	}
	client, err := kgo.NewClient(s.KafkaOptions()...)
	if err != nil {
		return fmt.Errorf("wait for the pipeline to drain: %w", err)
	}
	admin := kadm.NewClient(client)
	defer admin.Close()

	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	var before map[string]int64
	for {
		ends, waiting := s.lookForRest(ctx, admin, target)
		if waiting == "" && before != nil && maps.Equal(before, ends) {
			return nil
		}
		if waiting == "" {
			waiting = "the ends of the topics to stop moving"
			before = ends
		} else {
			before = nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the pipeline to drain: %w while waiting for %s", ctx.Err(),
				waiting)
		case <-tick.C:
		}
	}
}

// walPosition returns the position up to where PostgreSQL's log is on disk: everything committed
// lies before it.
func (s *Stack) walPosition(ctx context.Context) (pglogrepl.LSN, error) {
	var text string
	err := postgres.With(ctx, s.parts.postgres.DSN(), func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text)
	})
	if err != nil {
		return 0, fmt.Errorf("ask PostgreSQL for its position: %w", err)
	}
	return pglogrepl.ParseLSN(text)
}

// lookForRest says what the pipeline has still to do, "" when nothing, and where the topics end. A
// consumer that is behind and not ready says why: a partition may wait for the operator.
func (s *Stack) lookForRest(
	ctx context.Context, admin *kadm.Client, target pglogrepl.LSN,
) (ends map[string]int64, waiting string) {
	confirmed, err := s.parts.connector.confirmed(ctx)
	if err != nil {
		return nil, fmt.Sprintf("the connector (%v)", err)
	}
	if confirmed < target {
		return nil, fmt.Sprintf("the connector, which has confirmed %v of %v", confirmed, target)
	}
	partitions, err := s.Lag(ctx, admin)
	if err != nil {
		return nil, fmt.Sprintf("Kafka (%v)", err)
	}
	if len(partitions) == 0 {
		return nil, fmt.Sprintf("a table's topic: Kafka has none like %s, is the topic prefix "+
			"right?", s.Topics())
	}
	ends = map[string]int64{}
	var lag int64
	for _, p := range partitions {
		ends[p.Name()] = p.End
		lag += p.Lag()
	}
	if lag == 0 {
		return ends, ""
	}
	waiting = fmt.Sprintf("the consumer, which is %d records behind", lag)
	for _, c := range s.parts.consumers {
		if err := c.Health(ctx); err != nil {
			waiting += fmt.Sprintf("; %v", err)
		}
	}
	return ends, waiting
}

// PartitionLag is one partition of a table's topic with two positions: the end, and the offset
// committed by the consumer's group.
type PartitionLag struct {
	Topic          string
	Partition      int32
	End, Committed int64
}

// Lag is the number of records not committed.
func (p PartitionLag) Lag() int64 { return max(0, p.End-p.Committed) }

// Name is "<topic>/<partition>".
func (p PartitionLag) Name() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Lag asks Kafka for the ends of the tables' topics and for the offsets committed by the consumer's
// group; without a commit, the group will begin at the start. The client needs KafkaOptions.
func (s *Stack) Lag(ctx context.Context, admin *kadm.Client) ([]PartitionLag, error) {
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the topics: %w", err)
	}
	// Commits come first, so that a lag may be seen too large, and never as none when there is one.
	committed, err := admin.FetchOffsets(ctx, s.Group())
	// A group exists only after its first commit.
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("read what the consumer has committed: %w", err)
	}
	names := slices.DeleteFunc(topics.Names(), func(name string) bool {
		return !s.consumes(name, committed)
	})
	if len(names) == 0 {
		return nil, nil // to ask for none would be to ask for all
	}
	starts, err := admin.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list the starts of the topics: %w", err)
	}
	listed, err := admin.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list the ends of the topics: %w", err)
	}
	var partitions []PartitionLag
	listed.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		if failed := errors.Join(start.Err, end.Err); failed != nil {
			err = fmt.Errorf("the ends of %s %d: %w", end.Topic, end.Partition, failed)
			return
		}
		p := PartitionLag{Topic: end.Topic, Partition: end.Partition, End: end.Offset,
			Committed: start.Offset}
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok && c.At >= 0 {
			p.Committed = c.At
		}
		partitions = append(partitions, p)
	})
	return partitions, err
}

// Records counts the records that Kafka got so far in the tables' topics, deleted ones included.
func (s *Stack) Records(ctx context.Context) (records int64, err error) {
	client, err := kgo.NewClient(s.KafkaOptions()...)
	if err != nil {
		return 0, fmt.Errorf("count the records in Kafka: %w", err)
	}
	admin := kadm.NewClient(client)
	defer admin.Close()
	partitions, err := s.Lag(ctx, admin)
	if err != nil {
		return 0, fmt.Errorf("count the records in Kafka: %w", err)
	}
	for _, p := range partitions {
		records += p.End
	}
	return records, nil
}

// consumes returns true if the consumer's group has to read a topic: a table's. An External
// pipeline's group may leave out tables that are not the lab's: the group has no commits there.
func (s *Stack) consumes(topic string, committed kadm.OffsetResponses) bool {
	table, is := strings.CutPrefix(topic, s.topicPrefix()+".public.")
	return is && (s.options.Kind != External || slices.Contains(kafka.Tables, table) ||
		len(committed[topic]) > 0)
}

// Topics is a regular expression of the tables' topics.
func (s *Stack) Topics() string { return "^" + regexp.QuoteMeta(s.topicPrefix()+".public.") + ".*" }

// KafkaOptions are the options of a client of the lab's own, which goes round every Proxy.
func (s *Stack) KafkaOptions() []kgo.Opt {
	return append(slices.Clone(s.parts.kafka.ClientOptions()),
		kgo.SeedBrokers(s.parts.kafka.Brokers(kafka.ListenLab)...))
}

// Group is the consumers' group.
func (s *Stack) Group() string { return cmp.Or(s.options.External.Group, consumerGroup) }

// topicPrefix is Debezium's topic.prefix.
func (s *Stack) topicPrefix() string {
	return cmp.Or(s.options.External.TopicPrefix, kafka.TopicPrefix)
}
