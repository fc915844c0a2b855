package consumer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lagInterval is how often Kafka is asked for the ends of the topics. The high watermarks of fetches
// would come for nothing, but not for a partition whose fetching is paused, which is the one to see.
const lagInterval = 5 * time.Second

// specsReloadMin keeps the folder from being read all the time.
const specsReloadMin = 100 * time.Millisecond

// watch looks from time to time at what no event tells: the group's lag and the folder of specs. The
// client is the group's. What it returns ends the watch, and waits for that.
func (c *Consumer) watch(ctx context.Context, client *kgo.Client) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	lag := lagWatch{client: client, admin: kadm.NewClient(client), metrics: c.metrics,
		group: c.config.Group, letters: c.config.DeadLetterTopic}
	running.Go(func() { every(ctx, lagInterval, lag.look) })
	if c.config.Specs != "" && c.config.SpecsReload > 0 {
		specs := specsWatch{consumer: c, folder: os.DirFS(c.config.Specs)}
		specs.seen, _ = fingerprint(specs.folder)
		running.Go(func() { every(ctx, c.config.SpecsReload, specs.look) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	for wait(ctx, nil, interval) {
		do(ctx)
	}
}

// lagWatch asks Kafka. A failure leaves the last numbers and says that no broker answers.
type lagWatch struct {
	client  *kgo.Client
	admin   *kadm.Client
	metrics *metrics
	group   string
	letters string
}

func (w *lagWatch) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lagInterval)
	defer cancel()
	brokers, err := w.admin.ListBrokers(ctx) // as the client knows them
	if err == nil {
		err = w.client.Ping(ctx)
	}
	if err != nil {
		w.metrics.brokers.Set(0)
		return
	}
	w.metrics.brokers.Set(float64(len(brokers)))
	w.lookAtLetters(ctx)
	assigned := w.metrics.assignedNow()
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
			if !committed || at.Err != nil || at.At < 0 {
				start, _ := starts.Lookup(topic, number)
				w.metrics.lag(topic, number, end.Offset-start.Offset)
				continue
			}
			w.metrics.lag(topic, number, end.Offset-at.At)
			w.metrics.committed(topic, number, at.At)
		}
	}
}

func (w *lagWatch) lookAtLetters(ctx context.Context) {
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
	w.metrics.letters.Set(float64(records))
}

// assignments are the partitions of this member, for the metrics by partition.
type assignments struct {
	mu  sync.Mutex
	all map[string]map[int32]bool
}

// assigned counts a rebalance that gave partitions.
func (m *metrics) assigned(added map[string][]int32) {
	m.assignments.change(added, true)
	m.rebalanced("assigned", added)
}

// revoked counts one that took partitions, and forgets their lag.
func (m *metrics) revoked(lost map[string][]int32) {
	m.assignments.change(lost, false)
	m.rebalanced("revoked", lost)
}

func (m *metrics) rebalanced(kind string, changed map[string][]int32) {
	if len(changed) > 0 {
		m.rebalances.WithLabelValues(kind).Inc()
	}
	m.assignments.mu.Lock()
	defer m.assignments.mu.Unlock()
	count := 0
	for _, numbers := range m.assignments.all {
		count += len(numbers)
	}
	m.assignment.Set(float64(count))
	if kind == "assigned" {
		return
	}
	for topic, numbers := range changed {
		for _, number := range numbers {
			m.lags.DeleteLabelValues(topic, strconv.Itoa(int(number)))
			m.offsets.DeleteLabelValues(topic, strconv.Itoa(int(number)))
		}
	}
}

func (a *assignments) change(changed map[string][]int32, there bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[string]map[int32]bool{}
	}
	for topic, numbers := range changed {
		if a.all[topic] == nil {
			a.all[topic] = map[int32]bool{}
		}
		for _, number := range numbers {
			if there {
				a.all[topic][number] = true
			} else {
				delete(a.all[topic], number)
			}
		}
		if len(a.all[topic]) == 0 {
			delete(a.all, topic)
		}
	}
}

func (m *metrics) assignedNow() map[string][]int32 {
	m.assignments.mu.Lock()
	defer m.assignments.mu.Unlock()
	now := map[string][]int32{}
	for topic, numbers := range m.assignments.all {
		for number := range numbers {
			now[topic] = append(now[topic], number)
		}
	}
	return now
}

// lag takes down how many records of a partition are left; nothing if it has gone meanwhile.
func (m *metrics) lag(topic string, number int32, records int64) {
	m.ofPartition(m.lags, topic, number, max(records, 0))
}

func (m *metrics) committed(topic string, number int32, offset int64) {
	m.ofPartition(m.offsets, topic, number, offset)
}

func (m *metrics) ofPartition(g *prometheus.GaugeVec, topic string, number int32, value int64) {
	m.assignments.mu.Lock()
	defer m.assignments.mu.Unlock()
	if m.assignments.all[topic][number] {
		g.WithLabelValues(topic, strconv.Itoa(int(number))).Set(float64(value))
	}
}

// specsWatch reloads the folder of specs when one of its files has changed.
type specsWatch struct {
	consumer *Consumer
	folder   fs.FS
	seen     string
}

func (w *specsWatch) look(context.Context) {
	now, err := fingerprint(w.folder)
	if err == nil && now == w.seen {
		return
	}
	var changed bool
	if err == nil {
		changed, err = w.consumer.registry.Reload(w.folder)
	}
	c := w.consumer
	switch {
	case err != nil && now != w.seen:
		c.metrics.reloads.WithLabelValues("failed").Inc()
		c.log.Error("specs not reloaded, the old ones stay", "folder", c.config.Specs,
			"error", err.Error())
	case changed:
		c.metrics.reloads.WithLabelValues("changed").Inc()
		c.log.Info("specs reloaded", "folder", c.config.Specs)
	}
	w.seen = now
}

// fingerprint changes with each change of a spec: names, sizes and times of the files. With an error
// it is the error's text.
func fingerprint(folder fs.FS) (string, error) {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return err.Error(), fmt.Errorf("look at the specs: %w", err)
	}
	var text strings.Builder
	for _, entry := range entries {
		info, err := fs.Stat(folder, entry.Name())
		if err != nil {
			return err.Error(), fmt.Errorf("look at the specs: %w", err)
		}
		fmt.Fprintf(&text, "%s %d %d\n", info.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return text.String(), nil
}
