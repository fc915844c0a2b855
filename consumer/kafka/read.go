package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ReadPatience is how long the rest of a partition may be silent before the broker is asked for the
// end of the log, because a compacted log may end before its end offset.
const ReadPatience = 10 * time.Second

// stretch is a part of a partition: with from, without to. {5, 8} holds the offsets 5, 6 and 7.
type stretch struct {
	from, to int64
	id       kadm.TopicID // of the topic; zero where not known
}

// stretches are parts of topics, by partition.
type stretches map[string]map[int32]stretch

// Whole is everything committed in the topics now.
func Whole(ctx context.Context, client *kgo.Client, topics ...string) (stretches, error) {
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the first offsets of %v: %w", topics, err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the end offsets of %v: %w", topics, err)
	}
	now, err := admin.ListTopics(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("ask for the IDs of %v: %w", topics, err)
	}
	all := stretches{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		if all[end.Topic] == nil {
			all[end.Topic] = map[int32]stretch{}
		}
		all[end.Topic][end.Partition] = stretch{start.Offset, end.Offset,
			now[end.Topic].ID}
	})
	return all, nil
}

// Stretch is a part of a partition: from an offset, up to an offset that is not in the part.
func Stretch(topic string, partition int32, from, to int64) stretches {
	return stretches{topic: {partition: {from: from, to: to}}}
}

// Beside is the last n records, of each other partition of the record's topic, that came before the
// record by the records' times.
func Beside(ctx context.Context, client *kgo.Client, r *kgo.Record, n int64) (stretches, error) {
	all, err := Whole(ctx, client, r.Topic)
	if err != nil {
		return nil, err
	}
	ends, err := kadm.NewClient(client).ListOffsetsAfterMilli(ctx, r.Timestamp.UnixMilli(),
		r.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the offsets of %s at %v: %w", r.Topic, r.Timestamp, err)
	}
	all.removePartition(r.Topic, r.Partition)
	for partition, part := range all[r.Topic] {
		if end, there := ends.Lookup(r.Topic, partition); there {
			part.to = min(part.to, end.Offset)
		}
		part.from = max(part.from, part.to-n)
		all[r.Topic][partition] = part
	}
	return all, nil
}

// After is everything behind s, without an end.
func (s stretches) After() stretches {
	all := stretches{}
	for topic, parts := range s {
		all[topic] = map[int32]stretch{}
		for partition, part := range parts {
			all[topic][partition] = stretch{part.to, math.MaxInt64, part.id}
		}
	}
	return all
}

