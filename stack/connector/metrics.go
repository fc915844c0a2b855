package connector

import (
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// counts are the changes read since the Connector was made.
type counts struct {
	connection                       atomic.Int32 // untried, lost or connected
	creates, updates, deletes, reads atomic.Int64
	commits                          atomic.Int64
	// lastRead and behind are of the last streamed event: when, in microseconds since 1970, and how
	// long after the commit.
	lastRead, behind atomic.Int64
}

// The states of counts.connection. A Connector that has not yet tried to connect is neither
// connected nor without its PostgreSQL.
const (
	untried = iota
	lost
	connected
)

func (c *counts) event(change *debezium.Change) {
	switch change.Op {
	case debezium.Create:
		c.creates.Add(1)
	case debezium.Update:
		c.updates.Add(1)
	case debezium.Delete:
		c.deletes.Add(1)
	case debezium.Read:
		c.reads.Add(1)
		return
	}
	c.lastRead.Store(change.TsUs)
	c.behind.Store(change.TsUs - change.Source.TsUs)
}

func (c *counts) commit() { c.commits.Add(1) }

// Metrics serves the Prometheus text format. Debezium's MBeans get the same names from the official
// example for jmx_exporter (debezium-examples, monitoring), so that dashboards fit both.
func (c *Connector) Metrics() http.Handler {
	registry := prometheus.NewRegistry()
	n := &c.counts
	number := func(v *atomic.Int64) func() float64 {
		return func() float64 { return float64(v.Load()) }
	}
	metrics := map[string]func() float64{
		"TotalNumberOfCreateEventsSeen": number(&n.creates),
		"TotalNumberOfUpdateEventsSeen": number(&n.updates),
		"TotalNumberOfDeleteEventsSeen": number(&n.deletes),
		"NumberOfCommittedTransactions": number(&n.commits),
		"TotalNumberOfEventsSeen": func() float64 {
			return float64(n.creates.Load() + n.updates.Load() + n.deletes.Load())
		},
		// Both are -1 before the first event, as in Debezium.
		"MilliSecondsBehindSource": func() float64 {
			if n.lastRead.Load() == 0 {
				return -1
			}
			return float64(n.behind.Load()) / 1000
		},
		"MilliSecondsSinceLastEvent": func() float64 {
			if n.lastRead.Load() == 0 {
				return -1
			}
			return float64(time.Now().UnixMicro()-n.lastRead.Load()) / 1000
		},
		"Connected": func() float64 {
			switch n.connection.Load() {
			case connected:
				return 1
			case lost:
				return 0
			}
			return math.NaN()
		},
	}
	labels := prometheus.Labels{
		"plugin": "postgres", "name": c.config.TopicPrefix, "context": "streaming",
	}
	for name, value := range metrics {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "debezium_metrics_" + name, ConstLabels: labels,
			Help: "As the MBean attribute of Debezium's PostgreSQL connector.",
		}, value))
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}
