package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
)

// given is a part that was there before the lab: looked at, and never ended or broken.
type given struct {
	name string
	// look asks the part for its version; an error says why the part does not serve.
	look func(context.Context) (string, error)

	mu      sync.Mutex
	version string
}

// Name is the Component's name.
func (g *given) Name() string { return g.name }

// Version is how the part names itself; "" before Start.
func (g *given) Version() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.version
}

// Start only looks.
func (g *given) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, process.StartGrace)
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
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	if _, err := g.look(ctx); err != nil {
		return fmt.Errorf("look at the given %s: %w", g.name, err)
	}
	return nil
}

// PIDs is empty: the part's processes are not known.
func (g *given) PIDs() []int { return nil }

type postgresGiven struct {
	given
	url string
}

func (p *postgresGiven) DSN() string { return p.url }

// DSNFor is the URL as given: its role is the person's choice.
func (p *postgresGiven) DSNFor(string) string { return p.url }

// lookAtTables wants the server that was named, and the tables of the generator there.
func (e *Endpoint) lookAtTables(ctx context.Context) (version string, err error) {
	err = postgres.With(ctx, e.PostgresDSN, func(conn *pgx.Conn) error {
		if err := e.checkServer(ctx, conn); err != nil {
			return err
		}
		var missing []string
		const query = `SELECT current_setting('server_version'), ` +
			`coalesce(array_agg(t ORDER BY t)
			FILTER (WHERE NOT EXISTS (SELECT FROM information_schema.columns c ` +
			`WHERE c.table_schema = 'public'
			AND c.table_name = t AND c.column_name = 'lab_version')), '{}') ` +
			`FROM unnest($1::text[]) t`
		if err := conn.QueryRow(ctx, query, kafka.Tables).Scan(&version, &missing); err != nil {
			return err
		}
		if len(missing) > 0 {
			return fmt.Errorf("no table %s in schema public with a column lab_version: "+
				"the lab writes into tables of its own, which stack/postgres/schema.sql makes",
				strings.Join(missing, ", "))
		}
		return nil
	})
	return "PostgreSQL " + version, err
}

type kafkaGiven struct {
	given
	addresses []string
	options   []kgo.Opt
}

func (k *kafkaGiven) Brokers(string) []string { return k.addresses }

func (k *kafkaGiven) ClientOptions() []kgo.Opt { return k.options }

func (k *kafkaGiven) Login() kafka.Login { return kafka.Login{} }

func (k *kafkaGiven) MetricsURL() string { return "" }

func (k *kafkaGiven) Close() {}

func (k *kafkaGiven) lookAtBrokers(ctx context.Context) (string, error) {
	client, err := kgo.NewClient(append(slices.Clone(k.options),
		kgo.SeedBrokers(k.addresses...))...)
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
	err := postgres.With(ctx, c.dsn, func(conn *pgx.Conn) error {
		const query = `SELECT coalesce(array_agg(slot_name::text), '{}') FROM pg_replication_slots
			WHERE active AND database = current_database() AND ($1 = '' OR slot_name = $1)`
		return conn.QueryRow(ctx, query, c.slot).Scan(&slots)
	})
	switch {
	case err != nil:
		return "", err
	case len(slots) == 0 && c.slot != "":
		return "", fmt.Errorf("no connector reads replication slot %s", c.slot)
	case len(slots) == 0:
		return "", errors.New("no connector reads a replication slot of this database")
	case len(slots) > 1:
		return "", fmt.Errorf("which slot is the connector's? %s are read",
			strings.Join(slots, ", "))
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

func (c *connectorGiven) MetricsURL() string { return "" }

func (c *connectorGiven) close() error { return nil }

type consumerGiven struct {
	given
	metrics string
}

func (c *consumerGiven) MetricsURL() string { return c.metrics }

func (c *consumerGiven) lookAtMetrics(ctx context.Context) (string, error) {
	return "", process.Answers(ctx, c.metrics)
}

// mongoGiven is a server that was there before the Stack: Options.MongoURI. The Stack works in a
// database of its own, which Down drops: documents of an earlier Run would be taken for this Run's.
// Only an External Stack's database belongs to the pipeline, and stays.
type mongoGiven struct {
	given
	url      string
	database string
	keep     bool
	client   *mongo.Client
}

// newMongoGiven takes the name of the database; with keep, close leaves it.
func newMongoGiven(uri, database string, keep bool) (*mongoGiven, error) {
	client, err := mongodb.Connect(uri)
	if err != nil {
		return nil, fmt.Errorf("prepare MongoDB: %w", err)
	}
	m := &mongoGiven{given: given{name: Mongo}, url: uri, database: database, keep: keep,
		client: client}
	m.look = func(ctx context.Context) (string, error) {
		version, err := mongodb.AskVersion(ctx, client)
		return MongoGiven + " " + version, err
	}
	return m, nil
}

// freshDatabase returns a name never used before.
func freshDatabase() string {
	unique := make([]byte, 6)
	rand.Read(unique)
	return "cdclab_" + hex.EncodeToString(unique)
}

func (m *mongoGiven) URI() string { return m.url }

// Close drops the Stack's database, unless kept or never reached, and disconnects.
func (m *mongoGiven) Close(ctx context.Context) error {
	var dropped error
	if !m.keep && m.Version() != "" {
		dropped = m.client.Database(m.database).Drop(ctx)
	}
	err := m.client.Disconnect(ctx)
	if errors.Is(err, mongo.ErrClientDisconnected) {
		err = nil
	}
	if err := errors.Join(dropped, err); err != nil {
		return fmt.Errorf("drop database %s of the given MongoDB: %w", m.database, err)
	}
	return nil
}
