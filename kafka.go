package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer"
)

// brokerPatience is how long a Kafka may take to answer for the first time.
const brokerPatience = 5 * time.Second

const brokersUsage = "Kafka, `host:port`, several with commas (env CDC_KAFKA_BROKERS; default: the stack that `cdclab up` holds); TLS and SASL as the consumer's, from CDC_CONSUMER_KAFKA_..."

// kafkaOptions are how to reach brokers: TLS and SASL are the consumer's, CDC_CONSUMER_KAFKA_TLS,
// CDC_CONSUMER_KAFKA_SASL, ...
func kafkaOptions(brokers string) ([]kgo.Opt, error) {
	config, err := consumer.ParseConfig(nil, os.Getenv, io.Discard)
	if err != nil {
		return nil, err
	}
	config.Brokers = brokers
	return config.KafkaOptions()
}

// kafkaClient reaches the brokers given, or those of the stack that is held.
func kafkaClient(ctx context.Context, brokers string, more ...kgo.Opt) (*kgo.Client, error) {
	if brokers == "" {
		h, err := readHeld()
		if errors.Is(err, errNothingHeld) {
			return nil, errors.New("which Kafka? give --brokers or CDC_KAFKA_BROKERS, or hold a stack with `cdclab up`")
		}
		if err != nil {
			return nil, err
		}
		brokers = strings.Join(h.Endpoints.KafkaBrokers, ",")
	}
	options, err := kafkaOptions(brokers)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(append(options, kgo.ClientID("cdclab")), more...)...)
	if err != nil {
		return nil, fmt.Errorf("set up the client of Kafka %s: %w", brokers, err)
	}
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("reach Kafka at %s: %w", brokers, err)
	}
	return client, nil
}
