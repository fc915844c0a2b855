package experiments

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// rereadLimit bounds the reading of the topics.
const rereadLimit = time.Minute

// change identifies an event in PostgreSQL's log: rows of one statement may share their position, and
// the two halves of a change of the key do. What a connector sends again differs in its clocks only.
type change struct {
	Source struct {
		Schema, Table string
		TxID, LSN     int64
	}
	Op string
}

// enveloped is a change without a schema, or with one beside it.
type enveloped struct {
	change
	Payload *change
}

// duplicates reads the tables' topics, a regular expression, from their start and counts the events in them, and those of
// them that had been there before.
func duplicates(ctx context.Context, topics string, options ...kgo.Opt) (events, again int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, rereadLimit)
	defer cancel()
	seen := map[string]bool{}
	err = eachRecord(ctx, topics, options, func(r *kgo.Record) {
		var e enveloped
		if r.Value == nil || json.Unmarshal(r.Value, &e) != nil {
			return
		}
		if e.Payload != nil {
			e.change = *e.Payload
		}
		if e.Op == "r" {
			return // a snapshot's rows have no position of their own
		}
		events++
		id := fmt.Sprint(e.change, string(r.Key))
		if seen[id] {
			again++
		}
		seen[id] = true
	})
	return events, again, err
}

// eachRecord reads topics, a regular expression, from their start to where they end now, each partition in
// the order of its offsets.
func eachRecord(ctx context.Context, topics string, options []kgo.Opt, visit func(*kgo.Record)) error {
	wanted, err := regexp.Compile(topics)
	if err != nil {
		return fmt.Errorf("read the topics again: %w", err)
	}
	client, err := kgo.NewClient(append(options, kgo.ConsumeTopics(topics), kgo.ConsumeRegex(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return fmt.Errorf("read the topics again: %w", err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx)
	if err != nil {
		return fmt.Errorf("read the topics again: %w", err)
	}
	left := map[string]bool{}
	ends.Each(func(end kadm.ListedOffset) {
		if wanted.MatchString(end.Topic) && end.Offset > 0 {
			left[fmt.Sprint(end.Topic, end.Partition)] = true
		}
	})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read the topics again: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, _ := ends.Lookup(r.Topic, r.Partition)
			if r.Offset >= end.Offset-1 {
				delete(left, fmt.Sprint(r.Topic, r.Partition))
			}
			visit(r)
		})
	}
	return nil
}

// countDuplicates says, of a run with faults, what the connector delivered again.
func (s *session) countDuplicates(ctx context.Context) {
	if s.plan == nil {
		return
	}
	events, again, err := duplicates(ctx, s.stack.Topics(), s.stack.KafkaOptions()...)
	if err != nil {
		s.warn("the events that were delivered again were not counted: " + err.Error())
		return
	}
	s.run.Notes = append(s.run.Notes, fmt.Sprintf("Kafka holds %d events, %d of them delivered again by the connector", events, again))
}
