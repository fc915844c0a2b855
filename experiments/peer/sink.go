package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/experiments/observe"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/connect"
)

// The two sinks of a comparison, in the order of each round.
const (
	MongoSink = "MongoDB sink"
	OwnSink   = "cdclab"
)

const (
	sinkClass     = "com.mongodb.kafka.connect.MongoSinkConnector"
	sinkHandler   = "com.mongodb.kafka.connect.sink.cdc.debezium.rdbms.postgres.PostgresHandler"
	jsonConverter = "org.apache.kafka.connect.json.JsonConverter"
	startLimit    = time.Minute
)

// drainer is a sink that reads a topic from its start into a MongoDB.
type drainer interface {
	name() string
	// group is the sink's Kafka group; nobody had the group before.
	group() string
	// start asks the sink to begin and returns when the sink runs.
	start(ctx context.Context) error
	// health is nil while the sink runs; a sink that gave up says why.
	health(ctx context.Context) error
	// pids are the working processes of the sink.
	pids() []int
	// events are the events taken care of, from how many writes the server counted.
	events(ctx context.Context, writes int64) (int64, error)
	// stop ends the sink and returns when the group is empty.
	stop(ctx context.Context) error
}

// sinkTarget names the topic for a sink to read and the database to write to.
type sinkTarget struct {
	run      string // names the sink's group
	topic    string // cdc.public.<table>
	uri      string
	database string
}

func (t sinkTarget) table() string { return t.topic[strings.LastIndexByte(t.topic, '.')+1:] }

// connectSink is the MongoDB Kafka sink connector in the Connect worker of the stack.
type connectSink struct {
	worker connect.Client
	admin  *kadm.Client
	host   stack.Component // the worker's process
	id     string
	config map[string]string
}

func newConnectSink(p *comparison, t sinkTarget) *connectSink {
	schemas := strconv.FormatBool(p.config.Schemas)
	config := map[string]string{
		"connector.class": sinkClass, "change.data.capture.handler": sinkHandler,
		"tasks.max": strconv.Itoa(p.config.Tasks), "topics": t.topic,
		"connection.uri": t.uri, "database": t.database, "collection": t.table(),
		"key.converter": jsonConverter, "key.converter.schemas.enable": schemas,
		"value.converter": jsonConverter, "value.converter.schemas.enable": schemas,
	}
	maps.Copy(config, p.config.Settings)
	return &connectSink{
		worker: p.worker, admin: p.admin, host: p.workerHost, id: "peer-" + t.run, config: config,
	}
}

func (c *connectSink) name() string  { return MongoSink }
func (c *connectSink) group() string { return "connect-" + c.id }
func (c *connectSink) pids() []int   { return c.host.PIDs() }

func (c *connectSink) start(ctx context.Context) error {
	if err := c.worker.Put(ctx, c.id, c.config); err != nil {
		return fmt.Errorf("start the %s: %w", MongoSink, err)
	}
	return waitFor(ctx, "the tasks of the "+MongoSink, startLimit, func(ctx context.Context) poll {
		status, err := c.worker.Status(ctx, c.id)
		if err != nil {
			return poll{false, err.Error(), nil} // just after the PUT there is none
		}
		if err := status.Health(); err != nil {
			return poll{false, err.Error(), failedOnly(status)}
		}
		return poll{true, "", nil}
	})
}

// failedOnly returns the health of a connector that has given up, nil of any other.
func failedOnly(status *connect.Status) error {
	for _, task := range status.Tasks {
		if task.State == "FAILED" {
			return status.Health()
		}
	}
	if status.Connector.State == "FAILED" {
		return status.Health()
	}
	return nil
}

func (c *connectSink) health(ctx context.Context) error {
	status, err := c.worker.Status(ctx, c.id)
	if err != nil {
		return err
	}
	return failedOnly(status)
}

// events: the connector makes one write of each event, and none of a tombstone.
func (c *connectSink) events(_ context.Context, writes int64) (int64, error) { return writes, nil }

func (c *connectSink) stop(ctx context.Context) error {
	if err := c.worker.Delete(ctx, c.id); err != nil {
		return fmt.Errorf("stop the %s: %w", MongoSink, err)
	}
	what := "the tasks of the " + MongoSink + " to end"
	return waitFor(ctx, what, startLimit, func(ctx context.Context) poll {
		groups, err := c.admin.DescribeGroups(ctx, c.group())
		if err != nil {
			return poll{false, "", err}
		}
		members := len(groups[c.group()].Members)
		return poll{members == 0, fmt.Sprintf("%d members of its group", members), nil}
	})
}

// ownSink is the consumer program, as the stack starts it.
type ownSink struct {
	program *stack.SideConsumer
	id      string
}

func newOwnSink(p *comparison, t sinkTarget) *ownSink {
	id := "own-" + t.run
	pattern := "^" + strings.ReplaceAll(t.topic, ".", `\.`) + "$"
	return &ownSink{id: id, program: p.stack.SideConsumer(id, t.uri,
		"--group", id, "--topics", pattern, "--database", t.database, "--instance", id)}
}

func (o *ownSink) name() string                     { return OwnSink }
func (o *ownSink) group() string                    { return o.id }
func (o *ownSink) pids() []int                      { return o.program.PIDs() }
func (o *ownSink) start(ctx context.Context) error  { return o.program.Start(ctx) }
func (o *ownSink) stop(ctx context.Context) error   { return o.program.Stop(ctx) }
func (o *ownSink) health(ctx context.Context) error { return o.program.Health(ctx) }

// events are the events with an end; a dead letter is an error, because a sink that drops events is
// fast.
func (o *ownSink) events(ctx context.Context, _ int64) (int64, error) {
	families, err := observe.Scrape(ctx, http.DefaultClient, o.program.MetricsURL())
	if err != nil {
		return 0, fmt.Errorf("ask %s for its events: %w", OwnSink, err)
	}
	var events, dead int64
	for _, metric := range families[telemetry.MetricEvents].GetMetric() {
		n := int64(metric.GetCounter().GetValue())
		events += n
		if observe.Label(metric, "outcome") == telemetry.OutcomeDeadLetter {
			dead += n
		}
	}
	if dead > 0 {
		return events, errors.New(strconv.FormatInt(dead, 10) + " events became dead letters")
	}
	return events, nil
}
