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

	"github.com/cdclab/cdclab/stack/compose"
	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/observers"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/proxy"
)

// Kinds of MongoDB, the answers of Stack.MongoKind: a server given by its URI, MongoDB itself, and
// SecantusDB, the fast stand-in and the slow one.
const (
	MongoGiven = "given"
	Mongod     = programs.Mongod
	SecantusRS = programs.SecantusRS
	SecantusPy = programs.SecantusPy
)

// mongoDatabase holds the documents in a MongoDB of the Stack's own.
const mongoDatabase = "cdc"

// mongoPart is the MongoDB of a Stack: a mongodb.Server, or a mongoGiven.
type mongoPart interface {
	Component
	URI() string
	Close(ctx context.Context) error
}

// postgresPart is the PostgreSQL of a Stack: a postgres.Server, or a postgresGiven.
type postgresPart interface {
	Component
	// DSN is the superuser's of a postgres.Server.
	DSN() string
	// DSNFor is of a role of least privilege, such as postgres.Generator.
	DSNFor(role string) string
}

// kafkaPart is the Kafka of a Stack: a kafka.Embedded, a kafka.Native, or a kafkaGiven.
type kafkaPart interface {
	Component
	// Brokers are the addresses for one class of clients, such as kafka.ListenConsumer.
	Brokers(listener string) []string
	// ClientOptions are the options of the lab's own clients beyond the addresses.
	ClientOptions() []kgo.Opt
	// Login is what the Stack's own children need; of a kafkaGiven none.
	Login() kafka.Login
	MetricsURL() string
	Close()
}

// connectorPart is the source connector of a Stack: the source in this process, debezium, or a
// connectorGiven.
type connectorPart interface {
	Component
	// confirmed returns the position up to where Kafka has everything of PostgreSQL's log.
	confirmed(ctx context.Context) (pglogrepl.LSN, error)
	MetricsURL() string
	close() error
}

// consumerPart is one consumer of a Stack: the consumer, or a consumerGiven.
type consumerPart interface {
	Component
	MetricsURL() string
}

// parts are the Components of a Stack by role; a part not made yet is nil.
type parts struct {
	postgres  postgresPart
	kafka     kafkaPart
	mongo     mongoPart
	mongoKind string
	connector connectorPart
	consumers []consumerPart
	// jvm runs Kafka and Debezium in a Native Stack.
	jvm *programs.JVM
	// containers are of a Compose Stack.
	containers *compose.Project
	notes      []string
}

// components lists the parts made so far, each after the parts it needs.
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

// close lets go of the parts' holdings beyond Stop; with keep their data stays.
func (p *parts) close(ctx context.Context, keep bool) error {
	var failed []error
	if p.connector != nil {
		failed = append(failed, p.connector.close())
	}
	if p.kafka != nil {
		p.kafka.Close()
	}
	if p.mongo != nil {
		failed = append(failed, p.mongo.Close(ctx))
	}
	if p.containers != nil {
		failed = append(failed, p.containers.Close(ctx, keep))
	}
	return errors.Join(failed...)
}

// kind says how the parts of a kind of Stack are made, and names its possible Proxies.
type kind struct {
	prepare []func(*Stack, context.Context) error
	proxies []string
}

// kinds of Stacks by their names in Options.Kind.
var kinds = map[string]kind{
	Embedded: {
		[]func(*Stack, context.Context) error{(*Stack).preparePostgres, (*Stack).prepareMongo,
			(*Stack).prepareKafka, (*Stack).prepareSource, (*Stack).prepareConsumers},
		proxy.EmbeddedNames(),
	},
	Native: {
		[]func(*Stack, context.Context) error{(*Stack).preparePostgres, (*Stack).prepareMongo,
			(*Stack).prepareKafkaServer, (*Stack).prepareDebezium, (*Stack).prepareConsumers},
		[]string{proxy.ConsumerMongo, proxy.ConsumerKafka, proxy.ConnectorKafka,
			proxy.ConnectorPostgres},
	},
	Compose:  {[]func(*Stack, context.Context) error{(*Stack).prepareContainers}, proxy.Names()},
	External: {[]func(*Stack, context.Context) error{(*Stack).prepareGiven}, proxy.Names()},
}

// start makes the parts of the Stack's kind, which finds out all addresses, and then starts the
// parts, at the same time where independent of each other.
func (s *Stack) start(parent context.Context) error {
	for _, prepare := range kinds[s.options.Kind].prepare {
		if err := prepare(s, parent); err != nil {
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
	group, ctx := errgroup.WithContext(parent)
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
	return s.observe(parent)
}

// observe starts the observers of a Stack that serves.
func (s *Stack) observe(ctx context.Context) (err error) {
	if !s.options.Observe {
		return nil
	}
	e := s.Endpoints()
	s.observers, err = observers.Start(ctx, s.folder, observers.Options{
		Tree: s.options.Tree, CacheDir: s.options.CacheDir, Pace: s.options.Pace,
		Consumers: e.ConsumerMetricsURLs, Kafka: e.KafkaMetricsURL, Connect: e.ConnectorMetricsURL,
		Say: s.options.Say,
	})
	s.note("a Prometheus, an Alertmanager and a collector ran beside the pipeline (--observe)")
	return err
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

// database returns the name of the database with the documents.
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

// Notes are facts for every reader of the Stack's numbers, a sentence each.
func (s *Stack) Notes() []string {
	notes := append([]string{}, s.parts.notes...)
	if s.Tmpfs() {
		notes = append(notes, "the data of the servers that the lab started is in memory (tmpfs): "+
			"a sync to disk costs nothing")
	}
	return notes
}

// MongoKind names the kind of the MongoDB: MongoGiven, Mongod, SecantusRS or SecantusPy.
func (s *Stack) MongoKind() string { return s.parts.mongoKind }

// Endpoints returns the present addresses of the parts.
func (s *Stack) Endpoints() Endpoints {
	var consumers []string
	for _, c := range s.parts.consumers {
		consumers = append(consumers, c.MetricsURL())
	}
	connectURL := ""
	if task := s.task(); task != nil {
		connectURL = task.rest().URL
	}
	return Endpoints{
		PostgresDSN:         s.parts.postgres.DSN(),
		GeneratorDSN:        s.parts.postgres.DSNFor(postgres.Generator),
		CheckDSN:            s.parts.postgres.DSNFor(postgres.Check),
		MongoURI:            s.parts.mongo.URI(),
		MongoDatabase:       s.database(),
		KafkaBrokers:        s.parts.kafka.Brokers(kafka.ListenLab),
		KafkaLogin:          s.parts.kafka.Login(),
		ConsumerMetricsURLs: consumers,
		ConnectorMetricsURL: s.parts.connector.MetricsURL(),
		KafkaMetricsURL:     s.parts.kafka.MetricsURL(),
		ConnectURL:          connectURL,
	}
}
