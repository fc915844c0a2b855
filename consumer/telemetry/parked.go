package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// parkings are the metrics of the parked events of all partitions. The partitions report their
// numbers to parkings, because a parking belongs to its partition alone.
type parkings struct {
	mu  sync.Mutex
	all map[any]Parked
}

// Parked is the number and size of a partition's parked events.
type Parked struct {
	Records map[string]int // by entity
	Bytes   int
	Oldest  time.Time
}

// Set stores the parked numbers of a partition now. by names the partition: any pointer of its own.
func (p *parkings) Set(by any, now Parked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(now.Records) == 0 {
		delete(p.all, by)
		return
	}
	if p.all == nil {
		p.all = map[any]Parked{}
	}
	p.all[by] = now
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
		for name, n := range one.Records {
			records[name] += n
		}
		bytes += one.Bytes
		if one.Oldest.Before(oldest) {
			oldest = one.Oldest
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
