package experiments

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	dto "github.com/prometheus/client_model/go"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// capacities are what the machine has.
type capacities struct {
	// cpuPercent is that of all cores, in per cent of one.
	cpuPercent, memoryBytes float64
}

func machineCapacities() capacities {
	c := capacities{cpuPercent: 100 * float64(runtime.NumCPU())}
	if memory, err := mem.VirtualMemory(); err == nil {
		c.memoryBytes = float64(memory.Total)
	}
	return c
}

// memoryOf is what a process may use: the machine's memory, or its control group's limit where that is
// less, as in a container.
func (c capacities) memoryOf(pid int) float64 {
	if most, limited := hostGroups.number(hostGroups.of(pid), "memory.max", ""); limited {
		return min(most, c.memoryBytes)
	}
	return c.memoryBytes
}

// hostProbe looks at the machine.
type hostProbe struct{ host capacities }

func (p hostProbe) close() {}

func (p hostProbe) look(ctx context.Context, l *looker) {
	cpu := readCPU()
	l.putRate(hostComponent, reports.GaugeCPU, "%", p.host.cpuPercent, 100, cpu.total-cpu.idle)
	l.putRate(hostComponent, reports.GaugeSteal, "%", p.host.cpuPercent, 100, cpu.steal)
	if memory, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		l.put(hostComponent, reports.GaugeMemory, "bytes", float64(memory.Total), float64(memory.Total-memory.Available))
	}
	if counters, err := net.IOCountersWithContext(ctx, false); err == nil && len(counters) == 1 {
		l.putRate(hostComponent, reports.GaugeNetworkSent, "bytes/s", 0, 1, float64(counters[0].BytesSent))
		l.putRate(hostComponent, reports.GaugeNetworkReceived, "bytes/s", 0, 1, float64(counters[0].BytesRecv))
	}
	if devices, err := disk.IOCountersWithContext(ctx); err == nil {
		lookAtDisks(l, devices)
	}
}

// lookAtDisks files the rate of the disk that is the busiest now.
func lookAtDisks(l *looker, devices map[string]disk.IOCountersStat) {
	busiest, known := 0.0, false
	for name, d := range devices {
		// IoTime is in milliseconds: a second of it in a second is 100 %.
		if rate, ok := l.rate(gaugeName{hostComponent, reports.GaugeDiskBusy + " " + name}, float64(d.IoTime)); ok {
			busiest, known = max(busiest, 0.1*rate), true
		}
	}
	if known {
		l.put(hostComponent, reports.GaugeDiskBusy, "%", 100, busiest)
	}
}

// lagProbe asks Kafka how far the consumer's group is behind.
type lagProbe struct {
	stack *stack.Stack
	admin *kadm.Client
}

func newLagProbe(s *stack.Stack) (*lagProbe, error) {
	client, err := kgo.NewClient(append(s.KafkaOptions(), kgo.RequestRetries(0))...)
	if err != nil {
		return nil, err
	}
	return &lagProbe{s, kadm.NewClient(client)}, nil
}

func (p *lagProbe) close() { p.admin.Close() }

func (p *lagProbe) look(ctx context.Context, l *looker) {
	partitions, err := p.stack.Lag(ctx, p.admin)
	if err != nil {
		return
	}
	var produced, consumed, lag int64
	for _, one := range partitions {
		produced, consumed = produced+one.End, consumed+one.Committed
		lag += one.Lag()
		l.put(stack.Consumer, reports.GaugeLag+" "+one.Name(), "", 0, float64(one.Lag()))
	}
	l.lag.Store(lag)
	l.put(stack.Consumer, reports.GaugeLag, "", 0, float64(lag))
	l.putRate(stack.Consumer, reports.GaugeProduced, "/s", 0, 1, float64(produced))
	l.putRate(stack.Consumer, reports.GaugeConsumed, "/s", 0, 1, float64(consumed))
}

// postgresProbe asks PostgreSQL for its connections, its size, and what it has done.
type postgresProbe struct {
	dsn  string
	conn *pgx.Conn
}

func (p *postgresProbe) close() {
	if p.conn != nil {
		_ = p.conn.Close(context.Background())
	}
}

