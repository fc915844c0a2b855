package faults

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAwaitTopic: the controller has made a topic, or partitions, before the brokers tell.
func TestAwaitTopic(t *testing.T) {
	const topic = "cdc.public.customer"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topic))
	must(t, err)
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.MetadataMinAge(brokerTick))
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
