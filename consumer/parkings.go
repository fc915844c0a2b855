package consumer

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// parkings are the metrics of what is parked, in all partitions. The partitions tell it; it does not
// look into a parking, which is its partition's alone.
type parkings struct {
	mu  sync.Mutex
	all map[*parking]parked
}

// parked is one partition's.
type parked struct {
	records map[string]int // by entity
	bytes   int
	oldest  time.Time
}

// parked takes down what a partition has parked now.
func (m *metrics) parked(p *parking) {
	now := parked{records: map[string]int{}, bytes: p.bytes, oldest: p.oldest()}
	for _, chain := range p.chains {
		now.records[chain[0].entity] += len(chain)
	}
	m.parkings.mu.Lock()
	defer m.parkings.mu.Unlock()
	if p.count == 0 {
		delete(m.parkings.all, p)
		return
	}
	if m.parkings.all == nil {
		m.parkings.all = map[*parking]parked{}
	}
	m.parkings.all[p] = now
}

var (
	parkedRecordsDesc = prometheus.NewDesc(MetricParkedRecords,
		"Events that wait for a row they refer to.", []string{"entity"}, nil)
	parkedBytesDesc = prometheus.NewDesc(MetricParkedBytes,
		"Memory that parked events hold.", nil, nil)
	parkedOldestDesc = prometheus.NewDesc(MetricParkedOldestSeconds,
		"How long the oldest parked event has waited.", nil, nil)
)

func (p *parkings) Describe(to chan<- *prometheus.Desc) {
	to <- parkedRecordsDesc
	to <- parkedBytesDesc
	to <- parkedOldestDesc
}

func (p *parkings) Collect(to chan<- prometheus.Metric) {
	now := time.Now()
	records, bytes, oldest := map[string]int{}, 0, now
	p.mu.Lock()
	for _, one := range p.all {
		for name, n := range one.records {
			records[name] += n
		}
		bytes += one.bytes
		if one.oldest.Before(oldest) {
			oldest = one.oldest
		}
	}
	p.mu.Unlock()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for name, n := range records {
		gauge(parkedRecordsDesc, float64(n), name)
	}
	gauge(parkedBytesDesc, float64(bytes))
	gauge(parkedOldestDesc, now.Sub(oldest).Seconds())
}
