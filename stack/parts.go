package stack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// mongoPart is the MongoDB of a Stack: a mongoServer, or a mongoGiven.
type mongoPart interface {
	Component
	uri() string
	close(ctx context.Context) error
}

// postgresPart is the PostgreSQL of a Stack: a postgresServer, or a postgresGiven.
type postgresPart interface {
	Component
	dsn() string
}

// kafkaPart is the Kafka of a Stack: the kafka in this process, a kafkaServer, or a kafkaGiven.
type kafkaPart interface {
	Component
	// brokers are the addresses for one class of clients, such as listenConsumer.
	brokers(listener string) []string
	// clientOptions are what the lab's own clients need beyond the addresses.
	clientOptions() []kgo.Opt
	metricsURL() string
	close()
}

// connectorPart is the source connector of a Stack: the source in this process, debezium, or a
// connectorGiven.
type connectorPart interface {
	Component
	// confirmed is up to where Kafka has everything of PostgreSQL's log.
	confirmed(ctx context.Context) (pglogrepl.LSN, error)
	metricsURL() string
	close() error
}

// consumerPart is one consumer of a Stack: the consumer, or a consumerGiven.
type consumerPart interface {
	Component
	metricsURL() string
}

// parts are the Components of a Stack by their roles; those not made yet are nil.
type parts struct {
	postgres  postgresPart
	kafka     kafkaPart
	mongo     mongoPart
	mongoKind string
	connector connectorPart
	consumers []consumerPart
	// jvm is what Kafka and Debezium run on in a Native Stack.
	jvm   *jvm
	notes []string
}

// components lists those that are made, in an order in which each comes after what it needs.
func (p *parts) components() []Component {
	var all []Component
	if p.postgres != nil {
		all = append(all, p.postgres)
	}
	if p.kafka != nil {
		all = append(all, p.kafka)
	}
	if p.mongo != nil {
		all = append(all, p.mongo)
	}
	if p.connector != nil {
		all = append(all, p.connector)
	}
	for _, c := range p.consumers {
		all = append(all, c)
	}
	return all
}

// close lets go of what the parts hold beyond their Stop.
func (p *parts) close(ctx context.Context) error {
	var failed []error
	if p.connector != nil {
		failed = append(failed, p.connector.close())
	}
	if p.kafka != nil {
		p.kafka.close()
	}
	if p.mongo != nil {
		failed = append(failed, p.mongo.close(ctx))
	}
	return errors.Join(failed...)
}

// kind is how the parts of a kind of Stack are made, and which Proxies it can have.
type kind struct {
	prepare []func(*Stack, context.Context) error
	proxies []string
}

// kinds of Stacks by their names in Options.Kind.
var kinds = map[string]kind{
	Embedded: {
		[]func(*Stack, context.Context) error{(*Stack).preparePostgres, (*Stack).prepareMongo,
			(*Stack).prepareKafka, (*Stack).prepareSource, (*Stack).prepareConsumers},
		[]string{ConsumerMongo},
	},
	Native: {
		[]func(*Stack, context.Context) error{(*Stack).preparePostgres, (*Stack).prepareMongo,
			(*Stack).prepareKafkaServer, (*Stack).prepareDebezium, (*Stack).prepareConsumers},
		[]string{ConsumerMongo, ConsumerKafka, ConnectorKafka, ConnectorPostgres},
	},
	External: {[]func(*Stack, context.Context) error{(*Stack).prepareGiven}, nil},
}

// start makes the parts of the Stack's kind, which finds out all addresses, and then starts them, at
// the same time where they do not need each other.
func (s *Stack) start(ctx context.Context) error {
	for _, prepare := range kinds[s.options.Kind].prepare {
		if err := prepare(s, ctx); err != nil {
			return fmt.Errorf("bring the %s stack up: %w", s.options.Kind, err)
		}
	}
	needs := map[string][]string{
		Connector: {Postgres, Kafka},
	}
	for _, c := range s.parts.consumers {
		needs[c.Name()] = []string{Kafka, Mongo}
	}
	up := map[string]chan struct{}{}
	for _, c := range s.Components() {
		up[c.Name()] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range s.Components() {
		group.Go(func() error {
			for _, needed := range needs[c.Name()] {
				select {
				case <-up[needed]:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if err := s.startOne(ctx, c); err != nil {
				return err
			}
			close(up[c.Name()])
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("bring the %s stack up: %w", s.options.Kind, err)
	}
	return nil
}

func (s *Stack) startOne(ctx context.Context, c Component) error {
	began := time.Now()
	if err := c.Start(ctx); err != nil {
		return err
	}
	what := strings.TrimSpace(c.Name() + " " + c.Version())
	s.options.Say(fmt.Sprintf("%s is up after %v", what, time.Since(began).Round(time.Millisecond)))
	return nil
}

// database is the name of the one that holds the documents.
func (s *Stack) database() string {
	if given, ok := s.parts.mongo.(*mongoGiven); ok {
		return given.database
	}
	return mongoDatabase
}

func (s *Stack) note(text string) {
	if text != "" {
		s.parts.notes = append(s.parts.notes, text)
	}
}

// Notes are what a reader of the Stack's numbers must know, a sentence each.
func (s *Stack) Notes() []string {
	notes := append([]string{}, s.parts.notes...)
	if s.folder.tmpfs {
		notes = append(notes, "the data is in memory (tmpfs): a sync to disk costs nothing")
	}
	return notes
}

// MongoKind is which MongoDB it is: MongoGiven, Mongod, SecantusRS or SecantusPy.
func (s *Stack) MongoKind() string { return s.parts.mongoKind }

// Endpoints are where the parts are reached now.
func (s *Stack) Endpoints() Endpoints {
	var consumers []string
	for _, c := range s.parts.consumers {
		consumers = append(consumers, c.metricsURL())
	}
	connectURL := ""
	if d, ok := s.parts.connector.(*debezium); ok {
		connectURL = d.rest().URL
	}
	return Endpoints{
		PostgresDSN:         s.parts.postgres.dsn(),
		MongoURI:            s.parts.mongo.uri(),
		MongoDatabase:       s.database(),
		KafkaBrokers:        s.parts.kafka.brokers(listenLab),
		ConsumerMetricsURLs: consumers,
		ConnectorMetricsURL: s.parts.connector.metricsURL(),
		KafkaMetricsURL:     s.parts.kafka.metricsURL(),
		ConnectURL:          connectURL,
	}
}
