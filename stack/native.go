package stack

import (
	"context"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/proxy"
)

// findParts finds Java and the JVM parts, once for the broker and the connector.
func (s *Stack) findParts(ctx context.Context) error {
	if s.parts.jvm != nil {
		return nil
	}
	var err error
	s.parts.jvm, err = programs.FindJVM(ctx, s.options.CacheDir, s.options.Say)
	return err
}

func (s *Stack) prepareKafkaServer(ctx context.Context) error {
	if err := s.findParts(ctx); err != nil {
		return err
	}
	made, err := kafka.NewNative(s.folder, s.parts.jvm, s.partitions())
	if err != nil {
		return err
	}
	if slices.Contains(s.options.Disks, Kafka) {
		if err := made.PutOnDisk(nil); err != nil {
			return err
		}
	}
	for listener, proxy := range map[string]string{kafka.ListenConsumer: proxy.ConsumerKafka,
		kafka.ListenConnect: proxy.ConnectorKafka} {
		err := made.Advertise(listener, func(upstream string) (string, error) {
			return s.through(proxy, upstream)
		})
		if err != nil {
			return err
		}
	}
	s.parts.kafka = made
	s.note("Kafka is one broker that does not replicate " +
		"and leaves syncing to the kernel, as brokers do")
	return nil
}

func (s *Stack) prepareDebezium(context.Context) error {
	server := s.parts.postgres.(*postgres.Server)
	database, err := s.through(proxy.ConnectorPostgres, server.Address())
	if err != nil {
		return err
	}
	brokers := strings.Join(s.parts.kafka.Brokers(kafka.ListenConnect), ",")
	from := sources{
		brokers: brokers, kafka: s.parts.kafka.Login(), database: database,
		password: server.Password(postgres.Connector), dsn: server.DSN(),
	}
	made, err := newDebezium(s.folder, s.parts.jvm, s.options.Profile, from, s.partitions())
	if err != nil {
		return err
	}
	s.parts.connector = made
	s.note("Debezium is configured by its profile " + s.options.Profile)
	return nil
}
