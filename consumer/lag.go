package consumer

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/incarnation"
	"github.com/cdclab/cdclab/consumer/kafka"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// lagInterval is how often Kafka is asked for the ends of the topics. The high watermarks of
// fetches would come for nothing, but not for a paused partition, and paused partitions matter
// most.
const lagInterval = 5 * time.Second

// watchLagAndSpecs looks from time to time at things without events: the group's lag, the topics,
// and the folder of specs. end ends the watch, and returns after the watch has ended.
func (c *Consumer) watchLagAndSpecs(ctx context.Context, r *router) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	lag := lagWatch{client: r.client, admin: kadm.NewClient(r.client), metrics: c.metrics,
		group: c.config.Group, letters: c.config.DeadLetterTopic, id: r.watch.ID}
	running.Go(func() { r.watch.LookUntilDone(ctx, c.config.MetadataMaxAge) })
	running.Go(func() { repeatEvery(ctx, lagInterval, lag.sampleLag) })
	if c.config.Specs != "" && c.config.SpecsReload > 0 {
		specs := specsWatch{consumer: c, folder: os.DirFS(c.config.Specs)}
		specs.seen, _ = fingerprint(specs.folder)
		running.Go(func() { repeatEvery(ctx, c.config.SpecsReload, specs.checkFolder) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func repeatEvery(ctx context.Context, interval time.Duration, do func(context.Context)) {
	for waitUnlessStopped(ctx, nil, interval) {
		do(ctx)
	}
}

// lagWatch asks Kafka. A failure leaves the last numbers and says that no broker answers.
type lagWatch struct {
	client  *kgo.Client
	admin   *kadm.Client
	metrics *telemetry.Metrics
	group   string
	letters string
	id      func(topic string) incarnation.ID // that the topic has now
}

func (w *lagWatch) sampleLag(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lagInterval)
	defer cancel()
	brokers := kafka.CountBrokers(ctx, w.client)
	w.metrics.Brokers.Set(float64(brokers))
	if brokers == 0 {
		return
	}
	w.sampleDeadLetters(ctx)
	assigned := w.metrics.AssignedNow()
	if len(assigned) == 0 {
		return
	}
	topics := make([]string, 0, len(assigned))
	for topic := range assigned {
		topics = append(topics, topic)
	}
	ends, err := w.admin.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return
	}
	starts, err := w.admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return
	}
	group, err := w.admin.FetchOffsetsForTopics(ctx, w.group, topics...)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return
	}
	for topic, numbers := range assigned {
		for _, number := range numbers {
			end, known := ends.Lookup(topic, number)
			if !known || end.Err != nil {
				continue
			}
			at, committed := group.Lookup(topic, number)
			if !committed || at.Err != nil || at.At < 0 ||
				incarnation.IsOfAnother(w.id(topic), at.Metadata) {
				start, _ := starts.Lookup(topic, number)
				w.metrics.ShowLag(topic, number, end.Offset-start.Offset)
				continue
			}
			w.metrics.ShowLag(topic, number, end.Offset-at.At)
			w.metrics.ShowCommitted(topic, number, at.At)
		}
	}
}

func (w *lagWatch) sampleDeadLetters(ctx context.Context) {
	starts, err := w.admin.ListStartOffsets(ctx, w.letters)
	if err != nil || starts.Error() != nil {
		return
	}
	ends, err := w.admin.ListEndOffsets(ctx, w.letters)
	if err != nil || ends.Error() != nil {
		return
	}
	var records int64
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		records += end.Offset - start.Offset
	})
	w.metrics.Letters.Set(float64(records))
}
