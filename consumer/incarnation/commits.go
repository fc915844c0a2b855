// Package incarnation tells the incarnations of a topic apart. A topic that was deleted and created
// again has another ID under the same name, and offsets of one incarnation mean nothing in another.
// The package keeps the ID with each committed offset and beside the documents, and has the client
// forget a topic whose ID changed; otherwise the client would stay with the old ID for ever.
// Brokers before Kafka 2.8 know no IDs, and there nothing is told apart. Start reading at Watch,
// then commits.go (committed offsets) and known.go (offsets in documents).
package incarnation

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ID names an incarnation of a topic. The zero ID stands for one not known.
type ID [16]byte

// String returns the ID as Kafka's tools print an ID.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// commitPrefix begins the metadata of a committed offset, before the topic's ID.
const commitPrefix = "cdclab topic-id="

// StampCommits returns a context whose commits say which incarnation of the topic each offset is
// of.
func StampCommits(ctx context.Context) context.Context {
	return kgo.PreCommitFnContext(ctx, stampRequest)
}

func stampRequest(request *kmsg.OffsetCommitRequest) error {
	for _, topic := range request.Topics {
		if ID(topic.TopicID) == (ID{}) {
			continue
		}
		metadata := commitPrefix + ID(topic.TopicID).String()
		for i := range topic.Partitions {
			topic.Partitions[i].Metadata = &metadata
		}
	}
	return nil
}

// IsOfAnother returns true if an offset, committed with the metadata, is of another incarnation of
// the topic than id. Offsets of other programs say nothing of incarnations, and are believed.
func IsOfAnother(id ID, metadata string) bool {
	text, ours := strings.CutPrefix(metadata, commitPrefix)
	return ours && id != (ID{}) && text != id.String()
}

// Commits keeps a member of a group from resuming at offsets of another incarnation.
type Commits struct {
	log      *slog.Logger
	mu       sync.Mutex
	metadata map[string]map[int32]string // of the offsets fetched last
}

// NewCommits returns Commits that log each offset left alone.
func NewCommits(log *slog.Logger) *Commits { return &Commits{log: log} }

// Options returns the client's options, for a client with commits stamped.
func (c *Commits) Options() []kgo.Opt {
	var client *kgo.Client
	return []kgo.Opt{
		kgo.WithContext(StampCommits(context.Background())),
		kgo.OnOffsetsFetched(func(_ context.Context, of *kgo.Client,
			response *kmsg.OffsetFetchResponse) error {
			client = of
			c.noteFetched(response)
			return nil
		}),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, at map[string]map[int32]kgo.Offset) (
			map[string]map[int32]kgo.Offset, error) {
			var topics []string
			for topic := range at {
				topics = append(topics, topic)
			}
			now, err := readTopics(ctx, client, topics)
			if err != nil {
				return nil, err
			}
			client.MarkCommitOffsets(c.resetOffsets(at, now))
			return at, nil
		}),
	}
}

func (c *Commits) noteFetched(response *kmsg.OffsetFetchResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.metadata = map[string]map[int32]string{}
	for _, group := range response.Groups {
		for _, topic := range group.Topics {
			c.metadata[topic.Topic] = map[int32]string{}
			for _, one := range topic.Partitions {
				if one.Metadata != nil {
					c.metadata[topic.Topic][one.Partition] = *one.Metadata
				}
			}
		}
	}
}

// resetOffsets moves offsets of other incarnations to the beginning, and returns what the group is
// to commit in place of those.
func (c *Commits) resetOffsets(at map[string]map[int32]kgo.Offset,
	now map[string]topicSeen) map[string]map[int32]kgo.EpochOffset {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := map[string]map[int32]kgo.EpochOffset{}
	for topic, offsets := range at {
		for number := range offsets {
			if !IsOfAnother(now[topic].id, c.metadata[topic][number]) {
				continue
			}
			offsets[number] = kgo.NewOffset().AtStart()
			if first[topic] == nil {
				first[topic] = map[int32]kgo.EpochOffset{}
			}
			first[topic][number] = kgo.EpochOffset{Epoch: -1}
			c.log.Warn("the committed offset is of a topic that was deleted: read from the "+
				"beginning of the topic made anew", "kafka_topic", topic,
				"kafka_partition", number)
		}
	}
	return first
}

// topicSeen is a topic as the broker told.
type topicSeen struct {
	id         ID
	partitions []int32
}

// readTopics asks the broker for topics, all topics for nil. A missing topic is left out.
func readTopics(ctx context.Context, client *kgo.Client, names []string) (map[string]topicSeen,
	error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		one := kmsg.NewMetadataRequestTopic()
		one.Topic = &name
		request.Topics = append(request.Topics, one)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("ask for the topics' IDs: %w", err)
	}
	all := map[string]topicSeen{}
	for _, topic := range response.Topics {
		err := kerr.ErrorForCode(topic.ErrorCode)
		if topic.Topic == nil || errors.Is(err, kerr.UnknownTopicOrPartition) {
			continue
		}
		seen := topicSeen{id: topic.TopicID}
		for _, one := range topic.Partitions {
			seen.partitions = append(seen.partitions, one.Partition)
		}
		all[*topic.Topic] = seen
	}
	return all, nil
}
