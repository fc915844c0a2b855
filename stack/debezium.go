package stack

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

//go:embed kafka/worker.properties
var workerProperties []byte

//go:embed kafka/jmx-worker.yml
var workerRules []byte

//go:embed debezium/*.json
var debeziumProfiles embed.FS

const (
	connectHeap = "320m"
	// connectorName is the connector's in Kafka Connect.
	connectorName = "cdclab"
	// slotName is the replication slot's in every profile.
	slotName = "cdclab"
	// debeziumClass is the connector's class.
	debeziumClass = "io.debezium.connector.postgresql.PostgresConnector"
	// watchEvery is how often a running connector's state is looked at.
	watchEvery = time.Second
	// TunedProfile is Debezium as the lab recommends it: stack/README.md gives the reasons.
	TunedProfile = "tuned"
)

// Profiles are the configurations of Debezium that there are, files of stack/debezium.
func Profiles() []string {
	files, err := debeziumProfiles.ReadDir("debezium")
	if err != nil {
		return nil
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(file.Name(), ".json"))
	}
	return names
}

// readProfile is the configuration of a connector as Kafka Connect takes it.
func readProfile(name string) (map[string]string, error) {
	if !slices.Contains(Profiles(), name) {
		return nil, fmt.Errorf("no profile %q of Debezium, want one of %s", name, strings.Join(Profiles(), ", "))
	}
	text, err := debeziumProfiles.ReadFile("debezium/" + name + ".json")
	if err != nil {
		return nil, err
	}
	var config map[string]string
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("read profile %s of Debezium: %w", name, err)
	}
	return config, nil
}

// debezium is a worker of Kafka Connect with Debezium's connector in it.
type debezium struct {
	child
	jvm    *jvm
	config map[string]string
	// env fills in the ${env:...} of the worker's and the connector's configuration.
	env []string
	// dsn is where the slot is looked at.
	dsn              string
	address, metrics string

	// version is guarded by child.mu.
	version string
}

// newDebezium takes the addresses that the worker uses, each perhaps a Proxy's.
func newDebezium(f *folder, j *jvm, profile string, kafka, postgres, dsn string, partitions int) (*debezium, error) {
	config, err := readProfile(profile)
	if err != nil {
		return nil, err
	}
	d := &debezium{
		child: child{name: Connector, folder: f, stopSignal: syscall.SIGTERM}, jvm: j, config: config, dsn: dsn,
	}
	for _, into := range []*string{&d.address, &d.metrics} {
		port, err := freePort()
		if err != nil {
			return nil, fmt.Errorf("prepare Kafka Connect: %w", err)
		}
		*into = loopback(port)
	}
	host, port, err := net.SplitHostPort(postgres)
	if err != nil {
		return nil, fmt.Errorf("prepare Kafka Connect: %w", err)
	}
	connectHost, _, _ := net.SplitHostPort(d.address)
	d.env = []string{
		"CDC_KAFKA_BROKERS=" + kafka, "CDC_KAFKA_PARTITIONS=" + strconv.Itoa(partitions), "CDC_KAFKA_REPLICAS=" + replicas,
		"CDC_CONNECT_ADDRESS=" + d.address, "CDC_CONNECT_HOST=" + connectHost,
		"CDC_POSTGRES_HOST=" + host, "CDC_POSTGRES_PORT=" + port, "CDC_POSTGRES_USER=" + postgresUser,
		// Debezium wants one; the server asks for none.
		"CDC_POSTGRES_PASSWORD=" + postgresUser, "CDC_POSTGRES_DATABASE=" + postgresDatabase,
	}
	return d, nil
}

func (d *debezium) rest() Connect { return Connect{URL: "http://" + d.address} }

func (d *debezium) metricsURL() string { return "http://" + d.metrics + "/metrics" }

// Version is what Connect says of both; "" before the first Start.
func (d *debezium) Version() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.version
}

// Start starts the worker, gives it the connector if it has none yet, and returns when that streams.
func (d *debezium) Start(ctx context.Context) error {
	files := map[string][]byte{
		"worker.properties": workerProperties, "log4j2.properties": log4jProperties, "jmx-worker.yml": workerRules,
	}
	if err := d.folder.writeAll(files); err != nil {
		return fmt.Errorf("start connector: %w", err)
	}
	worker := d.jvm.command(connectHeap, d.folder.file("log4j2.properties"), d.metrics, d.folder.file("jmx-worker.yml"),
		"org.apache.kafka.connect.cli.ConnectDistributed", d.folder.file("worker.properties"))
	worker.env = d.env
	// plugin.path is relative to it.
	worker.dir = d.jvm.dist
	if err := d.run(ctx, worker, d.prepared); err != nil {
		return err
	}
	p := d.get()
	ctx, cancel := context.WithTimeoutCause(ctx, startGrace,
		fmt.Errorf("%w: %v passed", context.DeadlineExceeded, startGrace))
	defer cancel()
	if err := p.ready(ctx, d.streams); err != nil {
		return errors.Join(err, p.kill())
	}
	go d.watch(p)
	return nil
}

