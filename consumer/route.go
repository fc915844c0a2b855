package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// metadataMinAge lets a moved leader or a new topic be noticed soon; the client's default is 5 s.
const metadataMinAge = 250 * time.Millisecond

// leaveTimeout is for the last commit, and again for leaving the group.
const leaveTimeout = time.Second

// fetchMaxWait: a partition that is new or no longer paused waits for the fetch under way to end,
// which asks for the others only. Records end it at once, so it costs an idle consumer a few
// requests a second and a busy one nothing.
const fetchMaxWait = 250 * time.Millisecond

// commitIntervalMin is the least the client allows.
const commitIntervalMin = 100 * time.Millisecond

// router gives what is fetched to the partitions' goroutines, and keeps those in step with what
// the group assigns. It never waits for a partition while it polls: a slow one only has its
// fetching paused.
type router struct {
	consumer *Consumer
	letters  *deadLetters
	stop     context.CancelCauseFunc
	client   *kgo.Client

	mu         sync.Mutex
	partitions map[string]map[int32]*partition
}

func newRouter(c *Consumer, letters *deadLetters, stop context.CancelCauseFunc) (*router, error) {
	r := &router{consumer: c, letters: letters, stop: stop,
		partitions: map[string]map[int32]*partition{}}
	config := c.config
	options, err := config.KafkaOptions()
	if err != nil {
		return nil, err
	}
	options = append(options,
		kgo.ClientID("cdc-consumer"),
		kgo.ConsumerGroup(config.Group),
		kgo.ConsumeTopics(config.Topics),
		kgo.ConsumeRegex(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMinBytes(1),
		kgo.FetchMaxWait(fetchMaxWait),
		kgo.FetchMaxBytes(1<<20),
		kgo.FetchMaxPartitionBytes(256<<10),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.MetadataMaxAge(config.MetadataMaxAge),
		kgo.SessionTimeout(config.SessionTimeout),
		kgo.HeartbeatInterval(min(time.Second, config.SessionTimeout/4)),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(config.CommitInterval),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(r.assigned),
		kgo.OnPartitionsRevoked(r.revoked),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
			r.finish(r.remove(lost))
			c.metrics.revoked(lost)
		}),
	)
	if config.Instance != "" {
		options = append(options, kgo.InstanceID(config.Instance))
	}
	if r.client, err = kgo.NewClient(options...); err != nil {
		return nil, fmt.Errorf("set up the Kafka client: %w", err)
	}
	return r, nil
}

// poll returns when ctx is done.
func (r *router) poll(ctx context.Context) {
	defer r.client.AllowRebalance()
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		polled := time.Now()
		fetches.EachError(r.failed)
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if len(f.Records) > 0 {
				r.push(f.Topic, f.Partition, f.Records, polled)
			}
		})
		r.client.AllowRebalance()
	}
}

func (r *router) push(topic string, number int32, records []*kgo.Record, polled time.Time) {
	r.mu.Lock()
	p := r.partitions[topic][number]
	r.mu.Unlock()
	if p == nil {
		// Going on would commit past these records.
		r.stop(fmt.Errorf("records of %s/%d, which is not assigned", topic, number))
		return
	}
	p.push(records, polled)
}

func (r *router) failed(topic string, number int32, err error) {
	err = classifyKafka(fmt.Errorf("fetch %s/%d: %w", topic, number, err))
	if fateOf(err) == stop {
		r.stop(err)
		return
	}
	r.consumer.metrics.retry(err)
	r.consumer.log.Warn("fetch failed, the client goes on", "error", err.Error())
}

func (r *router) assigned(_ context.Context, client *kgo.Client, added map[string][]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, numbers := range added {
		if r.partitions[topic] == nil {
			r.partitions[topic] = map[int32]*partition{}
		}
		for _, number := range numbers {
			p := r.newPartition(client, topic, number)
			r.partitions[topic][number] = p
			ctx, cancel := context.WithCancel(context.Background())
			p.abandon = cancel
			go func() {
				if err := p.run(ctx); err != nil {
					r.stop(err)
				}
			}()
		}
	}
	r.consumer.metrics.assigned(added)
	r.consumer.log.Info("partitions assigned", "partitions", added)
}

