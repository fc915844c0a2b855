package telemetry

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// assignments are the partitions of this member, for the metrics by partition.
type assignments struct {
	mu  sync.Mutex
	all map[string]map[int32]bool
}

// PartitionsAssigned counts a rebalance with new partitions.
func (m *Metrics) PartitionsAssigned(added map[string][]int32) {
	m.assignments.setAssigned(added, true)
	m.rebalanced("assigned", added)
}

// PartitionsRevoked counts a rebalance with lost partitions, and forgets the lag of the partitions.
func (m *Metrics) PartitionsRevoked(lost map[string][]int32) {
	m.assignments.setAssigned(lost, false)
	m.rebalanced("revoked", lost)
}

func (m *Metrics) rebalanced(kind string, changed map[string][]int32) {
	if len(changed) > 0 {
		m.rebalances.WithLabelValues(kind).Inc()
	}
	m.assignments.mu.Lock()
	defer m.assignments.mu.Unlock()
	count := 0
	for _, numbers := range m.assignments.all {
		count += len(numbers)
	}
	m.Assignment.Set(float64(count))
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

func (a *assignments) setAssigned(changed map[string][]int32, there bool) {
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

// AssignedNow returns the partitions of this member, by topic.
func (m *Metrics) AssignedNow() map[string][]int32 {
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

// ShowLag sets the number of records left in a partition; nothing if the partition has gone
// meanwhile.
func (m *Metrics) ShowLag(topic string, number int32, records int64) {
	m.ofPartition(m.lags, topic, number, max(records, 0))
}

// ShowCommitted sets the group's offset of a partition; nothing if the partition has gone
// meanwhile.
func (m *Metrics) ShowCommitted(topic string, number int32, offset int64) {
	m.ofPartition(m.offsets, topic, number, offset)
}

func (m *Metrics) ofPartition(g *prometheus.GaugeVec, topic string, number int32, value int64) {
	m.assignments.mu.Lock()
	defer m.assignments.mu.Unlock()
	if m.assignments.all[topic][number] {
		g.WithLabelValues(topic, strconv.Itoa(int(number))).Set(float64(value))
	}
}
