package consumer

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// monitor has the driver tell of its commands, its pool and the servers.
func (m *metrics) monitor(o *options.ClientOptions) {
	m.poolMax.Set(float64(*o.MaxPoolSize))
	commands := &commandWatch{m}
	o.SetMonitor(&event.CommandMonitor{Succeeded: commands.succeeded, Failed: commands.failed})
	o.SetPoolMonitor(&event.PoolMonitor{Event: m.pool})
	o.SetServerMonitor(&event.ServerMonitor{TopologyDescriptionChanged: m.topology})
}

func (m *metrics) pool(e *event.PoolEvent) {
	switch e.Type {
	case event.ConnectionCreated:
		m.poolOpen.Inc()
		m.poolEvents.WithLabelValues("created").Inc()
	case event.ConnectionClosed:
		m.poolOpen.Dec()
		m.poolEvents.WithLabelValues("closed").Inc()
	case event.ConnectionPoolCleared:
		m.poolEvents.WithLabelValues("cleared").Inc()
	case event.ConnectionCheckOutFailed:
		m.poolEvents.WithLabelValues("checkout_failed").Inc()
	case event.ConnectionCheckedOut:
		m.poolInUse.Inc()
		observe(m.poolWait, e.Duration)
	case event.ConnectionCheckedIn:
		m.poolInUse.Dec()
	}
}

func (m *metrics) topology(e *event.TopologyDescriptionChangedEvent) {
	reachable := 0
	for _, server := range e.NewDescription.Servers {
		if server.Kind != "Unknown" {
			reachable++
		}
	}
	m.servers.Set(float64(reachable))
}

// commandWatch times commands, and makes a span of each that belongs to a trace, when it has ended:
// to tell of its start the driver would copy each command, which costs more than all the tracing. Of
// a command only its name, database and collection are told, of a failure only its kind: the texts
// of both may hold values of rows.
type commandWatch struct{ metrics *metrics }

type collectionKey struct{}

// inCollection has the spans of the commands under ctx name the collection.
func inCollection(ctx context.Context, name string) context.Context {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx
	}
	return context.WithValue(ctx, collectionKey{}, name)
}

func (w *commandWatch) succeeded(ctx context.Context, e *event.CommandSucceededEvent) {
	w.metrics.mongoTimes.WithLabelValues(e.CommandName).Observe(e.Duration.Seconds())
	w.span(ctx, &e.CommandFinishedEvent, nil)
}

func (w *commandWatch) failed(ctx context.Context, e *event.CommandFailedEvent) {
	w.metrics.mongoTimes.WithLabelValues(e.CommandName).Observe(e.Duration.Seconds())
	w.metrics.mongoFailures.WithLabelValues(e.CommandName).Inc()
	w.span(ctx, &e.CommandFinishedEvent, e.Failure)
}

func (w *commandWatch) span(ctx context.Context, e *event.CommandFinishedEvent, failure error) {
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
		attributes = append(attributes, attribute.String("db.operation", operationUpsert))
	}
	ended := time.Now()
	_, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, name,
		trace.WithTimestamp(ended.Add(-e.Duration)), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attributes...))
	if failure != nil {
		kind := reasonOf(failure)
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
