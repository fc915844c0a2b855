package consumer

import (
	"context"
	"regexp"
	"time"

	"github.com/cdclab/cdclab/consumer/incarnation"
)

// lettersGrace is for how many metadata ages a missing dead-letter topic is left to whoever deleted
// the topic, before the consumer makes the topic again.
const lettersGrace = 5

// newWatch returns the watch for topics made anew; the client is yet to be set.
func (r *router) newWatch() *incarnation.Watch {
	config, c := r.consumer.config, r.consumer
	return &incarnation.Watch{Group: config.Group,
		Topics: regexp.MustCompile(config.Topics), Also: config.DeadLetterTopic,
		Metrics: c.metrics, Log: c.log, Retire: r.retireTopic,
		Missing: func(ctx context.Context, since time.Duration) {
			if since < lettersGrace*config.MetadataMaxAge {
				return
			}
			if err := r.letters.Create(ctx); err != nil {
				c.log.Warn("the dead-letter topic is missing", "error", err.Error())
			}
		}}
}

// retireTopic ends the work on a topic that was deleted: the records fetched have no home any more,
// and the offsets mean nothing in the topic made anew.
func (r *router) retireTopic(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.partitions[topic] {
		p.retirement.Lock()
		p.retired = true
		p.retirement.Unlock()
	}
}

// logDropped tells of records that end with the topic that was deleted.
func (p *partition) logDropped() {
	p.mu.Lock()
	n := len(p.queue) + p.applier.Parked()
	p.mu.Unlock()
	p.retirement.Lock()
	defer p.retirement.Unlock()
	if p.retired && n > 0 {
		p.log.Warn("records of the topic before are not applied: the topic was deleted",
			"kafka_topic", p.topic, "kafka_partition", p.number, "records", n)
	}
}

// readsTopic notes the incarnation of arrived records, and returns false for records of a topic
// that was deleted.
func (r *router) readsTopic(p *partition, id incarnation.ID) bool {
	p.retirement.Lock()
	defer p.retirement.Unlock()
	if p.retired {
		return false
	}
	if p.id != id {
		p.id = id
		r.watch.Reads(p.topic, id)
	}
	return true
}