func (p *postgresProbe) look(ctx context.Context, l *looker) {
	var err error
	if p.conn == nil {
		if p.conn, err = pgx.Connect(ctx, p.dsn); err != nil {
			p.conn = nil
			return
		}
	}
	var connections, most, size, commits, read, hit, wal float64
	err = p.conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
		current_setting('max_connections')::int, pg_database_size(datname), xact_commit, blks_read, blks_hit,
		pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8
		FROM pg_stat_database WHERE datname = current_database()`).Scan(&connections, &most, &size, &commits, &read, &hit, &wal)
	if err != nil {
		p.close()
		p.conn = nil
		return
	}
	l.put(stack.Postgres, reports.GaugeConnections, "", most, connections)
	l.put(stack.Postgres, reports.GaugeData, "bytes", 0, size)
	l.putRate(stack.Postgres, reports.GaugeCommits, "/s", 0, 1, commits)
	l.putRate(stack.Postgres, reports.GaugeBlocksRead, "/s", 0, 1, read)
	l.putRate(stack.Postgres, reports.GaugeBlocksHit, "/s", 0, 1, hit)
	l.putRate(stack.Postgres, reports.GaugeWAL, "bytes/s", 0, 1, wal)
}

// mongoProbe asks MongoDB for its connections and for the size of a database, "" for none.
type mongoProbe struct {
	client   *mongo.Client
	database string
}

func newMongoProbe(uri, database string) (*mongoProbe, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(lookEvery / 2).SetMaxPoolSize(1))
	if err != nil {
		return nil, err
	}
	return &mongoProbe{client, database}, nil
}

func (p *mongoProbe) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.client.Disconnect(ctx)
}

func (p *mongoProbe) look(ctx context.Context, l *looker) {
	var status struct {
		Connections struct{ Current, Available float64 }
	}
	command := bson.D{{Key: "serverStatus", Value: 1}}
	if p.client.Database("admin").RunCommand(ctx, command).Decode(&status) == nil && status.Connections.Current > 0 {
		c, most := status.Connections, 0.0
		if c.Available > 0 { // a stand-in says 0
			most = c.Current + c.Available
		}
		l.put(stack.Mongo, reports.GaugeConnections, "", most, c.Current)
	}
	if p.database == "" {
		return
	}
	var sizes struct {
		DataSize float64 `bson:"dataSize"`
	}
	command = bson.D{{Key: "dbStats", Value: 1}}
	if p.client.Database(p.database).RunCommand(ctx, command).Decode(&sizes) == nil && sizes.DataSize > 0 {
		l.put(stack.Mongo, reports.GaugeData, "bytes", 0, sizes.DataSize)
	}
}

// metricsProbe reads what the programs say of themselves: the heap of Go programs and of JVMs, and the
// consumer's pool of connections to MongoDB.
type metricsProbe struct {
	// urls are those of each component.
	urls   map[string][]string
	client http.Client
}

func (p *metricsProbe) close() { p.client.CloseIdleConnections() }

func (p *metricsProbe) look(ctx context.Context, l *looker) {
	for component, urls := range p.urls {
		for _, url := range urls {
			families, err := scrapeFamilies(ctx, &p.client, url)
			if err != nil {
				continue
			}
			heap := families["go_memstats_heap_inuse_bytes"].GetMetric()
			heap = append(heap, matching(families["jvm_memory_used_bytes"], "area", "heap")...)
			for _, m := range heap {
				l.put(component, reports.GaugeHeap, "bytes", 0, m.GetGauge().GetValue())
			}
			inUse := matching(families["cdc_consumer_mongo_pool_connections"], "state", "in_use")
			most := families["cdc_consumer_mongo_pool_max_connections"].GetMetric()
			if len(inUse) == 1 && len(most) == 1 {
				capacity := most[0].GetGauge().GetValue()
				if capacity <= 1 {
					capacity = 0 // a pool of one is meant to be in use
				}
				l.put(component, reports.GaugeConnections, "", capacity, inUse[0].GetGauge().GetValue())
			}
		}
	}
}

// matching are a family's metrics with this label.
func matching(family *dto.MetricFamily, name, value string) (found []*dto.Metric) {
	for _, m := range family.GetMetric() {
		if label(m, name) == value {
			found = append(found, m)
		}
	}
	return found
}
