package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// Who has no password reads, writes and lists nothing: every user of the machine reaches the port.
func TestStrangersGetNothing(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	if err := produce(t.Context(), kafkaClient(t, k), "ours"); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]kgo.Opt{
		"no login":       nil,
		"wrong password": Login{k.login.User, "x" + k.login.Password}.Options(),
		"no password":    Login{k.login.User, ""}.Options(),
		"wrong name":     Login{"x", k.login.Password}.Options(),
		"other mechanism": {kgo.SASL(plain.Plain(func(context.Context) (plain.Auth, error) {
			return plain.Auth{User: k.login.User, Pass: k.login.Password}, nil
		}))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := kgo.NewClient(append(options, kgo.RetryTimeout(time.Second),
				kgo.RecordDeliveryTimeout(time.Second), kgo.RecordRetries(1),
				kgo.SeedBrokers(k.Brokers(ListenLab)...), kgo.DefaultProduceTopic(testTopic))...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if topics, err := kadm.NewClient(client).ListTopics(expect.Context(t)); err == nil {
				t.Errorf("topics %v", topics.Names())
			}
			if err := produce(expect.Context(t), client, "theirs"); err == nil {
				t.Error("wrote a record")
			}
		})
	}
}
