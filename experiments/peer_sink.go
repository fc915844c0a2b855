package experiments

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/cdclab/cdclab/stack"
)

// The two sinks of a comparison, in the order of each round.
const (
	PeerSink = "MongoDB sink"
	OwnSink  = "cdclab"
)

const (
	peerSinkClass   = "com.mongodb.kafka.connect.MongoSinkConnector"
	peerSinkHandler = "com.mongodb.kafka.connect.sink.cdc.debezium.rdbms.postgres.PostgresHandler"
	peerConverter   = "org.apache.kafka.connect.json.JsonConverter"
	peerStartLimit  = time.Minute
	ownEventsMetric = "cdc_consumer_events_total"
	ownDeadLetter   = "dead_letter"
)

// peerSink is one sink that reads a topic from its start into a MongoDB.
type peerSink interface {
	name() string
	// group is its Kafka group, which nobody had before.
	group() string
	// start asks it to begin and returns when it runs.
	start(ctx context.Context) error
	// health is nil while it runs; a sink that gave up says why.
	health(ctx context.Context) error
	// pids are the processes that do its work.
	pids() []int
	// events are those it has taken care of, of how many writes the server counted.
	events(ctx context.Context, writes int64) (int64, error)
	// stop ends it and returns when its group is empty.
	stop(ctx context.Context) error
}

// sinkTarget is what a sink is to read and where it is to write.
type sinkTarget struct {
	run      string // names the sink's group
	topic    string // cdc.public.<table>
	uri      string
	database string
}

func (t sinkTarget) table() string { return t.topic[strings.LastIndexByte(t.topic, '.')+1:] }

// connectSink is the MongoDB Kafka sink connector in the Connect worker of the stack.
type connectSink struct {
	worker stack.Connect
	admin  *kadm.Client
	host   stack.Component // the worker's process
	id     string
	config map[string]string
}

func newConnectSink(p *peerRun, t sinkTarget) *connectSink {
	schemas := strconv.FormatBool(p.config.Schemas)
	config := map[string]string{
		"connector.class": peerSinkClass, "change.data.capture.handler": peerSinkHandler,
		"tasks.max": strconv.Itoa(p.config.Tasks), "topics": t.topic,
		"connection.uri": t.uri, "database": t.database, "collection": t.table(),
		"key.converter": peerConverter, "key.converter.schemas.enable": schemas,
		"value.converter": peerConverter, "value.converter.schemas.enable": schemas,
	}
	maps.Copy(config, p.config.Settings)
	return &connectSink{worker: p.worker, admin: p.admin, host: p.workerHost, id: "peer-" + t.run, config: config}
}

func (c *connectSink) name() string  { return PeerSink }
func (c *connectSink) group() string { return "connect-" + c.id }
func (c *connectSink) pids() []int   { return c.host.PIDs() }

func (c *connectSink) start(ctx context.Context) error {
	if err := c.worker.Put(ctx, c.id, c.config); err != nil {
		return fmt.Errorf("start the %s: %w", PeerSink, err)
	}
	return waitFor(ctx, "the tasks of the "+PeerSink, peerStartLimit, func(ctx context.Context) (bool, string, error) {
		status, err := c.worker.Status(ctx, c.id)
		if err != nil {
			return false, err.Error(), nil // just after the PUT there is none
		}
		if err := status.Health(); err != nil {
			return false, err.Error(), failedOnly(status)
		}
		return true, "", nil
	})
}

// failedOnly is the health of a connector that has given up, nil for one that has not, or not yet.
func failedOnly(status *stack.ConnectorStatus) error {
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

// events: it makes one write of each event, and none of a tombstone.
func (c *connectSink) events(_ context.Context, writes int64) (int64, error) { return writes, nil }

func (c *connectSink) stop(ctx context.Context) error {
	if err := c.worker.Delete(ctx, c.id); err != nil {
		return fmt.Errorf("stop the %s: %w", PeerSink, err)
	}
	return waitFor(ctx, "the tasks of the "+PeerSink+" to end", peerStartLimit, func(ctx context.Context) (bool, string, error) {
		groups, err := c.admin.DescribeGroups(ctx, c.group())
		if err != nil {
			return false, "", err
		}
		members := len(groups[c.group()].Members)
		return members == 0, fmt.Sprintf("%d members of its group", members), nil
	})
}

// ownSink is the consumer program, as the stack starts it.
type ownSink struct {
	program *stack.SideConsumer
	id      string
}

func newOwnSink(p *peerRun, t sinkTarget) *ownSink {
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

// events are those that met an end; a dead letter is an error: a sink that drops events is fast.
func (o *ownSink) events(ctx context.Context, _ int64) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.program.MetricsURL(), nil)
	if err != nil {
		return 0, fmt.Errorf("ask %s for its events: %w", OwnSink, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask %s for its events: %w", OwnSink, err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, fmt.Errorf("ask %s for its events: %w", OwnSink, err)
	}
	var events, dead int64
	for _, metric := range families[ownEventsMetric].GetMetric() {
		n := int64(metric.GetCounter().GetValue())
		events += n
		if label(metric, "outcome") == ownDeadLetter {
			dead += n
		}
	}
	if dead > 0 {
		return events, errors.New(strconv.FormatInt(dead, 10) + " events became dead letters")
	}
	return events, nil
}
