package faults

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/stack"
)

// TestAwaitTopic: the controller has made a topic, or partitions, before the brokers tell.
func TestAwaitTopic(t *testing.T) {
	const topic = "cdc.public.customer"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topic))
	must(t, err)
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.MetadataMinAge(untilTick))
	must(t, err)
	defer client.Close()

	cluster.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		answer := r.ResponseKind().(*kmsg.MetadataResponse)
		unknown := kmsg.NewMetadataResponseTopic()
		unknown.Topic, unknown.ErrorCode = kmsg.StringPtr(topic), kerr.UnknownTopicOrPartition.Code
		answer.Topics = append(answer.Topics, unknown)
		return answer, nil, true
	})
	looks := 0
	evidence, err := awaitTopic(t.Context(), kadm.NewClient(client), topic,
		func(now kadm.TopicDetail) (string, error) {
			if looks++; looks == 1 {
				return "", errors.New("the partitions are those from before")
			}
			return "seen", nil
		})
	if err != nil || evidence != "seen" || looks != 2 {
		t.Errorf("evidence %q after %d looks, error %v", evidence, looks, err)
	}
}

// TestReadersOf: a commit of the topic from before is none of the new topic.
func TestReadersOf(t *testing.T) {
	for _, c := range []struct {
		end, committed, behind int64
		begun                  bool
	}{{0, 0, 0, false}, {5, 0, 5, false}, {5, 3, 2, true}, {5, 5, 0, true}, {5, 2670, 0, false}} {
		behind, begun := readersOf([]stack.PartitionLag{{}, {End: c.end, Committed: c.committed}})
		if behind != c.behind || begun != c.begun {
			t.Errorf("of %d with a commit at %d: %d behind, begun %t", c.end, c.committed, behind,
				begun)
		}
	}
}