// Read visits the committed records of the stretches: in the order of the log within a partition,
// in the order of arrival across partitions. Read has a new client with the options of the client
// given. short says which logs ended before their stretch did, in words.
func Read(ctx context.Context, client *kgo.Client, s stretches, visit func(*kgo.Record) error) (
	short []string, err error) {
	left, from := stretches{}, map[string]map[int32]kgo.Offset{}
	for topic, parts := range s {
		for partition, part := range parts {
			if part.from >= part.to {
				continue
			}
			if left[topic] == nil {
				left[topic], from[topic] = map[int32]stretch{}, map[int32]kgo.Offset{}
			}
			left[topic][partition] = part
			from[topic][partition] = kgo.NewOffset().At(part.from)
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	// Control records are kept because a transaction's end may be the last of a partition.
	reader, err := kgo.NewClient(append(slices.Clone(client.Opts()), kgo.ConsumePartitions(from),
		kgo.KeepControlRecords(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(time.Second))...)
	if err != nil {
		return nil, fmt.Errorf("set up a reader of %d topics: %w", len(left), err)
	}
	defer reader.Close()
	for len(left) > 0 {
		n, err := left.pollRecords(ctx, reader, visit)
		if err != nil {
			return nil, err
		}
		if n > 0 || left.hasNoEnd() {
			continue
		}
		if err := left.askBroker(ctx, reader); err != nil {
			return nil, err
		}
		return left.unreadInWords(), nil
	}
	return nil, nil
}

// pollRecords visits the records arrived, removes finished partitions, and returns the number of
// records: 0 after ReadPatience without any.
func (s stretches) pollRecords(ctx context.Context, reader *kgo.Client,
	visit func(*kgo.Record) error) (int, error) {
	wait, cancel := context.WithTimeout(ctx, ReadPatience)
	defer cancel()
	fetches := reader.PollFetches(wait)
	if inflater, is := reader.OptValue(kgo.WithDecompressor).(*Inflater); is {
		inflater.Polled()
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("read %s: %w", s.firstTopic(), err)
	}
	for _, failed := range fetches.Errors() {
		switch {
		case errors.Is(failed.Err, context.DeadlineExceeded), errors.Is(failed.Err, ErrNoRoom):
		case errors.Is(failed.Err, kerr.UnknownTopicID),
			errors.Is(failed.Err, kerr.UnknownTopicOrPartition):
			return 0, fmt.Errorf("%w (%w)", s.madeAnew(failed.Topic, failed.Partition), failed.Err)
		default:
			return 0, fmt.Errorf("read %s/%d: %w", failed.Topic, failed.Partition, failed.Err)
		}
	}
	if err := s.checkTopics(fetches); err != nil {
		return 0, err
	}
	n := 0
	for at := fetches.RecordIter(); !at.Done(); {
		r := at.Next()
		part, wanted := s[r.Topic][r.Partition]
		n++
		if !wanted {
			continue
		}
		if r.Offset < part.to && !r.Attrs.IsControl() {
			if err := visit(r); err != nil {
				return n, err
			}
		}
		if r.Offset >= part.to-1 {
			s.removePartition(r.Topic, r.Partition)
			reader.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
			continue
		}
		s[r.Topic][r.Partition] = stretch{r.Offset + 1, part.to, part.id}
	}
	return n, nil
}

// checkTopics returns an error if records of a topic made anew have come.
func (s stretches) checkTopics(fetches kgo.Fetches) error {
	for _, fetch := range fetches {
		for _, topic := range fetch.Topics {
			for _, fetched := range topic.Partitions {
				id, want := kadm.TopicID(topic.TopicID), s[topic.Topic][fetched.Partition].id
				if id != (kadm.TopicID{}) && want != (kadm.TopicID{}) && id != want {
					return s.madeAnew(topic.Topic, fetched.Partition)
				}
			}
		}
	}
	return nil
}

// madeAnew returns the error about a topic that is not any more the topic whose reading began.
func (s stretches) madeAnew(topic string, partition int32) error {
	return fmt.Errorf("read %s/%d from offset %d on: the topic was deleted, or deleted and made"+
		" anew, since the reading began; what came before is of the topic that is gone: begin"+
		" again, to read the topic that is there now", topic, partition, s[topic][partition].from)
}

func (s stretches) removePartition(topic string, partition int32) {
	delete(s[topic], partition)
	if len(s[topic]) == 0 {
		delete(s, topic)
	}
}

func (s stretches) hasNoEnd() bool {
	for _, parts := range s {
		for _, part := range parts {
			if part.to == math.MaxInt64 {
				return true
			}
		}
	}
	return false
}

// askBroker is an error where the silence is the broker's and not the log's.
func (s stretches) askBroker(ctx context.Context, reader *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, ReadPatience)
	defer cancel()
	for topic := range s {
		if _, err := Whole(ctx, reader, topic); err != nil {
			return fmt.Errorf("nothing came of %s for %v: %w", topic, ReadPatience, err)
		}
	}
	return nil
}

func (s stretches) firstTopic() string {
	for topic := range s {
		return topic
	}
	return "nothing"
}

func (s stretches) unreadInWords() []string {
	var all []string
	for topic, parts := range s {
		for partition, part := range parts {
			all = append(all, fmt.Sprintf("%s/%d ends at offset %d, and nothing came from %d on",
				topic, partition, part.to, part.from))
		}
	}
	slices.Sort(all)
	return all
}
