package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// mongoPart is the MongoDB of a Stack: a mongoServer, or a mongoGiven.
type mongoPart interface {
	Component
	uri() string
	close(ctx context.Context) error
}

// parts are the Components of the embedded stack by their types; those not made yet are nil.
type parts struct {
	postgres  *postgresServer
	kafka     *kafka
	mongo     mongoPart
	mongoKind string
	connector *source
	consumers []*consumer
	notes     []string
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

// startEmbedded makes the parts, which finds out all addresses, and then starts them, at the same
// time where they do not need each other.
func (s *Stack) startEmbedded(ctx context.Context) error {
	for _, prepare := range []func(context.Context) error{
		s.preparePostgres, s.prepareMongo, s.prepareKafka, s.prepareConnector, s.prepareConsumers,
	} {
		if err := prepare(ctx); err != nil {
			return fmt.Errorf("bring the embedded stack up: %w", err)
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
		return fmt.Errorf("bring the embedded stack up: %w", err)
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

func (s *Stack) preparePostgres(ctx context.Context) error {
	binDir, note, err := findPostgres(ctx, s.options)
	if err != nil {
		return err
	}
	s.note(note)
	s.parts.postgres, err = newPostgres(s.folder, binDir, s.options.PostgresPort)
	return err
}

func (s *Stack) prepareKafka(context.Context) error {
	s.note("Kafka is kfake inside the lab's process: it replicates nothing, no measure of a broker")
	if s.options.Partitions == 0 {
		s.options.Partitions = 4
		if s.parts.mongoKind == SecantusPy {
			s.options.Partitions = 1
		}
	}
	var err error
	s.parts.kafka, err = newKafka(s.options.Partitions)
	return err
}

// prepareMongo finds or takes the MongoDB and puts the Proxy before it, if there is to be one.
func (s *Stack) prepareMongo(ctx context.Context) error {
	if s.options.MongoURI != "" {
		s.parts.mongo = newMongoGiven(s.options.MongoURI, s.options.Keep)
		s.parts.mongoKind = MongoGiven
		return nil
	}
	program, err := findMongo(ctx, s.options.CacheDir, s.options.Say)
	if err != nil {
		return err
	}
	server, err := newMongoServer(s.folder, program, s.options.MongoUnsafe)
	if err != nil {
		return err
	}
	s.parts.mongo, s.parts.mongoKind = server, program.kind
	s.note(mongoNote(program.kind))
	if s.options.MongoUnsafe && program.kind != Mongod {
		s.note("MongoDB runs without --sync-on-commit: a kill loses acknowledged writes, on purpose")
	}
	return nil
}

func (s *Stack) prepareConsumers(context.Context) error {
	uri := s.parts.mongo.uri()
	for _, name := range s.options.Proxies {
		if name != ConsumerMongo || s.proxies[name] != nil {
			continue
		}
		upstream, err := singleHost(uri)
		if err != nil {
			return fmt.Errorf("put proxy %s before MongoDB: %w", name, err)
		}
		proxy, err := startProxy(name, upstream)
		if err != nil {
			return err
		}
		s.proxies[name] = proxy
		if uri, err = proxiedURI(uri, proxy.Listen()); err != nil {
			return fmt.Errorf("put proxy %s before MongoDB: %w", name, err)
		}
	}
	flags := []string{
		"--brokers", strings.Join(s.parts.kafka.brokers(), ","),
		"--group", consumerGroup,
		"--dead-letter-topic", deadLetterTopic,
		"--database", s.database(),
	}
	if s.parts.mongoKind == SecantusPy {
		// It serves 300 single writes a second on one connection and 135 on sixteen.
		flags = append(flags, "--mongo-pool-max", "1")
	}
	for n := 1; n <= s.options.Consumers; n++ {
		name := ConsumerName(n)
		// A static member has its partitions back at once when it comes back after a crash.
		own := append(slices.Clone(flags), "--instance", name)
		s.parts.consumers = append(s.parts.consumers,
			newConsumer(s.folder, name, s.options.ConsumerPath, own, uri, s.options.ConsumerArgs))
	}
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
		consumers = append(consumers, c.url("/metrics"))
	}
	return Endpoints{
		PostgresDSN:         s.parts.postgres.dsn(),
		MongoURI:            s.parts.mongo.uri(),
		MongoDatabase:       s.database(),
		KafkaBrokers:        s.parts.kafka.brokers(),
		ConsumerMetricsURLs: consumers,
		ConnectorMetricsURL: s.parts.connector.metricsURL(),
	}
}
