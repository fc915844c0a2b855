package stack

import (
	"context"
	"strings"
)

// findParts finds Java and the JVM parts, once for the broker and the connector.
func (s *Stack) findParts(ctx context.Context) error {
	if s.parts.jvm != nil {
		return nil
	}
	var err error
	s.parts.jvm, err = findJVM(ctx, s.options.CacheDir, s.options.Say)
	return err
}

func (s *Stack) prepareKafkaServer(ctx context.Context) error {
	if err := s.findParts(ctx); err != nil {
		return err
	}
	made, err := newKafkaServer(s.folder, s.parts.jvm, s.partitions())
	if err != nil {
		return err
	}
	for listener, proxy := range map[string]string{listenConsumer: ConsumerKafka, listenConnect: ConnectorKafka} {
		if made.advertised[listener], err = s.through(proxy, made.addresses[listener]); err != nil {
			return err
		}
	}
	s.parts.kafka = made
	s.note("Kafka is one broker that does not replicate and leaves syncing to the kernel, as brokers do")
	return nil
}

func (s *Stack) prepareDebezium(context.Context) error {
	postgres, err := s.through(ConnectorPostgres, s.parts.postgres.(*postgresServer).address)
	if err != nil {
		return err
	}
	brokers := strings.Join(s.parts.kafka.brokers(listenConnect), ",")
	made, err := newDebezium(s.folder, s.parts.jvm, s.options.Profile, brokers, postgres, s.parts.postgres.dsn(), s.partitions())
	if err != nil {
		return err
	}
	s.parts.connector = made
	s.note("Debezium is configured by its profile " + s.options.Profile)
	return nil
}
