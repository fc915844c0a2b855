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

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/kafka"
	"github.com/cdclab/cdclab/reports"
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

// place is the place of a record in Kafka.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// Reread is what ReadAgain found in the topics.
type Reread struct {
	// Events counts the events, and Again the events that had been there before.
	Events, Again int64
	// Letters compares the records that nobody can read with the dead letters.
	Letters reports.Letters
}

// ReadAgain reads the topics, a regular expression, from their start, and then the dead-letter
// topic, unless "": each record that is no JSON must have a dead letter. A group whose consumers
// still read has not answered to each record yet.
func ReadAgain(ctx context.Context, topics, letters string,
	options ...kgo.Opt) (found Reread, err error) {
	ctx, cancel := context.WithTimeout(ctx, rereadLimit)
	defer cancel()
	wanted, err := regexp.Compile(topics)
	if err != nil {
		return found, fmt.Errorf("read the topics again: %w", err)
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return found, fmt.Errorf("read the topics again: %w", err)
	}
	defer client.Close()
	there, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return found, fmt.Errorf("read the topics again: %w", err)
	}
	names := slices.DeleteFunc(there.Names(), func(name string) bool {
		return !wanted.MatchString(name)
	})
	seen, unread := map[string]bool{}, map[place]bool{}
	err = EachRecord(ctx, client, names, func(r *kgo.Record) {
		id, ok := changeOf(r)
		switch {
		case r.Value != nil && !json.Valid(r.Value):
			unread[place{r.Topic, r.Partition, r.Offset}] = true
		case ok:
			found.Events++
			if seen[id] {
				found.Again++
			}
			seen[id] = true
		}
	})
	if err == nil && len(unread) > 0 && letters != "" {
		found.Letters, err = answers(ctx, client, letters, unread)
	}
	return found, err
}

// answers looks for the dead letters of records.
func answers(ctx context.Context, client *kgo.Client, topic string,
	unread map[place]bool) (found reports.Letters, err error) {
	found.Unreadable = int64(len(unread))
	_, err = deadletter.Read(ctx, client, topic, deadletter.Filter{Done: true},
		func(l *deadletter.Letter) error {
			delete(unread, place{l.Record.Topic, l.Record.Partition, l.Record.Offset})
			return nil
		})
	if err != nil {
		return reports.Letters{}, err
	}
	found.Missing = int64(len(unread))
	for p := range unread {
		example := fmt.Sprintf("%s, partition %d, offset %d", p.topic, p.partition, p.offset)
		if found.Example == "" || example < found.Example {
			found.Example = example
		}
	}
	return found, nil
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
