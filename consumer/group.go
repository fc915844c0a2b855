package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/incarnation"
	"github.com/cdclab/cdclab/consumer/kafka"
)

// metadataMinAge lets a moved leader or a new topic be noticed soon; the client's default is 5 s.
const metadataMinAge = 250 * time.Millisecond

// leaveTimeout is for the last commit, and again for leaving the group.
const leaveTimeout = time.Second

// fetchMaxWait bounds the wait of a partition, new or just resumed, for the end of the fetch under
// way, because this fetch asks for the other partitions only. Records end a fetch at once, so that
// the bound costs an idle consumer a few requests a second and a busy consumer nothing.
const fetchMaxWait = 250 * time.Millisecond

// fetchMaxBytes bounds the compressed bytes of a fetch.
const fetchMaxBytes = 1 << 20

// commitIntervalMin is the least the client allows.
const commitIntervalMin = 100 * time.Millisecond

// router gives fetched records to the partitions' goroutines, and starts and ends these goroutines
// as the group assigns partitions. router never waits for a partition while polling: a slow
// partition only has its fetching paused.
type router struct {
	consumer *Consumer
	letters  *deadletter.Topic
	stop     context.CancelCauseFunc
	client   *kgo.Client

	inflater   *kafka.Inflater
	watch      *incarnation.Watch
	mu         sync.Mutex
	partitions map[string]map[int32]*partition
	blocked    map[string]bool // by topic/partition
	recalls    chan struct{}   // holds a place for each partition that reads what was before
}

func newRouter(c *Consumer, letters *deadletter.Topic,
	stop context.CancelCauseFunc) (*router, error) {
	r := &router{consumer: c, letters: letters, stop: stop,
		partitions: map[string]map[int32]*partition{}, blocked: map[string]bool{},
		recalls: make(chan struct{}, recallsMax)}
	config := c.config
	options, err := config.Kafka.Options()
	if err != nil {
		return nil, err
	}
	if r.inflater, err = kafka.NewInflater(config.FetchMaxBytes); err != nil {
		return nil, err
	}
	options = append(options, incarnation.NewCommits(c.log).Options()...)
	options = append(options,
		kgo.WithDecompressor(r.inflater),
		kgo.ClientID("cdc-consumer"),
		kgo.ConsumerGroup(config.Group),
		kgo.ConsumeTopics(config.Topics),
		kgo.ConsumeRegex(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMinBytes(1),
		kgo.FetchMaxWait(fetchMaxWait),
		kgo.FetchMaxBytes(fetchMaxBytes),
		kgo.FetchMaxPartitionBytes(256<<10),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.MetadataMaxAge(config.MetadataMaxAge),
		kgo.SessionTimeout(config.SessionTimeout),
		kgo.HeartbeatInterval(min(time.Second, config.SessionTimeout/4)),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(config.CommitInterval),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(r.partitionsAssigned),
		kgo.OnPartitionsRevoked(r.partitionsRevoked),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
			r.finishPartitions(r.removePartitions(lost))
			c.metrics.PartitionsRevoked(lost)
		}),
	)
	if config.Instance != "" {
		options = append(options, kgo.InstanceID(config.Instance))
	}
	r.watch = r.newWatch()
	if r.client, err = kgo.NewClient(append(options, kgo.WithHooks(r.watch))...); err != nil {
		return nil, fmt.Errorf("set up the Kafka client: %w", err)
	}
	r.watch.Client = r.client
	return r, nil
}

// pollUntilDone returns when ctx is done.
func (r *router) pollUntilDone(ctx context.Context) {
	defer r.client.AllowRebalance()
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		polled := time.Now()
		r.inflater.Polled()
		fetches.EachError(r.fetchFailed)
		fetches.EachTopic(func(topic kgo.FetchTopic) {
			for _, f := range topic.Partitions {
				if len(f.Records) > 0 {
					r.watch.Polled()
					r.pushToPartition(topic, f, polled)
				}
			}
		})
		r.client.AllowRebalance()
	}
}

