package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Endpoint says where the parts of an External pipeline are; Options.MongoURI is that of its
// MongoDB.
type Endpoint struct {
	// PostgresDSN is a postgres:// URL. Its role writes the lab's rows, reads pg_replication_slots and
	// calls pg_logical_emit_message, by which the lab sees that everything went through.
	PostgresDSN string
	// WriteTo repeats the host and the database of PostgresDSN, "HOST/DB" or "HOST:PORT/DB": the lab
	// writes to no database that was not named twice.
	WriteTo string
	// Slot is the connector's replication slot; "" is the only active one of the database.
	Slot string
	// KafkaBrokers are addresses, KafkaOptions say how to reach them (TLS, SASL).
	KafkaBrokers []string
	KafkaOptions []kgo.Opt
	// TopicPrefix is Debezium's topic.prefix, Group the consumer's group; "" are the lab's own.
	TopicPrefix, Group string
	// MongoDatabase holds the documents; "" is the lab's own name.
	MongoDatabase string
	// ConsumerMetricsURLs serve the metrics of cdclab's consumer; none is none.
	ConsumerMetricsURLs []string
}

// errGiven refuses to end or break a part.
var errGiven = errors.New("what was given by its address is not the lab's to end or break")

// check refuses an Endpoint that is not whole, and a database that was not named twice.
func (e *Endpoint) check(mongoURI string) error {
	switch {
	case e.PostgresDSN == "":
		return errors.New("an external stack needs the address of its PostgreSQL")
	case len(e.KafkaBrokers) == 0:
		return errors.New("an external stack needs the addresses of its Kafka")
	case mongoURI == "":
		return errors.New("an external stack needs the address of its MongoDB")
	}
	parsed, err := pgx.ParseConfig(e.PostgresDSN)
	if err != nil {
		// The text of the error would hold the DSN, and that perhaps a password.
		return errors.New("the address of the external PostgreSQL cannot be read: want postgres://USER@HOST:PORT/DB")
	}
	for _, other := range parsed.Fallbacks { // also the same host, without TLS
		if other.Host != parsed.Host || other.Port != parsed.Port {
			return fmt.Errorf("the address of the external PostgreSQL has more than one host, %s and %s: the lab writes to one that was named",
				net.JoinHostPort(parsed.Host, fmt.Sprint(parsed.Port)), net.JoinHostPort(other.Host, fmt.Sprint(other.Port)))
		}
	}
	if parsed.Database == "" {
		return errors.New("the address of the external PostgreSQL names no database: want postgres://USER@HOST:PORT/DB")
	}
	short := parsed.Host + "/" + parsed.Database
	long := net.JoinHostPort(parsed.Host, fmt.Sprint(parsed.Port)) + "/" + parsed.Database
	switch e.WriteTo {
	case short, long:
		return nil
	case "":
		return fmt.Errorf("the lab would insert, change and delete rows of its own in database %s: say --yes-write-to %s",
			long, long)
	}
	return fmt.Errorf("asked to write to %s, but the address of PostgreSQL is that of %s", e.WriteTo, long)
}

// given is a part that was there before the lab: it is looked at, and never ended or broken.
type given struct {
	name string
	// look asks it for its version; an error says why it does not serve.
	look func(context.Context) (string, error)

	mu      sync.Mutex
	version string
}

// Name is the Component's name.
func (g *given) Name() string { return g.name }

// Version is what it says of itself; "" before Start.
func (g *given) Version() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.version
}

// Start only looks.
func (g *given) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startGrace)
	defer cancel()
	version, err := g.look(ctx)
	if err != nil {
		return fmt.Errorf("look at the given %s: %w", g.name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.version = version
	return nil
}

// Stop is refused.
func (g *given) Stop(context.Context) error { return fmt.Errorf("stop %s: %w", g.name, errGiven) }

// Kill is refused.
func (g *given) Kill() error { return fmt.Errorf("kill %s: %w", g.name, errGiven) }

// Pause is refused.
func (g *given) Pause() error { return fmt.Errorf("pause %s: %w", g.name, errGiven) }

// Resume is refused.
func (g *given) Resume() error { return fmt.Errorf("resume %s: %w", g.name, errGiven) }

// Health looks again.
func (g *given) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	if _, err := g.look(ctx); err != nil {
		return fmt.Errorf("look at the given %s: %w", g.name, err)
	}
	return nil
}

// PIDs is empty: its processes are not known.
func (g *given) PIDs() []int { return nil }

type postgresGiven struct {
	given
	url string
}

func (p *postgresGiven) dsn() string { return p.url }

