package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/proxy"
)

func (s *Stack) preparePostgres(ctx context.Context) error {
	binDir, note, err := programs.FindPostgres(ctx, s.options.PostgresDir, s.options.CacheDir,
		s.options.Say)
	if err != nil {
		return err
	}
	s.note(note)
	made, err := postgres.New(s.folder, binDir, s.options.PostgresPort)
	if err == nil && slices.Contains(s.options.Disks, Postgres) {
		err = made.PutOnDisk()
	}
	if err == nil {
		s.parts.postgres = made
	}
	return err
}

func (s *Stack) prepareKafka(context.Context) error {
	s.note("Kafka is kfake inside the lab's process: it replicates nothing, no measure of a broker")
	made, err := kafka.NewEmbedded(s.partitions())
	if err == nil {
		s.parts.kafka = made
	}
	return err
}

// partitions decides how many partitions each topic has, where Options do not; MongoDB's kind must
// be known.
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
		given, err := newMongoGiven(s.options.MongoURI, freshDatabase(), s.options.Keep)
		if err == nil {
			s.parts.mongo, s.parts.mongoKind = given, MongoGiven
		}
		return err
	}
	program, err := programs.FindMongo(ctx, "", s.options.CacheDir, s.options.Say)
	if err != nil {
		return err
	}
	server, err := mongodb.New(s.folder, program,
		mongodb.Options{Unsafe: s.options.MongoUnsafe, Login: true})
	if err != nil {
		return err
	}
	s.parts.mongo, s.parts.mongoKind = server, program.Kind
	s.note(programs.MongoNote(program.Kind))
	if s.options.MongoUnsafe && program.Kind != Mongod {
		s.note("MongoDB runs without --sync-on-commit: " +
			"a kill loses acknowledged writes, on purpose")
	}
	return nil
}

func (s *Stack) prepareConsumers(context.Context) error {
	uri, err := s.mongoForConsumers()
	if err != nil {
		return err
	}
	flags := []string{
		"--brokers", strings.Join(s.parts.kafka.Brokers(kafka.ListenConsumer), ","),
		"--group", consumerGroup,
		"--dead-letter-topic", kafka.DeadLetterTopic,
		"--database", s.database(),
	}
	if s.parts.mongoKind == SecantusPy {
		// secantusd-py serves 300 single writes a second on one connection and 135 on sixteen.
		flags = append(flags, "--mongo-pool-max", "1")
	}
	for n := 1; n <= s.options.Consumers; n++ {
		name := ConsumerName(n)
		// A static member has its partitions back at once when the member returns after a crash.
		own := append(slices.Clone(flags), "--instance", name)
		if s.options.Observe { // a collector looks for each target at one address
			port, err := process.FreePort()
			if err != nil {
				return err
			}
			own = append(own, "--listen", process.Loopback(port))
		}
		s.parts.consumers = append(s.parts.consumers,
			newConsumer(s.folder, name, s.options.ConsumerPath, own,
				connections{uri, s.parts.kafka.Login()}, s.options.ConsumerArgs))
	}
	return nil
}

// mongoForConsumers returns the URI for the consumers, through the Proxy if there is to be one.
func (s *Stack) mongoForConsumers() (string, error) {
	uri := s.parts.mongo.URI()
	if !slices.Contains(s.options.Proxies, proxy.ConsumerMongo) {
		return uri, nil
	}
	upstream, err := mongodb.SingleHost(uri)
	if err != nil {
		return "", fmt.Errorf("put proxy %s before MongoDB: %w", proxy.ConsumerMongo, err)
	}
	listen, err := s.through(proxy.ConsumerMongo, upstream)
	if err != nil {
		return "", err
	}
	if uri, err = mongodb.ProxiedURI(uri, listen); err != nil {
		return "", fmt.Errorf("put proxy %s before MongoDB: %w", proxy.ConsumerMongo, err)
	}
	return uri, nil
}

// through returns the address for clients of upstream: the address of the named Proxy, started
// here, or upstream itself where nobody asked for the Proxy.
func (s *Stack) through(name, upstream string) (string, error) {
	if !slices.Contains(s.options.Proxies, name) {
		return upstream, nil
	}
	proxy, err := proxy.Start(name, upstream)
	if err != nil {
		return "", err
	}
	s.proxies[name] = proxy
	return proxy.Listen(), nil
}
