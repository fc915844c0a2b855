package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/stack/proxy"
)

// Endpoint says where the parts of an External pipeline are; its MongoDB is at Options.MongoURI.
type Endpoint struct {
	// PostgresDSN is a postgres:// URL. Its role writes the lab's rows, reads pg_replication_slots
	// and calls pg_logical_emit_message, so that the lab sees when everything went through.
	PostgresDSN string
	// WriteTo repeats the host and the database of PostgresDSN, "HOST/DB" or "HOST:PORT/DB": the
	// lab writes only to a database named twice. Behind a pooler or a forwarded port the server's
	// own word for itself follows: "HOST/DB@ADDRESS:PORT".
	WriteTo string
	// WriteToMongo repeats a host, or all, and the database of MongoDB, as in WriteTo.
	WriteToMongo string
	// Slot is the connector's replication slot; "" is the only active slot of the database.
	Slot string
	// KafkaBrokers are addresses, KafkaOptions say how to reach them (TLS, SASL).
	KafkaBrokers []string
	KafkaOptions []kgo.Opt
	// TopicPrefix is Debezium's topic.prefix, Group the consumer's group; "" are the lab's own.
	TopicPrefix, Group string
	// MongoDatabase holds the documents; "" is the lab's own name.
	MongoDatabase string
	// ConsumerMetricsURLs serve the metrics of cdclab's consumer; empty is none.
	ConsumerMetricsURLs []string
	// Toxiproxy is the address ("host:port") of the API of a Toxiproxy that proxy.Serve serves; ""
	// is a pipeline without Proxies.
	Toxiproxy string
	// MayBreak names the plan, or the game day, that may break parts; "" is none.
	MayBreak string
}

// errGiven refuses to end or break a part.
var errGiven = errors.New("what was given by its address is not the lab's to end or break")

// check refuses an Endpoint with a part missing, and a database not named twice.
func (e *Endpoint) check(mongoURI string) error {
	switch {
	case e.PostgresDSN == "":
		return errors.New("an external stack needs the address of its PostgreSQL")
	case len(e.KafkaBrokers) == 0:
		return errors.New("an external stack needs the addresses of its Kafka")
	case mongoURI == "":
		return errors.New("an external stack needs the address of its MongoDB")
	}
	parsed, err := pg.ParseFixed(e.PostgresDSN)
	if err != nil {
		return fmt.Errorf("external: %w", err)
	}
	for _, other := range parsed.Fallbacks { // also the same host, without TLS
		if other.Host != parsed.Host || other.Port != parsed.Port {
			return fmt.Errorf("the address of the external PostgreSQL has more than one host, "+
				"%s and %s: the lab writes to one that was named",
				net.JoinHostPort(parsed.Host, fmt.Sprint(parsed.Port)),
				net.JoinHostPort(other.Host, fmt.Sprint(other.Port)))
		}
	}
	if parsed.Database == "" {
		return errors.New("the address of the external PostgreSQL names no database: " +
			"want postgres://USER@HOST:PORT/DB")
	}
	short := parsed.Host + "/" + parsed.Database
	long := net.JoinHostPort(parsed.Host, fmt.Sprint(parsed.Port)) + "/" + parsed.Database
	named, _ := splitWriteTo(e.WriteTo)
	switch named {
	case short, long:
		return checkMongo(mongoURI, cmp.Or(e.MongoDatabase, mongoDatabase), e.WriteToMongo)
	case "":
		return fmt.Errorf("the lab would insert, change and delete rows of its own "+
			"in database %s: say --yes-write-to %s", long, long)
	}
	return fmt.Errorf("asked to write to %s, but the address of PostgreSQL is that of %s",
		e.WriteTo, long)
}

// prepareGiven takes all parts as found.
func (s *Stack) prepareGiven(context.Context) error {
	e := s.options.External
	s.parts.postgres = &postgresGiven{given{name: Postgres, look: e.lookAtTables},
		e.PostgresDSN}
	k := &kafkaGiven{given{name: Kafka}, e.KafkaBrokers, e.KafkaOptions}
	k.look = k.lookAtBrokers
	c := &connectorGiven{given{name: Connector}, e.PostgresDSN, e.Slot}
	c.look = c.lookAtSlot
	s.parts.kafka, s.parts.connector = k, c
	m, err := newMongoGiven(s.options.MongoURI, cmp.Or(e.MongoDatabase, mongoDatabase), true)
	if err != nil {
		return err
	}
	s.parts.mongo, s.parts.mongoKind = m, MongoGiven
	for n, url := range e.ConsumerMetricsURLs {
		made := &consumerGiven{given{name: ConsumerName(n + 1)}, url}
		made.look = made.lookAtMetrics
		s.parts.consumers = append(s.parts.consumers, made)
	}
	for _, name := range s.options.Proxies {
		if s.proxies[name], err = proxy.Attach(e.Toxiproxy, name); err != nil {
			return err
		}
	}
	s.note("the pipeline was there before the lab, which knows nothing of its machines")
	return nil
}
