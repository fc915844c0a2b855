package consumer

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/kafka"
	verdicts "github.com/cdclab/cdclab/consumer/order"
)

// Bounds of recalls: partitions of a process at a time, and the time for each.
const (
	recallsMax  = 4
	recallLimit = 10 * time.Second
)

// recall shows the applier the last records before the first, which an earlier owner of the
// partition settled. Otherwise a change sent again by the connector, right after a restart, would
// look as a change of a log that began anew looks. Without these records the partition goes on, and
// the log tells.
func (r *router) recall(ctx context.Context, p *partition, first int64) {
	ctx, cancel := context.WithTimeout(ctx, recallLimit)
	defer cancel()
	select {
	case r.recalls <- struct{}{}:
	case <-ctx.Done():
	}
	err := ctx.Err()
	if err == nil {
		err = p.applier.Recall(func(visit func(*kgo.Record) error) error {
			return r.readBefore(ctx, p, first, visit)
		})
		<-r.recalls
	}
	if err != nil {
		r.consumer.log.Warn("the changes before are not known: an event of a log that began anew"+
			" is told by its commit time alone, until new changes have come", "kafka_topic",
			p.topic, "kafka_partition", p.number, "kafka_offset", first, "error", err.Error())
	}
}

// readBefore visits the last records before the first.
func (r *router) readBefore(ctx context.Context, p *partition, first int64,
	visit func(*kgo.Record) error) error {
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
	from := max(first-verdicts.RecentMax, 0)
	_, err = kafka.Read(ctx, client, kafka.Stretch(p.topic, p.number, from, first+1),
		func(record *kgo.Record) error {
			if record.Offset >= first {
				return nil
			}
			return visit(record)
		})
	return err
}
