package observe

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

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

func (p *lagProbe) sample(ctx context.Context, s *Sampler) {
	partitions, err := p.stack.Lag(ctx, p.admin)
	if err != nil || len(partitions) == 0 { // no topic is no lag of 0
		return
	}
	var produced, consumed, lag int64
	for _, one := range partitions {
		produced, consumed = produced+one.End, consumed+one.Committed
		lag += one.Lag()
		s.put(stack.Consumer, reports.GaugeLag+" "+one.Name(), "", 0, float64(one.Lag()))
	}
	s.lag.Store(lag)
	s.put(stack.Consumer, reports.GaugeLag, "", 0, float64(lag))
	s.putRate(stack.Consumer, reports.GaugeProduced, "/s", 0, 1, float64(produced))
	s.putRate(stack.Consumer, reports.GaugeConsumed, "/s", 0, 1, float64(consumed))
}

// postgresProbe asks PostgreSQL for connections, for the database's size, and for what the server
// has done.
type postgresProbe struct {
	dsn  string
	conn *pgx.Conn
}

func (p *postgresProbe) close() {
	if p.conn != nil {
		_ = p.conn.Close(context.Background())
	}
}

func (p *postgresProbe) sample(ctx context.Context, s *Sampler) {
	var err error
	if p.conn == nil {
		if p.conn, err = pg.Connect(ctx, p.dsn); err != nil {
			p.conn = nil
			return
		}
	}
	var connections, most, size, commits, read, hit, wal float64
	err = p.conn.QueryRow(ctx, `SELECT
		(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
		current_setting('max_connections')::int, pg_database_size(datname),
		xact_commit, blks_read, blks_hit,
		pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8
		FROM pg_stat_database WHERE datname = current_database()`).Scan(
		&connections, &most, &size, &commits, &read, &hit, &wal)
	if err != nil {
		p.close()
		p.conn = nil
		return
	}
	s.put(stack.Postgres, reports.GaugeConnections, "", most, connections)
	s.put(stack.Postgres, reports.GaugeData, "bytes", 0, size)
	s.putRate(stack.Postgres, reports.GaugeCommits, "/s", 0, 1, commits)
	s.putRate(stack.Postgres, reports.GaugeBlocksRead, "/s", 0, 1, read)
	s.putRate(stack.Postgres, reports.GaugeBlocksHit, "/s", 0, 1, hit)
	s.putRate(stack.Postgres, reports.GaugeWAL, "bytes/s", 0, 1, wal)
}

// mongoProbe asks MongoDB for connections and for the size of a database, "" for none.
type mongoProbe struct {
	client   *mongo.Client
	database string
}

func newMongoProbe(uri, database string) (*mongoProbe, error) {
	address, err := hop.Mongo(uri)
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(address.
		SetServerSelectionTimeout(sampleEvery / 2).SetMaxPoolSize(1))
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

func (p *mongoProbe) sample(ctx context.Context, s *Sampler) {
	var status struct {
		Connections struct{ Current, Available float64 }
	}
	command := bson.D{{Key: "serverStatus", Value: 1}}
	err := p.client.Database("admin").RunCommand(ctx, command).Decode(&status)
	if err == nil && status.Connections.Current > 0 {
		c, most := status.Connections, 0.0
		if c.Available > 0 { // a stand-in says 0
			most = c.Current + c.Available
		}
		s.put(stack.Mongo, reports.GaugeConnections, "", most, c.Current)
	}
	if p.database == "" {
		return
	}
	var sizes struct {
		DataSize float64 `bson:"dataSize"`
	}
	command = bson.D{{Key: "dbStats", Value: 1}}
	err = p.client.Database(p.database).RunCommand(ctx, command).Decode(&sizes)
	if err == nil && sizes.DataSize > 0 {
		s.put(stack.Mongo, reports.GaugeData, "bytes", 0, sizes.DataSize)
	}
}
