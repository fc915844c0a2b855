package experiments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// PeerConfig says how the consumer is compared with the MongoDB Kafka sink connector.
type PeerConfig struct {
	// Stack is brought up as a Native one.
	Stack    stack.Options
	Consumer string // the program; "" is built from this tree
	// Events of the load, Rounds that count of each sink, Duplicates are the records at the end of the
	// history's topic that are produced again.
	Events, Rounds, Duplicates int
	// Schemas has Debezium put its schema into each record.
	Schemas bool
	// Tasks of the peer: Connect's default of 1 takes the least processor time for each event, as many as
	// there are partitions are the fastest. Settings of its connector are beyond the lab's.
	Tasks    int
	Settings map[string]string
	Seed     int64
	// Out is the folder for sink-peer.json; "" is runs/sink-peer-<time>.
	Out      string
	Terminal io.Writer
	Say      func(string)
	Command  []string
}

// DefaultPeerConfig is the comparison of stack/README.md.
func DefaultPeerConfig() PeerConfig {
	return PeerConfig{Stack: stack.Options{Kind: stack.Native, Partitions: 4}, Events: 200_000, Rounds: 3, Duplicates: 2000,
		Tasks: 1, Settings: map[string]string{}, Seed: 1, Terminal: io.Discard, Say: func(string) {}}
}

// Validate checks what can be checked before anything is started; the error names the member.
func (c *PeerConfig) Validate() error {
	switch {
	case c.Stack.Kind != stack.Native:
		return fmt.Errorf("stack %q: the peer runs in Kafka Connect, which only the %s stack has", c.Stack.Kind, stack.Native)
	case c.Stack.Profile != "":
		return fmt.Errorf("profile %s: the comparison chooses it by --schemas", c.Stack.Profile)
	case c.Events < 1000:
		return fmt.Errorf("events %d: want at least 1000, fewer take no time that could be measured", c.Events)
	case c.Rounds < 1:
		return fmt.Errorf("rounds %d: want at least 1", c.Rounds)
	case c.Tasks < 1:
		return fmt.Errorf("tasks %d: want at least 1", c.Tasks)
	case c.Duplicates < 1:
		return fmt.Errorf("duplicates %d: want at least 1", c.Duplicates)
	}
	return nil
}

// drainLimit bounds one drain: ten times as long as the slower sink needs, and a minute.
func (c *PeerConfig) drainLimit() time.Duration {
	return time.Minute + time.Duration(c.Events)*500*time.Microsecond
}

// PeerResult is a finished comparison, as sink-peer.json holds it.
type PeerResult struct {
	StartTime  time.Time         `json:"startTime"`
	Command    []string          `json:"command"`
	Commit     string            `json:"commit"`
	Dirty      bool              `json:"dirty"`
	Host       reports.Host      `json:"host"`
	Versions   map[string]string `json:"versions"`
	MongoKind  string            `json:"mongoKind"`
	Seed       int64             `json:"seed"`
	Schemas    bool              `json:"schemas"`
	Partitions int               `json:"partitions"`
	// Connector is the peer's configuration.
	Connector map[string]string `json:"connector"`
	// Events of the load's topic, and its Records: a delete's tombstone is one, and no event.
	Events        int   `json:"events"`
	Records       int64 `json:"records"`
	BytesPerEvent int   `json:"bytesPerEvent"`
	// IdleCores and IdleRSSBytes are the worker's without any connector, before the first drain.
	IdleCores    float64 `json:"idleCores"`
	IdleRSSBytes int64   `json:"idleRSSBytes"`

	Rounds    []PeerRound   `json:"rounds"`
	Summaries []PeerSummary `json:"summaries"`
	History   PeerHistory   `json:"history"`
	Notes     []string      `json:"notes"`
	// Path of the JSON.
	Path string `json:"-"`
}

// peerRun is a comparison in progress.
type peerRun struct {
	config     PeerConfig
	out        string
	stack      *stack.Stack
	worker     stack.Connect
	workerHost stack.Component
	client     *kgo.Client
	admin      *kadm.Client
	mongo      *mongo.Client
	load       *peerTopic
	history    *peerTopic
	result     *PeerResult
}

