package kafka

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/hop"
)

// TestAdvertisedElsewhere: a broker on this machine that sends its clients to another address does
// not get a readable password sent there, and the refusal ends the consumer.
func TestAdvertisedElsewhere(t *testing.T) {
	t.Parallel()
	const away = "192.0.2.1" // RFC 5737 keeps the address for documentation
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "cdc", "geheim"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	cluster.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		answer := r.ResponseKind().(*kmsg.MetadataResponse)
		broker := kmsg.NewMetadataResponseBroker()
		broker.NodeID, broker.Host, broker.Port = 7, away, 9092
		answer.Brokers, answer.ControllerID = []kmsg.MetadataResponseBroker{broker}, 7
		return answer, nil, true
	})
	config := Config{Brokers: strings.Join(cluster.ListenAddrs(), ","), SASL: SaslPlain,
		User:     "cdc",
		Password: "geheim"}
	if wrong := config.Validate(); wrong != nil {
		t.Fatal(wrong)
	}
	options, err := config.Options()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(options, kgo.RequestRetries(0))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), client); err != nil {
		t.Fatalf("the broker on this machine: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), answerLimit)
	defer cancel()
	_, err = client.Broker(7).Request(ctx, kmsg.NewPtrMetadataRequest())
	if !errors.Is(err, hop.ErrReadable) || fate.Of(Classify(err)) != fate.Stop {
		t.Errorf("%v, fate %v: want %v, and an end", err, fate.Of(Classify(err)), hop.ErrReadable)
	}
}

// TestBrokersAreHosts: an address with a user or a password is refused without a word of the
// address, because errors of connections would repeat it.
func TestBrokersAreHosts(t *testing.T) {
	t.Parallel()
	for brokers, isRight := range map[string]bool{
		"one:9092,two.example.org:9092": true, "[::1]:9092": true, "localhost": true,
		"lab:geheim@one:9092": false, "kafka://geheim": false, "one:9092,geheim one": false,
		"one:geheim": false, "one:9092,": false,
	} {
		config := Config{Brokers: brokers}
		_, err := config.Options()
		if (err == nil) != isRight || (config.Validate() == nil) != isRight ||
			err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", brokers, err)
		}
	}
}