// lookAtTables wants the tables that the generator writes.
func lookAtTables(dsn string) func(context.Context) (string, error) {
	return func(ctx context.Context) (version string, err error) {
		err = withPostgres(ctx, dsn, func(conn *pgx.Conn) error {
			var missing []string
			const query = `SELECT current_setting('server_version'), coalesce(array_agg(t ORDER BY t)
				FILTER (WHERE NOT EXISTS (SELECT FROM information_schema.columns c WHERE c.table_schema = 'public'
				AND c.table_name = t AND c.column_name = 'lab_version')), '{}') FROM unnest($1::text[]) t`
			if err := conn.QueryRow(ctx, query, labTables).Scan(&version, &missing); err != nil {
				return err
			}
			if len(missing) > 0 {
				return fmt.Errorf("no table %s in schema public with a column lab_version: the lab writes into tables of its "+
					"own, which stack/postgres/schema.sql makes", strings.Join(missing, ", "))
			}
			return nil
		})
		return "PostgreSQL " + version, err
	}
}

type kafkaGiven struct {
	given
	addresses []string
	options   []kgo.Opt
}

func (k *kafkaGiven) brokers(string) []string  { return k.addresses }
func (k *kafkaGiven) clientOptions() []kgo.Opt { return k.options }
func (k *kafkaGiven) metricsURL() string       { return "" }
func (k *kafkaGiven) close()                   {}

func (k *kafkaGiven) lookAtBrokers(ctx context.Context) (string, error) {
	client, err := kgo.NewClient(append(slices.Clone(k.options), kgo.SeedBrokers(k.addresses...))...)
	if err != nil {
		return "", err
	}
	admin := kadm.NewClient(client)
	defer admin.Close()
	brokers, err := admin.ListBrokers(ctx)
	return fmt.Sprintf("Kafka, %d brokers", len(brokers)), err
}

// connectorGiven is known by its slot only.
type connectorGiven struct {
	given
	dsn, slot string
}

func (c *connectorGiven) lookAtSlot(ctx context.Context) (string, error) {
	var slots []string
	err := withPostgres(ctx, c.dsn, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT coalesce(array_agg(slot_name::text), '{}') FROM pg_replication_slots
			WHERE active AND database = current_database() AND ($1 = '' OR slot_name = $1)`, c.slot).Scan(&slots)
	})
	switch {
	case err != nil:
		return "", err
	case len(slots) == 0 && c.slot != "":
		return "", fmt.Errorf("no connector reads replication slot %s", c.slot)
	case len(slots) == 0:
		return "", errors.New("no connector reads a replication slot of this database")
	case len(slots) > 1:
		return "", fmt.Errorf("which slot is the connector's? %s are read", strings.Join(slots, ", "))
	}
	return "slot " + slots[0], nil
}

func (c *connectorGiven) confirmed(ctx context.Context) (pglogrepl.LSN, error) {
	slot, err := c.lookAtSlot(ctx)
	if err != nil {
		return 0, err
	}
	return slotConfirmed(ctx, c.dsn, strings.TrimPrefix(slot, "slot "))
}

func (c *connectorGiven) metricsURL() string { return "" }
func (c *connectorGiven) close() error       { return nil }

type consumerGiven struct {
	given
	metrics string
}

func (c *consumerGiven) metricsURL() string { return c.metrics }

func (c *consumerGiven) lookAtMetrics(ctx context.Context) (string, error) {
	return "", answers(ctx, c.metrics)
}

// answers wants a page to be there.
func answers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

// prepareGiven takes all parts as they are.
func (s *Stack) prepareGiven(context.Context) error {
	e := s.options.External
	s.parts.postgres = &postgresGiven{given{name: Postgres, look: lookAtTables(e.PostgresDSN)}, e.PostgresDSN}
	k := &kafkaGiven{given{name: Kafka}, e.KafkaBrokers, e.KafkaOptions}
	k.look = k.lookAtBrokers
	c := &connectorGiven{given{name: Connector}, e.PostgresDSN, e.Slot}
	c.look = c.lookAtSlot
	s.parts.kafka, s.parts.connector = k, c
	s.parts.mongo, s.parts.mongoKind = newMongoGiven(s.options.MongoURI, cmp.Or(e.MongoDatabase, mongoDatabase), true), MongoGiven
	for n, url := range e.ConsumerMetricsURLs {
		made := &consumerGiven{given{name: ConsumerName(n + 1)}, url}
		made.look = made.lookAtMetrics
		s.parts.consumers = append(s.parts.consumers, made)
	}
	s.note("the pipeline was there before the lab, which knows nothing of its machines")
	return nil
}
