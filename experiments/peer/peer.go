// Package peer compares the consumer with another program that applies Debezium's events to
// MongoDB, the MongoDB Kafka sink connector: what each leaves of a history, and how many events
// each takes care of for a second of processor time. The package judges neither; its caller fails
// on what the consumer got wrong. Start reading at Run, then at comparison.measure; sink.go has
// both programs.
package peer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/experiments/observe"
	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/shown"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/connect"
)

// comparison is a comparison in progress.
type comparison struct {
	config     Config
	out        *experiments.Folder
	stack      *stack.Stack
	worker     connect.Client
	workerHost stack.Component
	client     *kgo.Client
	admin      *kadm.Client
	mongo      *mongo.Client
	load       *topic
	history    *topic
	result     *Result
}

// Run runs the comparison: a history with duplicates, unchanged TOAST values and key changes,
// applied by both sinks to the stack's MongoDB, then rounds in which each drains a topic into a
// server that only acknowledges, and into a mongod where there is a mongod. An error means that
// nothing was compared; a comparison that was ended is a Result with the verdict unknown. Nothing
// of the stack is left when Run returns.
func Run(ctx context.Context, config Config) (*Result, error) {
	p, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	defer p.out.Close()
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
	downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), experiments.DownTimeout)
	defer cancel()
	return p.result.conclude(err, p.down(downCtx))
}

// conclude stores what was measured, with the error that ended the comparison and the error of the
// end of the stack, each nil for none. Where nothing was measured the errors stay errors.
func (r *Result) conclude(ended, down error) (*Result, error) {
	if ended != nil && len(r.Rounds)+len(r.History.Cases) == 0 {
		return nil, errors.Join(ended, down)
	}
	if ended != nil {
		r.EndedBy = ended.Error()
	}
	if down != nil {
		r.Notes = append(r.Notes, "after the comparison: "+down.Error())
	}
	r.Summaries = summarise(r.Rounds, r.IdleCores)
	return r, writeJSON(r.Path, r)
}

func prepare(ctx context.Context, config Config) (*comparison, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	root, err := experiments.FindRoot()
	if err != nil {
		return nil, err
	}
	started := time.Now().UTC()
	p := &comparison{config: config}
	if p.out, err = experiments.PrepareOut(config.Out, "sink-peer", started); err != nil {
		return nil, err
	}
	if err := p.prepareIn(ctx, root, started); err != nil {
		return nil, errors.Join(err, p.out.Close())
	}
	return p, nil
}

// prepareIn builds the consumer and begins the result.
func (p *comparison) prepareIn(ctx context.Context, root string, started time.Time) (err error) {
	config := &p.config
	if config.Consumer == "" {
		config.Say("building the consumer")
	}
	config.Consumer, err = experiments.BuildConsumer(ctx, root, config.Consumer)
	if err != nil {
		return err
	}
	p.config.Stack.ConsumerPath, p.config.Stack.Say = config.Consumer, config.Say
	if config.Schemas {
		p.config.Stack.Profile = "tuned-schemas"
	}
	commit, dirty := experiments.Commit(root)
	p.result = &Result{
		StartTime: started, Command: shown.Command(config.Command),
		Commit: commit, Dirty: dirty, Host: observe.DescribeHost(),
		Seed: config.Seed, Schemas: config.Schemas, Events: config.Events,
		Path: filepath.Join(p.out.Path, "sink-peer.json"),
	}
	return nil
}