func (r *router) pushToPartition(topic kgo.FetchTopic, fetched kgo.FetchPartition,
	polled time.Time) {
	r.mu.Lock()
	p := r.partitions[topic.Topic][fetched.Partition]
	r.mu.Unlock()
	if p == nil && r.watch.Forgot(topic.Topic, topic.TopicID) {
		return
	}
	if p == nil {
		// Going on would commit past these records.
		r.stop(fmt.Errorf("records of %s/%d, which is not assigned", topic.Topic,
			fetched.Partition))
		return
	}
	if r.readsTopic(p, topic.TopicID) {
		p.pushRecords(fetched.Records, polled)
	}
}

func (r *router) fetchFailed(topic string, number int32, err error) {
	if errors.Is(err, kafka.ErrNoRoom) {
		r.consumer.metrics.CountRetry(fate.ReasonOf(err))
		return // the rest comes with the next fetch
	}
	if errors.Is(err, kgo.ErrMaxDecompress) {
		r.blockPartition(topic, number, err)
		return
	}
	if errors.Is(err, kerr.UnknownTopicID) {
		r.consumer.metrics.CountRetry("unknown_topic")
		r.watch.Suspect(topic) // a line for each answer would fill the log
		return
	}
	err = kafka.Classify(fmt.Errorf("fetch %s/%d: %w", topic, number, err))
	if fate.Of(err) == fate.Stop {
		r.stop(err)
		return
	}
	r.consumer.metrics.CountRetry(fate.ReasonOf(err))
	r.consumer.log.Warn("fetch failed, the client goes on", "error", err.Error())
}

// blockPartition shows a partition of which the client fetches no more. Trying again would fail the
// same way, and going on behind the batch would lose records.
func (r *router) blockPartition(topic string, number int32, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked[partitionName(topic, number)] = true
	r.consumer.metrics.Blocked.Set(float64(len(r.blocked)))
	r.consumer.log.Error("partition blocked by a batch that is broken or too large: "+
		"raise --fetch-max-bytes, or move the group's offset",
		"kafka_topic", topic, "kafka_partition", number, "error", err.Error())
}

func partitionName(topic string, number int32) string { return fmt.Sprintf("%s/%d", topic, number) }

func (r *router) partitionsAssigned(_ context.Context, client *kgo.Client,
	added map[string][]int32) {
	// A topic made anew may come back without a revocation.
	r.finishPartitions(r.removePartitions(added))
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
				if err := p.runUntilStopped(ctx); err != nil {
					r.stop(err)
				}
			}()
		}
	}
	r.watch.LookSoon()
	r.consumer.metrics.PartitionsAssigned(added)
	if len(added) > 0 {
		r.consumer.log.Info("partitions assigned", "partitions", added)
	}
}

func (r *router) newPartition(client *kgo.Client, topic string, number int32) *partition {
	c := r.consumer
	p := c.newPartition(topic, number, r.letters.Send)
	p.applier.Elsewhere = r.readElsewhere
	p.mark = func(epoch int32, offset int64) {
		p.retirement.Lock()
		defer p.retirement.Unlock()
		if !p.retired {
			client.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{
				topic: {number: {Epoch: epoch, Offset: offset}}})
		}
	}
	p.origin = func(ctx context.Context, first int64) error {
		p.retirement.Lock()
		id := p.id
		p.retirement.Unlock()
		incarnation, err := c.known.Number(ctx, topic, id)
		if err != nil {
			return err
		}
		at := client.CommittedOffsets()[topic][number]
		err = p.applier.BeginAt(ctx, topic, max(at.Offset, 0), incarnation)
		if err == nil && at.Offset > 0 && first > 0 {
			r.recall(ctx, p, first)
		}
		return err
	}
	p.pause = func() {
		client.PauseFetchPartitions(map[string][]int32{topic: {number}})
	}
	p.resume = func() {
		client.ResumeFetchPartitions(map[string][]int32{topic: {number}})
	}
	return p
}

