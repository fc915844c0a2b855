package compose

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/mongodb"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// Database is the PostgreSQL of a Project.
type Database struct {
	*Container
	project *Project
}

// NewDatabase makes the Component, not started.
func NewDatabase(p *Project) *Database {
	d := &Database{project: p}
	d.Container = p.Container(postgres.Name, Postgres,
		func(ctx context.Context, _ *Container) (version string, err error) {
			err = postgres.With(ctx, d.DSN(), func(conn *pgx.Conn) error {
				return conn.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&version)
			})
			return "PostgreSQL " + version, err
		})
	return d
}

// DSN is the superuser's.
func (d *Database) DSN() string { return d.project.PostgresURL(postgres.User) }

// DSNFor is of a role, such as postgres.Generator.
func (d *Database) DSNFor(role string) string { return d.project.PostgresURL(role) }

// Broker is the Kafka of a Project.
type Broker struct {
	*Container
	project *Project
}

// NewBroker makes the Component, not started.
func NewBroker(p *Project) (*Broker, error) {
	version, err := programs.KafkaVersion() // a broker does not tell its version
	if err != nil {
		return nil, err
	}
	b := &Broker{project: p}
	b.Container = p.Container(kafka.Name, Kafka,
		func(ctx context.Context, _ *Container) (string, error) {
			options := append(b.ClientOptions(), kgo.SeedBrokers(p.Address(Kafka)))
			return "Apache Kafka " + version,
				kafka.MakeTopics(ctx, p.options.Partitions, options...)
		})
	return b, nil
}

// Brokers is the address for clients of this machine: consumer and Connect have their own way.
func (b *Broker) Brokers(string) []string { return []string{b.project.Address(Kafka)} }

// ClientOptions are those of the Login.
func (b *Broker) ClientOptions() []kgo.Opt { return b.Login().Options() }

// Login is of all clients.
func (b *Broker) Login() kafka.Login {
	return kafka.Login{User: loginUser, Password: b.project.Secrets[kafkaPassword]}
}

// MetricsURL serves the Prometheus text format.
func (b *Broker) MetricsURL() string { return b.project.MetricsURL(Kafka) }

// Close has nothing to let go of.
func (b *Broker) Close() {}

// Documents is the MongoDB, or the stand-in, of a Project.
type Documents struct {
	*Container
	project *Project
	client  *mongo.Client
}

// NewDocuments makes the Component, not started.
func NewDocuments(p *Project) (*Documents, error) {
	client, err := mongodb.Connect(p.MongoURL())
	if err != nil {
		return nil, err
	}
	d := &Documents{project: p, client: client}
	d.Container = p.Container(mongodb.Name, Mongo, d.takesWrites)
	return d, nil
}

// URI goes to MongoDB directly.
func (d *Documents) URI() string { return d.project.MongoURL() }

// Close lets go of the connections.
func (d *Documents) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	if err := d.client.Disconnect(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("disconnect from MongoDB: %w", err)
	}
	return nil
}

// takesWrites asks whether MongoDB is the primary, for the version.
func (d *Documents) takesWrites(ctx context.Context, _ *Container) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	role, err := mongodb.AskRole(ctx, d.client)
	if err != nil {
		return "", err
	}
	if !role.Primary {
		return "", errors.New("MongoDB is not primary yet")
	}
	version, err := mongodb.AskVersion(ctx, d.client)
	return d.project.MongoKind() + " " + version, err
}