// prepared is nil when the worker answers and has the connector.
func (d *debezium) prepared(ctx context.Context) error {
	rest := d.rest()
	_, err := rest.Config(ctx, connectorName)
	if errors.Is(err, errNoConnector) {
		err = rest.Put(ctx, connectorName, d.config)
	}
	if err != nil || d.Version() != "" {
		return err
	}
	worker, err := rest.version(ctx, "")
	if err != nil {
		return err
	}
	plugin, err := rest.version(ctx, debeziumClass)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version = "Debezium " + plugin + " on Kafka Connect " + worker
	return nil
}

// streams is nil when the task runs and PostgreSQL sends it changes: the snapshot is over.
func (d *debezium) streams(ctx context.Context) error {
	if err := d.tasks(ctx); err != nil {
		return err
	}
	var active bool
	err := withPostgres(ctx, d.dsn, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT coalesce(bool_or(active), false) FROM pg_replication_slots WHERE slot_name = $1",
			slotName).Scan(&active)
	})
	if err == nil && !active {
		err = fmt.Errorf("slot %s is not streamed from yet", slotName)
	}
	return err
}

func (d *debezium) tasks(ctx context.Context) error {
	status, err := d.rest().Status(ctx, connectorName)
	if err != nil {
		return err
	}
	return status.Health()
}

// Health is nil while it streams. A task is RUNNING also while it waits to connect to PostgreSQL again;
// of one that failed the error is what Debezium said.
func (d *debezium) Health(ctx context.Context) error {
	if err := d.serves(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	return d.streams(ctx)
}

// watch reports a task that failed, which Connect does not start again, until p ends.
func (d *debezium) watch(p *process) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
		status, err := d.rest().Status(context.Background(), connectorName)
		if err == nil && status.failed() {
			d.folder.report(status.Health().Error())
			return
		}
	}
}

// confirmed is up to where Kafka has everything of PostgreSQL's log: Debezium confirms what Connect
// has committed.
func (d *debezium) confirmed(ctx context.Context) (pglogrepl.LSN, error) {
	if err := d.Health(ctx); err != nil {
		return 0, err
	}
	return slotConfirmed(ctx, d.dsn, slotName)
}

// slotConfirmed is what a slot's reader has confirmed. Debezium confirms an event once it has seen a
// later one, and without a heartbeat there may be none: so each look leaves a message in the log, which
// is of no table.
func slotConfirmed(ctx context.Context, dsn, slot string) (pglogrepl.LSN, error) {
	var text string
	err := withPostgres(ctx, dsn, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT confirmed_flush_lsn::text FROM pg_replication_slots,
			pg_logical_emit_message(true, 'cdclab', 'is everything through?') WHERE slot_name = $1`, slot).Scan(&text)
	})
	if err != nil {
		return 0, fmt.Errorf("ask PostgreSQL what was confirmed of slot %s: %w", slot, err)
	}
	return pglogrepl.ParseLSN(text)
}

// Snapshot asks Debezium to send the rows of tables ("public.customer") again, in chunks and while it
// streams; rows from before a table was captured come that way. It returns when the wish is in
// PostgreSQL. The connector must have the signal table of TunedProfile.
func (s *Stack) Snapshot(ctx context.Context, tables ...string) error {
	if _, ok := s.parts.connector.(*debezium); !ok {
		return fmt.Errorf("snapshot %s: the %s stack has no Debezium", strings.Join(tables, ", "), s.options.Kind)
	}
	wish, err := json.Marshal(map[string]any{"data-collections": tables, "type": "incremental"})
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", strings.Join(tables, ", "), err)
	}
	err = withPostgres(ctx, s.parts.postgres.dsn(), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "INSERT INTO debezium.signal VALUES (gen_random_uuid(), 'execute-snapshot', $1)", string(wish))
		return err
	})
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", strings.Join(tables, ", "), err)
	}
	return nil
}

// close has nothing to let go of.
func (d *debezium) close() error { return nil }
