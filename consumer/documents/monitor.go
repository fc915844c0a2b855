package documents

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// monitor counts the driver's events about commands, the pool and the servers.
type monitor struct{ *telemetry.Metrics }

func (m monitor) watchClient(o *options.ClientOptions) {
	m.PoolMax.Set(float64(*o.MaxPoolSize))
	commands := &commandWatch{m.Metrics}
	o.SetMonitor(&event.CommandMonitor{Succeeded: commands.commandSucceeded,
		Failed: commands.commandFailed})
	o.SetPoolMonitor(&event.PoolMonitor{Event: m.poolEvent})
	servers := &serverWatch{metrics: m.Metrics}
	o.SetServerMonitor(&event.ServerMonitor{TopologyDescriptionChanged: servers.topologyChanged,
		ServerHeartbeatFailed: servers.heartbeatFailed})
}

func (m monitor) poolEvent(e *event.PoolEvent) {
	switch e.Type {
	case event.ConnectionCreated:
		m.PoolOpen.Inc()
		m.PoolEvents.WithLabelValues("created").Inc()
	case event.ConnectionClosed:
		m.PoolOpen.Dec()
		m.PoolEvents.WithLabelValues("closed").Inc()
	case event.ConnectionPoolCleared:
		m.PoolEvents.WithLabelValues("cleared").Inc()
	case event.ConnectionCheckOutFailed:
		m.PoolEvents.WithLabelValues("checkout_failed").Inc()
	case event.ConnectionCheckedOut:
		m.PoolInUse.Inc()
		telemetry.ObserveDuration(m.PoolWait, e.Duration)
	case event.ConnectionCheckedIn:
		m.PoolInUse.Dec()
	}
}

// serverWatch counts the servers that answer. "Unknown" is a server not asked yet and a server
// without an answer alike. Therefore the count is told from the first answer on, or once as many
// questions have failed as there are servers.
type serverWatch struct {
	metrics *telemetry.Metrics

	mu                        sync.Mutex
	servers, reachable, fails int
	told                      bool
}

func (w *serverWatch) topologyChanged(e *event.TopologyDescriptionChangedEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(e.NewDescription.Servers) == 0 {
		return // the client closes
	}
	w.servers, w.reachable = len(e.NewDescription.Servers), 0
	for _, server := range e.NewDescription.Servers {
		if server.Kind != "Unknown" {
			w.reachable++
		}
	}
	w.tell()
}

func (w *serverWatch) heartbeatFailed(*event.ServerHeartbeatFailedEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails++
	w.tell()
}

func (w *serverWatch) tell() {
	w.told = w.told || w.reachable > 0 || w.servers > 0 && w.fails >= w.servers
	if w.told {
		w.metrics.Servers.Set(float64(w.reachable))
	}
}

// commandWatch times commands, and makes a span of each traced command at the command's end,
// because the driver would copy each command to report the start, at a higher cost than all the
// tracing. A span has only the command's name, database and collection, and only the kind of a
// failure, because the texts of both may hold values of rows.
type commandWatch struct{ metrics *telemetry.Metrics }

type collectionKey struct{}

// inCollection has the spans of the commands under ctx name the collection.
func inCollection(ctx context.Context, name string) context.Context {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx
	}
	return context.WithValue(ctx, collectionKey{}, name)
}

func (w *commandWatch) commandSucceeded(ctx context.Context, e *event.CommandSucceededEvent) {
	w.metrics.MongoTimes.WithLabelValues(e.CommandName).Observe(e.Duration.Seconds())
	w.commandSpan(ctx, &e.CommandFinishedEvent, nil)
}

func (w *commandWatch) commandFailed(ctx context.Context, e *event.CommandFailedEvent) {
	w.metrics.MongoTimes.WithLabelValues(e.CommandName).Observe(e.Duration.Seconds())
	w.metrics.MongoFailures.WithLabelValues(e.CommandName).Inc()
	w.commandSpan(ctx, &e.CommandFinishedEvent, e.Failure)
}

func (w *commandWatch) commandSpan(ctx context.Context, e *event.CommandFinishedEvent,
	failure error) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	name := e.CommandName
	attributes := append(serverAttributes(e.ConnectionID),
		attribute.String("db.system.name", "mongodb"),
		attribute.String("db.namespace", e.DatabaseName),
		attribute.String("db.operation.name", e.CommandName))
	if collection, is := ctx.Value(collectionKey{}).(string); is {
		name += " " + collection
		attributes = append(attributes, attribute.String("db.collection.name", collection))
	}
	if e.CommandName == "update" {
		attributes = append(attributes, attribute.String("db.operation", telemetry.OperationUpsert))
	}
	ended := time.Now()
	_, span := parent.TracerProvider().Tracer(telemetry.TracerName).Start(ctx, name,
		trace.WithTimestamp(ended.Add(-e.Duration)), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attributes...))
	if failure != nil {
		kind := fate.ReasonOf(failure)
		var server driver.Error
		if errors.As(failure, &server) && server.Code != 0 {
			kind = server.Name
			span.SetAttributes(attribute.String("db.response.status_code",
				strconv.Itoa(int(server.Code))))
		}
		span.SetAttributes(attribute.String("error.type", kind))
		span.SetStatus(codes.Error, kind)
	}
	span.End(trace.WithTimestamp(ended))
}

// serverAttributes takes the address off a connection's name, host:port[-number].
func serverAttributes(connection string) []attribute.KeyValue {
	address, _, _ := strings.Cut(connection, "[")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil
	}
	return []attribute.KeyValue{attribute.String("server.address", host),
		attribute.Int("server.port", number)}
}
