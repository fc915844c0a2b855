package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack/process"
)

// Topics from the start: one for each table, and the consumer's dead letters.
const (
	// TopicPrefix is Debezium's topic.prefix.
	TopicPrefix = "cdc"
	// DeadLetterTopic takes the consumer's unwritable records.
	DeadLetterTopic = TopicPrefix + ".dead-letter"
	// TableTopicPrefix stands before a table's name in its topic's.
	TableTopicPrefix = TopicPrefix + ".public."
)

// Tables are the generator's tables, of stack/postgres/schema.sql.
var Tables = []string{"customer", "address", "order", "order_item"}

// TableTopics are the topics of Tables.
var TableTopics = []string{
	TableTopicPrefix + Tables[0], TableTopicPrefix + Tables[1],
	TableTopicPrefix + Tables[2], TableTopicPrefix + Tables[3],
}

// Listeners of a broker, one for each class of clients.
const (
	ListenLab        = "LAB"
	ListenConnect    = "CONNECT"
	ListenConsumer   = "CONSUMER"
	listenController = "CONTROLLER"
)

// MakeTopics makes the lab's missing topics, each table's with so many partitions, and is nil when
// all topics have a leader: the port of a broker opens before the broker may serve. The options say
// where the broker is, and who asks.
func MakeTopics(ctx context.Context, partitions int, options ...kgo.Opt) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	admin := kadm.NewClient(client)
	defer admin.Close()
	if err := createTopics(ctx, admin, 1, DeadLetterTopic); err != nil {
		return err
	}
	if err := createTopics(ctx, admin, partitions, TableTopics...); err != nil {
		return err
	}
	topics, err := admin.ListTopics(ctx, append([]string{DeadLetterTopic}, TableTopics...)...)
	if err != nil {
		return fmt.Errorf("list the topics: %w", err)
	}
	return topics.Error()
}

func createTopics(ctx context.Context, admin *kadm.Client, partitions int, topics ...string) error {
	responses, err := admin.CreateTopics(ctx, int32(partitions), 1, nil, topics...)
	if err != nil {
		return fmt.Errorf("create the topics: %w", err)
	}
	for _, response := range responses {
		if response.Err != nil && !errors.Is(response.Err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", response.Topic, response.Err)
		}
	}
	return nil
}
