package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/kafka"
)

// rereadLimit bounds the reading of the topics.
const rereadLimit = time.Minute

// change identifies an event in PostgreSQL's log: rows of one statement may share their position,
// and the two halves of a change of the key do. An event sent again by a connector differs in the
// clocks only.
type change struct {
	Source struct {
		Schema, Table string
		TxID, LSN     int64
	}
	Op string
}

// enveloped is a change without a schema, or beside a schema.
type enveloped struct {
	change
	Payload *change
}

// Redelivered reads the topics, a regular expression, from their start, and counts the events in
// them, and how many of the events had been there before.
func Redelivered(ctx context.Context, topics string,
	options ...kgo.Opt) (events, again int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, rereadLimit)
	defer cancel()
	wanted, err := regexp.Compile(topics)
	if err != nil {
		return 0, 0, fmt.Errorf("read the topics again: %w", err)
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return 0, 0, fmt.Errorf("read the topics again: %w", err)
	}
	defer client.Close()
	there, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read the topics again: %w", err)
	}
	names := slices.DeleteFunc(there.Names(), func(name string) bool {
		return !wanted.MatchString(name)
	})
	seen := map[string]bool{}
	err = EachRecord(ctx, client, names, func(r *kgo.Record) {
		id, ok := changeOf(r)
		if !ok {
			return
		}
		events++
		if seen[id] {
			again++
		}
		seen[id] = true
	})
	return events, again, err
}

// changeOf identifies a record's change; false of a tombstone, and of a snapshot's row, because a
// snapshot's row has no position.
func changeOf(r *kgo.Record) (id string, ok bool) {
	var e enveloped
	if r.Value == nil || json.Unmarshal(r.Value, &e) != nil {
		return "", false
	}
	if e.Payload != nil {
		e.change = *e.Payload
	}
	return fmt.Sprint(e.change, string(r.Key)), e.Op != "r"
}

// EachRecord reads topics from their start to their present end, each partition in the order of the
// offsets.
func EachRecord(ctx context.Context, client *kgo.Client, topics []string,
	visit func(*kgo.Record)) error {
	if len(topics) == 0 {
		return nil // to Kafka no name means every topic
	}
	whole, err := kafka.Whole(ctx, client, topics...)
	if err != nil {
		return fmt.Errorf("read the topics again: %w", err)
	}
	short, err := kafka.Read(ctx, client, whole, func(r *kgo.Record) error {
		visit(r)
		return nil
	})
	if err == nil && len(short) > 0 {
		err = fmt.Errorf("they ended early: %s", strings.Join(short, ", "))
	}
	if err != nil {
		return fmt.Errorf("read the topics again: %w", err)
	}
	return nil
}