// up brings the stack up, without the stack's own consumer: each sink is started for what it has to
// do.
func (p *comparison) up(ctx context.Context) (err error) {
	if p.stack, err = stack.Up(ctx, p.config.Stack); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), experiments.DownTimeout)
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
	p.client, err = kgo.NewClient(append(p.stack.KafkaOptions(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	p.admin = kadm.NewClient(p.client)
	topic := func(table string) *topic { return &topic{"cdc.public." + table, p.client, p.admin} }
	p.load, p.history = topic(loadTable), topic(historyTable)
	address, err := hop.Mongo(p.stack.Endpoints().MongoURI)
	if err != nil {
		return err
	}
	p.mongo, err = mongo.Connect(address.
		SetBSONOptions(&options.BSONOptions{DefaultDocumentM: true}))
	if err != nil {
		return fmt.Errorf("connect to MongoDB: %w", err)
	}
	p.result.Versions, p.result.MongoKind = p.stack.Versions(), p.stack.MongoKind()
	p.result.Notes = p.stack.Notes()
	p.result.Partitions = p.stack.Partitions()
	p.result.Connector = newConnectSink(p, sinkTarget{}).config
	return nil
}

func (p *comparison) down(ctx context.Context) error {
	var failed []error
	if p.client != nil {
		p.client.Close()
	}
	if p.mongo != nil {
		failed = append(failed, p.mongo.Disconnect(ctx))
	}
	return errors.Join(append(failed, p.stack.Down(ctx))...)
}

// drop removes what a sink wrote.
func (p *comparison) drop(ctx context.Context, target sinkTarget) error {
	return p.mongo.Database(target.database).Drop(context.WithoutCancel(ctx))
}

// measure is the comparison while the stack is up.
func (p *comparison) measure(ctx context.Context) error {
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

// fill writes the load, has Debezium bring the load into the topic, and measures what the worker
// takes without Debezium.
func (p *comparison) fill(ctx context.Context) error {
	p.config.Say(fmt.Sprintf("writing %d events to PostgreSQL", p.config.Events))
	records, err := writeLoad(ctx, p.stack.Endpoints().PostgresDSN, p.config.Seed, p.config.Events)
	if err != nil {
		return err
	}
	p.result.Records = records
	if err := p.load.filled(ctx, records, p.config.drainLimit()); err != nil {
		return err
	}
	events := int64(p.config.Events)
	p.result.BytesPerEvent, err = p.load.meanBytes(ctx, events)
	if err != nil {
		return err
	}
	if err := p.endDebezium(ctx); err != nil {
		return err
	}
	return p.idle(ctx)
}

// endDebezium takes Debezium's connector out of the worker, so that nothing is captured any more.
// Otherwise even a paused connector reads PostgreSQL's log every 2 ms, which would be counted as
// the peer's.
func (p *comparison) endDebezium(ctx context.Context) error {
	if err := p.worker.Delete(ctx, stack.SourceConnector); err != nil {
		return err
	}
	conn, err := pg.Connect(ctx, p.stack.Endpoints().PostgresDSN)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	const what = "Debezium to let go of PostgreSQL"
	return waitFor(ctx, what, startLimit, func(ctx context.Context) poll {
		var active int
		const query = "SELECT count(*) FROM pg_replication_slots WHERE active"
		err := conn.QueryRow(ctx, query).Scan(&active)
		return poll{active == 0, fmt.Sprintf("%d slots in use", active), err}
	})
}

// idle measures the worker with nothing to do.
func (p *comparison) idle(ctx context.Context) error {
	const length = 5 * time.Second
	used, began := observe.CPUSeconds(p.workerHost.PIDs()), time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
	}
	used = observe.CPUSeconds(p.workerHost.PIDs()) - used
	p.result.IdleCores = used / time.Since(began).Seconds()
	p.result.IdleRSSBytes = observe.RSS(p.workerHost.PIDs())
	return nil
}

// realServer returns the kind of the stack's MongoDB when the server's speed means something, else
// "". A stand-in serves the peer's ids, which are documents, by a scan.
func (p *comparison) realServer(ctx context.Context) (string, error) {
	var hello struct {
		SetName string `bson:"setName"`
	}
	command := bson.D{{Key: "hello", Value: 1}}
	if err := p.mongo.Database("admin").RunCommand(ctx, command).Decode(&hello); err != nil {
		return "", fmt.Errorf("ask MongoDB who it is: %w", err)
	}
	kind := p.stack.MongoKind()
	if kind != stack.Mongod && kind != stack.MongoGiven || hello.SetName == "secantus" {
		p.result.Notes = append(p.result.Notes, "no drains into "+p.result.Versions[stack.Mongo]+
			": it is no mongod, and serves the peer's _id, a document, by a scan")
		return "", nil
	}
	return kind, nil
}
