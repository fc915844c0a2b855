package consumer

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/kafka"
	verdicts "github.com/cdclab/cdclab/consumer/order"
)

// Bounds of the reading beside the group: partitions of a process at a time, and the time for each.
const (
	recallsMax  = 4
	recallLimit = 10 * time.Second
)

// recall shows the applier the last records before the first, which an earlier owner of the
// partition settled. Otherwise a change sent again by the connector, right after a restart, would
// look as a change of a log that began anew looks. Without these records the partition goes on, and
// the log tells.
func (r *router) recall(ctx context.Context, p *partition, first int64) {
	part := kafka.Stretch(p.topic, p.number, max(first-verdicts.RecentMax, 0), first+1)
	err := p.applier.Recall(func(visit func(*kgo.Record) error) error {
		return r.readBeside(ctx, func(ctx context.Context, client *kgo.Client) error {
			_, err := kafka.Read(ctx, client, part, func(record *kgo.Record) error {
				if record.Offset >= first {
					return nil
				}
				return visit(record)
			})
			return err
		})
	})
	if err != nil {
		r.consumer.log.Warn("the changes before are not known: an event of a log that began anew"+
			" is told by its commit time alone, until new changes have come", "kafka_topic",
			p.topic, "kafka_partition", p.number, "kafka_offset", first, "error", err.Error())
	}
}

// readElsewhere visits what the other partitions of the topic got shortly before the record. A
// connector that goes on from an earlier place sends as many changes again, and these come between.
func (r *router) readElsewhere(ctx context.Context, before *kgo.Record,
	visit func(*kgo.Record) error) error {
	return r.readBeside(ctx, func(ctx context.Context, client *kgo.Client) error {
		parts, err := kafka.Beside(ctx, client, before, 2*verdicts.RecentMax)
		if err == nil {
			_, err = kafka.Read(ctx, client, parts, visit)
		}
		return err
	})
}

// readBeside has read use a client of its own, for a limited time, when few others read.
func (r *router) readBeside(ctx context.Context,
	read func(context.Context, *kgo.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, recallLimit)
	defer cancel()
	select {
	case r.recalls <- struct{}{}:
		defer func() { <-r.recalls }()
	case <-ctx.Done():
		return ctx.Err()
	}
	config := &r.consumer.config
	inflater, err := kafka.NewInflater(config.FetchMaxBytes)
	if err != nil {
		return err
	}
	client, err := config.Kafka.Connect(ctx, kgo.WithDecompressor(inflater),
		kgo.FetchMaxBytes(fetchMaxBytes), kgo.FetchMaxPartitionBytes(fetchMaxBytes))
	if err != nil {
		return err
	}
	defer client.Close()
	return read(ctx, client)
}
