// Command topics makes the lab's missing topics in a Kafka and ends when all are led. Environment:
// CDC_KAFKA_BROKERS, CDC_KAFKA_USER, CDC_KAFKA_PASSWORD_FILE, CDC_KAFKA_PARTITIONS. Start reading
// at makeTopics.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/stack/kafka"
)

func main() {
	const limit = time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := makeTopics(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "make the topics:", err)
		os.Exit(1)
	}
}

func makeTopics(ctx context.Context) error {
	partitions, err := strconv.Atoi(os.Getenv("CDC_KAFKA_PARTITIONS"))
	if err != nil {
		return fmt.Errorf("read CDC_KAFKA_PARTITIONS: %w", err)
	}
	password, err := namedfile.Read(os.Getenv("CDC_KAFKA_PASSWORD_FILE"), namedfile.Small)
	if err != nil {
		return fmt.Errorf("read CDC_KAFKA_PASSWORD_FILE: %w", err)
	}
	login := kafka.Login{User: os.Getenv("CDC_KAFKA_USER"),
		Password: strings.TrimSpace(string(password))}
	options := append(login.Options(),
		kgo.SeedBrokers(strings.Split(os.Getenv("CDC_KAFKA_BROKERS"), ",")...))
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		err := kafka.MakeTopics(ctx, partitions, options...)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}
