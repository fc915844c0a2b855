package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

func (s *Stack) preparePostgres(ctx context.Context) error {
	binDir, note, err := findPostgres(ctx, s.options)
	if err != nil {
		return err
	}
	s.note(note)
	made, err := newPostgres(s.folder, binDir, s.options.PostgresPort)
	if err == nil {
		s.parts.postgres = made
	}
	return err
}

func (s *Stack) prepareKafka(context.Context) error {
	s.note("Kafka is kfake inside the lab's process: it replicates nothing, no measure of a broker")
	made, err := newKafka(s.partitions())
	if err == nil {
		s.parts.kafka = made
	}
	return err
}

// partitions decides how many each topic has, where Options do not; MongoDB's kind must be known.
func (s *Stack) partitions() int {
	if s.options.Partitions == 0 {
		s.options.Partitions = 4
		if s.parts.mongoKind == SecantusPy {
			s.options.Partitions = 1
		}
	}
	return s.options.Partitions
}

// prepareMongo finds or takes the MongoDB and puts the Proxy before it, if there is to be one.
func (s *Stack) prepareMongo(ctx context.Context) error {
	if s.options.MongoURI != "" {
		s.parts.mongo = newMongoGiven(s.options.MongoURI, freshDatabase(), s.options.Keep)
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
	uri, err := s.mongoForConsumers()
	if err != nil {
		return err
	}
	flags := []string{
		"--brokers", strings.Join(s.parts.kafka.brokers(listenConsumer), ","),
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

// mongoForConsumers is the URI that the consumers use, through the Proxy if there is to be one.
func (s *Stack) mongoForConsumers() (string, error) {
	uri := s.parts.mongo.uri()
	if !slices.Contains(s.options.Proxies, ConsumerMongo) {
		return uri, nil
	}
	upstream, err := singleHost(uri)
	if err != nil {
		return "", fmt.Errorf("put proxy %s before MongoDB: %w", ConsumerMongo, err)
	}
	listen, err := s.through(ConsumerMongo, upstream)
	if err != nil {
		return "", err
	}
	if uri, err = proxiedURI(uri, listen); err != nil {
		return "", fmt.Errorf("put proxy %s before MongoDB: %w", ConsumerMongo, err)
	}
	return uri, nil
}

// through is the address by which clients reach upstream: that of the Proxy of this name, which it
// starts, or upstream itself when the Proxy was not asked for.
func (s *Stack) through(name, upstream string) (string, error) {
	if !slices.Contains(s.options.Proxies, name) {
		return upstream, nil
	}
	proxy, err := startProxy(name, upstream)
	if err != nil {
		return "", err
	}
	s.proxies[name] = proxy
	return proxy.Listen(), nil
}