// newPartition returns a partition over the process's store; the caller sets mark, pause and
// resume.
func (c *Consumer) newPartition(topic string, number int32,
	send func(context.Context, []deadletter.Rejected) error) *partition {
	return &partition{
		topic: topic, number: number, applier: c.shared.Applier(send, time.Now),
		backoff: c.config.backoffBefore, metrics: c.metrics, log: c.log, begin: c.tracer.StartBatch,
		batchMax: c.config.BatchMax, queueMax: c.config.QueueMax, retry: c.config.ParkedRetry,
		arrived: make(chan struct{}, 1),
		room:    c.shared.Room(),
		stopped: make(chan struct{}),
		done:    make(chan struct{}),
	}
}

func (r *router) partitionsRevoked(ctx context.Context, client *kgo.Client,
	lost map[string][]int32) {
	if len(lost) == 0 {
		return
	}
	r.finishPartitions(r.removePartitions(lost))
	r.commitMarked(ctx, client)
	r.consumer.metrics.PartitionsRevoked(lost)
	r.consumer.log.Info("partitions revoked", "partitions", lost)
}

// commitMarked loses nothing by failing: the uncommitted records are delivered again, and are stale
// then.
func (r *router) commitMarked(ctx context.Context, client *kgo.Client) {
	ctx, cancel := context.WithTimeout(incarnation.StampCommits(ctx), leaveTimeout)
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

func (r *router) removePartitions(lost map[string][]int32) []*partition {
	r.mu.Lock()
	defer r.mu.Unlock()
	var removed []*partition
	for topic, numbers := range lost {
		for _, number := range numbers {
			delete(r.blocked, partitionName(topic, number))
			if p := r.partitions[topic][number]; p != nil {
				removed = append(removed, p)
				delete(r.partitions[topic], number)
			}
		}
	}
	r.consumer.metrics.Blocked.Set(float64(len(r.blocked)))
	return removed
}

// finishPartitions lets the partitions complete the batches in flight, for a limited time. The rest
// is not committed.
func (r *router) finishPartitions(partitions []*partition) {
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
		p.resume() // otherwise a paused partition would still be paused on its return
	}
}

// leaveGroup finishes, commits and leaves the group, all within a few seconds.
func (r *router) leaveGroup() {
	r.mu.Lock()
	all := map[string][]int32{}
	for topic, numbers := range r.partitions {
		for number := range numbers {
			all[topic] = append(all[topic], number)
		}
	}
	r.mu.Unlock()
	r.finishPartitions(r.removePartitions(all))
	r.commitMarked(context.Background(), r.client)
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

// ready tells whether the group has this member, no partition is blocked, and MongoDB answers.
func (r *router) ready(ctx context.Context) error {
	if _, generation := r.client.GroupMetadata(); generation < 0 {
		return errors.New("not in the consumer group yet")
	}
	if names := r.blockedNames(); names != nil {
		return fmt.Errorf("blocked by a batch that is broken, or larger than --fetch-max-bytes: "+
			"%s", strings.Join(names, ", "))
	}
	if unread := r.watch.Unread(); unread != "" {
		return errors.New(unread)
	}
	if alarm := r.firstAlarm(); alarm != "" {
		return errors.New(alarm)
	}
	if r.consumer.mongo != nil {
		return r.consumer.mongo.Ping(ctx)
	}
	return nil
}

// firstAlarm returns what a partition asks the operator for; "" where none does.
func (r *router) firstAlarm() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, numbers := range r.partitions {
		for number, p := range numbers {
			if alarm, _ := p.alarm.Load().(string); alarm != "" {
				return fmt.Sprintf("%s/%d: %s", topic, number, alarm)
			}
		}
	}
	return ""
}

func (r *router) blockedNames() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.blocked))
}