// Peer runs the comparison: a history with duplicates, unchanged TOAST values and key changes that both
// sinks apply to the stack's MongoDB, then rounds in which each drains a topic into a server that only
// acknowledges, and into a mongod where there is one. An error means that it could not run. Nothing of
// the stack is left when it returns.
func Peer(ctx context.Context, config PeerConfig) (*PeerResult, error) {
	p, err := preparePeer(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := p.up(ctx); err != nil {
		return nil, err
	}
	ctx, cause := context.WithCancelCause(ctx)
	defer cause(nil)
	go func() {
		select {
		case what := <-p.stack.Died():
			cause(errors.New(what))
		case <-ctx.Done():
		}
	}()
	if err = p.measure(ctx); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	if err := errors.Join(err, p.down(downCtx)); err != nil {
		return nil, err
	}
	p.result.Summaries = summarise(p.result.Rounds, p.result.IdleCores)
	return p.result, writeJSON(p.result.Path, p.result)
}

func preparePeer(ctx context.Context, config PeerConfig) (*peerRun, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	root, err := FindRoot()
	if err != nil {
		return nil, err
	}
	started := time.Now().UTC()
	p := &peerRun{config: config}
	if p.out, err = PrepareOut(config.Out, "sink-peer", started); err != nil {
		return nil, err
	}
	if config.Consumer == "" {
		config.Say("building the consumer")
		config.Consumer, err = buildOne(ctx, root, "consumer", "./consumer/cmd/consumer", config.Terminal)
	} else {
		_, err = os.Stat(config.Consumer)
	}
	if err != nil {
		return nil, fmt.Errorf("find the consumer program: %w", err)
	}
	p.config.Stack.ConsumerPath, p.config.Stack.Say = config.Consumer, config.Say
	if config.Schemas {
		p.config.Stack.Profile = "tuned-schemas"
	}
	commit, dirty := (&session{root: root}).commit()
	p.result = &PeerResult{StartTime: started, Command: config.Command, Commit: commit, Dirty: dirty, Host: describeHost(),
		Seed: config.Seed, Schemas: config.Schemas, Events: config.Events, Path: filepath.Join(p.out, "sink-peer.json")}
	return p, nil
}

// up brings the stack up, without its own consumer: each sink is started for what it has to do.
func (p *peerRun) up(ctx context.Context) (err error) {
	if p.stack, err = stack.Up(ctx, p.config.Stack); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
		err = errors.Join(err, p.down(downCtx))
	}()
	own, err := p.stack.Component(stack.Consumer)
	if err != nil {
		return err
	}
	if err := own.Stop(ctx); err != nil {
		return err
	}
	if p.worker, err = p.stack.Worker(); err != nil {
		return err
	}
	if p.workerHost, err = p.stack.Component(stack.Connector); err != nil {
		return err
	}
	p.client, err = kgo.NewClient(append(p.stack.KafkaOptions(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	p.admin = kadm.NewClient(p.client)
	topic := func(table string) *peerTopic { return &peerTopic{"cdc.public." + table, p.client, p.admin} }
	p.load, p.history = topic(peerLoadTable), topic(peerHistoryTable)
	p.mongo, err = mongo.Connect(options.Client().ApplyURI(p.stack.Endpoints().MongoURI).
		SetBSONOptions(&options.BSONOptions{DefaultDocumentM: true}))
	if err != nil {
		return fmt.Errorf("connect to MongoDB: %w", err)
	}
	p.result.Versions, p.result.MongoKind, p.result.Notes = p.stack.Versions(), p.stack.MongoKind(), p.stack.Notes()
	p.result.Partitions = p.stack.Partitions()
	p.result.Connector = newConnectSink(p, sinkTarget{}).config
	return nil
}

func (p *peerRun) down(ctx context.Context) error {
	var failed []error
	if p.client != nil {
		p.client.Close()
	}
	if p.mongo != nil {
		failed = append(failed, p.mongo.Disconnect(ctx))
	}
	return errors.Join(append(failed, p.stack.Down(ctx))...)
}

// measure is the comparison while the stack is up.
func (p *peerRun) measure(ctx context.Context) error {
	if err := p.runHistory(ctx); err != nil {
		return fmt.Errorf("the history: %w", err)
	}
	if err := p.fill(ctx); err != nil {
		return fmt.Errorf("the load: %w", err)
	}
	if err := p.drains(ctx, NullServer); err != nil {
		return err
	}
	real, err := p.realServer(ctx)
	if err != nil || real == "" {
		return err
	}
	return p.drains(ctx, real)
}

// fill writes the load, has Debezium bring it into its topic, and looks at what the worker takes without
// Debezium.
func (p *peerRun) fill(ctx context.Context) error {
	p.config.Say(fmt.Sprintf("writing %d events to PostgreSQL", p.config.Events))
	records, err := peerLoad(ctx, p.stack.Endpoints().PostgresDSN, p.config.Seed, p.config.Events)
	if err != nil {
		return err
	}
	p.result.Records = records
	if err := p.load.filled(ctx, records, p.config.drainLimit()); err != nil {
		return err
	}
	p.result.BytesPerEvent, err = p.load.meanBytes(ctx, p.stack.KafkaOptions(), int64(p.config.Events))
	if err != nil {
		return err
	}
	if err := p.endDebezium(ctx); err != nil {
		return err
	}
	return p.idle(ctx)
}

// endDebezium takes its connector out of the worker: nothing is captured any more, and even a paused one
// looks into PostgreSQL's log every 2 ms, which would be counted as the peer's.
func (p *peerRun) endDebezium(ctx context.Context) error {
	if err := p.worker.Delete(ctx, stack.SourceConnector); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, p.stack.Endpoints().PostgresDSN)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return waitFor(ctx, "Debezium to let go of PostgreSQL", peerStartLimit, func(ctx context.Context) (bool, string, error) {
		var active int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_replication_slots WHERE active").Scan(&active)
		return active == 0, fmt.Sprintf("%d slots in use", active), err
	})
}

// idle measures the worker with nothing to do.
func (p *peerRun) idle(ctx context.Context) error {
	const length = 5 * time.Second
	used, began := cpuSecondsOf(p.workerHost.PIDs()), time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
	}
	p.result.IdleCores = (cpuSecondsOf(p.workerHost.PIDs()) - used) / time.Since(began).Seconds()
	p.result.IdleRSSBytes = rssOf(p.workerHost.PIDs())
	return nil
}

// realServer is the kind of the stack's MongoDB when its speed means something, else "". A stand-in
// serves the peer's ids, which are documents, by a scan.
func (p *peerRun) realServer(ctx context.Context) (string, error) {
	var hello struct {
		SetName string `bson:"setName"`
	}
	if err := p.mongo.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return "", fmt.Errorf("ask MongoDB who it is: %w", err)
	}
	kind := p.stack.MongoKind()
	if kind != stack.Mongod && kind != stack.MongoGiven || hello.SetName == "secantus" {
		p.result.Notes = append(p.result.Notes, "no drains into "+p.result.Versions[stack.Mongo]+": it is no mongod, and serves the peer's _id, a document, by a scan")
		return "", nil
	}
	return kind, nil
}