func (r *router) newPartition(client *kgo.Client, topic string, number int32) *partition {
	c := r.consumer
	p := c.newPartition(topic, number, c.store, r.letters.send, time.Now)
	p.mark = func(epoch int32, offset int64) {
		client.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{
			topic: {number: {Epoch: epoch, Offset: offset}}})
	}
	p.pause = func() {
		client.PauseFetchPartitions(map[string][]int32{topic: {number}})
	}
	p.resume = func() {
		client.ResumeFetchPartitions(map[string][]int32{topic: {number}})
	}
	return p
}

// newPartition is a partition's pipeline; mark, pause and resume are the caller's.
func (c *Consumer) newPartition(topic string, number int32, s store,
	send func(context.Context, []deadLetter) error, now func() time.Time) *partition {
	rules := &ruleLog{metrics: c.metrics, log: c.log, tables: &c.keyless}
	return &partition{
		topic: topic, number: number,
		planner: &planner{registry: c.registry,
			decoder: debezium.Decoder{MaxBytes: c.config.RecordMaxBytes, MaxDepth: c.config.NestingMax},
			metrics: c.metrics, log: rules,
			epoch: fmt.Sprintf("%04x", c.config.Epoch), noRules: c.config.NoValidate, now: now},
		settler: &settler{store: s, parents: c.parents, truncates: &c.truncates, memo: memo{log: rules}, rules: rules, send: send,
			parking: newParking(c.room, c.config.ParkedMax), backoff: c.config.backoff,
			metrics: c.metrics, log: c.log, now: now},
		begin:    c.tracer.batch,
		batchMax: c.config.BatchMax, queueMax: c.config.QueueMax, retry: c.config.ParkedRetry,
		arrived: make(chan struct{}, 1),
		stopped: make(chan struct{}),
		done:    make(chan struct{}),
	}
}

func (r *router) revoked(ctx context.Context, client *kgo.Client, lost map[string][]int32) {
	if len(lost) == 0 {
		return
	}
	r.finish(r.remove(lost))
	r.commit(ctx, client)
	r.consumer.metrics.revoked(lost)
	r.consumer.log.Info("partitions revoked", "partitions", lost)
}

// commit failing loses nothing: what it would have covered is delivered again, and is stale then.
func (r *router) commit(ctx context.Context, client *kgo.Client) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	// The client waits for its own commit under way whatever ctx says.
	done := make(chan error, 1)
	go func() { done <- client.CommitMarkedOffsets(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		r.consumer.log.Warn("offsets not committed", "error", err.Error())
	}
}

func (r *router) remove(lost map[string][]int32) []*partition {
	r.mu.Lock()
	defer r.mu.Unlock()
	var removed []*partition
	for topic, numbers := range lost {
		for _, number := range numbers {
			if p := r.partitions[topic][number]; p != nil {
				removed = append(removed, p)
				delete(r.partitions[topic], number)
			}
		}
	}
	return removed
}

// finish lets the partitions complete what is in flight, for a limited time. What is left then is
// not committed.
func (r *router) finish(partitions []*partition) {
	for _, p := range partitions {
		close(p.stopped)
	}
	grace, cancel := context.WithTimeout(context.Background(), r.consumer.config.ShutdownTimeout)
	defer cancel()
	for _, p := range partitions {
		select {
		case <-p.done:
		case <-grace.Done():
		}
		p.abandon()
		<-p.done
		p.resume() // a paused partition would stay paused if it came back
	}
}

// shutdown finishes, commits and leaves the group, all within a few seconds.
func (r *router) shutdown() {
	r.mu.Lock()
	all := map[string][]int32{}
	for topic, numbers := range r.partitions {
		for number := range numbers {
			all[topic] = append(all[topic], number)
		}
	}
	r.mu.Unlock()
	r.finish(r.remove(all))
	r.commit(context.Background(), r.client)
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := r.client.LeaveGroupContext(ctx); err != nil && !errors.Is(err, kgo.ErrClientClosed) {
		r.consumer.log.Warn("group not left", "error", err.Error())
	}
	closed := make(chan struct{})
	go func() { r.client.CloseAllowingRebalance(); close(closed) }()
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// ready tells whether the group has this member and MongoDB answers.
func (r *router) ready(ctx context.Context) error {
	if _, generation := r.client.GroupMetadata(); generation < 0 {
		return errors.New("not in the consumer group yet")
	}
	if r.consumer.mongo != nil {
		return r.consumer.mongo.ping(ctx)
	}
	return nil
}
