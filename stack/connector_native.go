package stack

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/stack/connect"
	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

//go:embed kafka/worker.properties
var workerProperties []byte

//go:embed kafka/jmx-worker.yml
var workerRules []byte

//go:embed kafka/log4j2.properties
var workerLog []byte

//go:embed debezium/*.json
var debeziumProfiles embed.FS

const (
	connectHeap = "320m"
	// connectorName is the connector's name in Kafka Connect.
	connectorName = "cdclab"
	// slotName is the replication slot's name in every profile.
	slotName = "cdclab"
	// debeziumClass is the connector's class.
	debeziumClass = "io.debezium.connector.postgresql.PostgresConnector"
	// watchEvery is the time between two looks at a running connector's state.
	watchEvery = time.Second
	// TunedProfile is Debezium as the lab recommends it: stack/README.md gives the reasons.
	TunedProfile = "tuned"
	// WhenNeededProfile is TunedProfile with a connector that reads all rows again where its slot
	// is gone; the task of TunedProfile fails then, and waits for an operator.
	WhenNeededProfile = "tuned-when-needed"
)

// Profiles lists the configurations of Debezium, files of stack/debezium.
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

// readProfile returns the configuration of a connector as Kafka Connect takes it.
func readProfile(name string) (map[string]string, error) {
	if !slices.Contains(Profiles(), name) {
		return nil, fmt.Errorf("no profile %q of Debezium, want one of %s", name,
			strings.Join(Profiles(), ", "))
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
	*process.Child
	sourceTask
	jvm *programs.JVM
	// env fills in the ${env:...} of the worker's and the connector's configuration.
	env     []string
	metrics string
}

// sourceTask is Debezium's connector in a worker of Kafka Connect, wherever the worker runs.
type sourceTask struct {
	config map[string]string
	// dsn is the database for looks at the slot.
	dsn string
	// address is the REST API's.
	address string
	// password is of the REST API's only user, because a connector's configuration makes the worker
	// read files and variables.
	password string
	// mayFail is true while a fault has the task fail.
	mayFail atomic.Bool
}

// MayFail says whether the task may fail: the failure is then no accident, and nobody reports it.
func (d *sourceTask) MayFail(may bool) { d.mayFail.Store(may) }

// restUser is the only user of the worker's REST API.
const restUser = "cdclab"

// sources are the worker's ways to the other parts, each address perhaps a Proxy's.
type sources struct {
	brokers string
	kafka   kafka.Login
	// database is an address, and password the one of postgres.Connector.
	database, password string
	// dsn is a superuser's, for the lab's own looks at the slot.
	dsn string
}

func newDebezium(f *process.Folder, j *programs.JVM, profile string, from sources,
	partitions int) (*debezium, error) {
	config, err := readProfile(profile)
	if err != nil {
		return nil, err
	}
	d := &debezium{
		Child: process.NewChild(Connector, f, syscall.SIGTERM), jvm: j,
		sourceTask: sourceTask{config: config, dsn: from.dsn, password: rand.Text()},
	}
	for _, into := range []*string{&d.address, &d.metrics} {
		port, err := process.FreePort()
		if err != nil {
			return nil, fmt.Errorf("prepare Kafka Connect: %w", err)
		}
		*into = process.Loopback(port)
	}
	host, port, err := net.SplitHostPort(from.database)
	if err != nil {
		return nil, fmt.Errorf("prepare Kafka Connect: %w", err)
	}
	connectHost, _, _ := net.SplitHostPort(d.address)
	d.env = append(from.kafka.Environment(),
		"CDC_KAFKA_BROKERS="+from.brokers, "CDC_KAFKA_PARTITIONS="+strconv.Itoa(partitions),
		"CDC_KAFKA_REPLICAS=1", // there is one broker
		"CDC_CONNECT_ADDRESS="+d.address, "CDC_CONNECT_HOST="+connectHost,
		"CDC_POSTGRES_HOST="+host, "CDC_POSTGRES_PORT="+port,
		"CDC_POSTGRES_USER="+postgres.Connector, "CDC_POSTGRES_PASSWORD="+from.password,
		"CDC_POSTGRES_DATABASE="+postgres.Database,
	)
	return d, nil
}

func (d *sourceTask) rest() connect.Client {
	u := url.URL{Scheme: "http", User: url.UserPassword(restUser, d.password), Host: d.address}
	return connect.Client{URL: u.String()}
}

func (d *debezium) MetricsURL() string { return "http://" + d.metrics + "/metrics" }

// Start starts the worker, gives the connector to a worker without one, and returns when the
// connector streams.
func (d *debezium) Start(ctx context.Context) error {
	files := map[string][]byte{
		"worker.properties": workerProperties, "log4j2.properties": workerLog,
		"jmx-worker.yml": workerRules,
		"connect.users":  []byte(restUser + "=" + d.password + "\n"),
		"connect.login": []byte("KafkaConnect {\n" +
			"  org.apache.kafka.connect.rest.basic.auth.extension." +
			"PropertyFileLoginModule required\n" +
			"  file=\"" + d.Folder.File("connect.users") + "\";\n};\n"),
	}
	if err := d.Folder.WriteFiles(files); err != nil {
		return fmt.Errorf("start connector: %w", err)
	}
	worker := d.jvm.Command(connectHeap, d.Folder.File("log4j2.properties"), d.metrics,
		d.Folder.File("jmx-worker.yml"),
		"org.apache.kafka.connect.cli.ConnectDistributed", d.Folder.File("worker.properties"))
	worker.Args = append([]string{"-Djava.security.auth.login.config=" +
		d.Folder.File("connect.login")}, worker.Args...)
	worker.Env = d.env
	// plugin.path is relative to Dir.
	worker.Dir = d.jvm.Dist
	if err := d.Launch(ctx, worker, d.prepared); err != nil {
		return err
	}
	p := d.Current()
	ctx, cancel := context.WithTimeoutCause(ctx, process.StartGrace,
		fmt.Errorf("%w: %v passed", context.DeadlineExceeded, process.StartGrace))
	defer cancel()
	if err := p.Ready(ctx, d.streams); err != nil {
		return errors.Join(err, p.Kill())
	}
	go d.watch(p.Done, d.Folder.Report)
	return nil
}

// prepared is nil when the worker answers and has the connector.
func (d *debezium) prepared(ctx context.Context) error {
	if err := d.install(ctx); err != nil || d.Version() != "" {
		return err
	}
	version, err := d.askVersion(ctx)
	if err == nil {
		d.SetVersion(version)
	}
	return err
}

// install gives the connector to a worker without one.
func (d *sourceTask) install(ctx context.Context) error {
	_, err := d.rest().Config(ctx, connectorName)
	if errors.Is(err, connect.ErrNoConnector) {
		err = d.rest().Put(ctx, connectorName, d.config)
	}
	return err
}

// askVersion asks the worker for its version and Debezium's.
func (d *sourceTask) askVersion(ctx context.Context) (string, error) {
	worker, err := d.rest().Version(ctx, "")
	if err != nil {
		return "", err
	}
	plugin, err := d.rest().Version(ctx, debeziumClass)
	return "Debezium " + plugin + " on Kafka Connect " + worker, err
}

// streams is nil when the task runs and PostgreSQL sends changes to the connector: the snapshot is
// over.
func (d *sourceTask) streams(ctx context.Context) error {
	if err := d.tasks(ctx); err != nil {
		return err
	}
	var active bool
	err := postgres.With(ctx, d.dsn, func(conn *pgx.Conn) error {
		const query = "SELECT coalesce(bool_or(active), false) FROM pg_replication_slots " +
			"WHERE slot_name = $1"
		return conn.QueryRow(ctx, query, slotName).Scan(&active)
	})
	if err == nil && !active {
		err = fmt.Errorf("slot %s is not streamed from yet", slotName)
	}
	return err
}

func (d *sourceTask) tasks(ctx context.Context) error {
	status, err := d.rest().Status(ctx, connectorName)
	if err != nil {
		return err
	}
	return status.Health()
}

// Health is nil while the connector streams. A task is RUNNING also while it waits to connect to
// PostgreSQL again; after a failed task the error holds Debezium's words.
func (d *debezium) Health(ctx context.Context) error {
	if err := d.Serves(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	return d.streams(ctx)
}

// watch reports a failed task, which Connect does not start again, until the worker has ended.
func (d *sourceTask) watch(ended <-chan struct{}, report func(string)) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		status, err := d.rest().Status(context.Background(), connectorName)
		if err == nil && status.Failed() && !d.mayFail.Load() {
			report(status.Health().Error())
			return
		}
	}
}

// confirmed returns the position up to where Kafka has everything of PostgreSQL's log: Debezium
// confirms every position committed by Connect.
func (d *debezium) confirmed(ctx context.Context) (pglogrepl.LSN, error) {
	if err := d.Health(ctx); err != nil {
		return 0, err
	}
	return slotConfirmed(ctx, d.dsn, slotName)
}

// slotConfirmed returns the position confirmed by a slot's reader. Debezium confirms an event once
// a later event has come, and without a heartbeat there may be none: so each look leaves a message
// of no table in the log.
func slotConfirmed(ctx context.Context, dsn, slot string) (pglogrepl.LSN, error) {
	var text string
	err := postgres.With(ctx, dsn, func(conn *pgx.Conn) error {
		const query = `SELECT confirmed_flush_lsn::text FROM pg_replication_slots,
			pg_logical_emit_message(true, 'cdclab', 'is everything through?') WHERE slot_name = $1`
		return conn.QueryRow(ctx, query, slot).Scan(&text)
	})
	if err != nil {
		return 0, fmt.Errorf("ask PostgreSQL what was confirmed of slot %s: %w", slot, err)
	}
	return pglogrepl.ParseLSN(text)
}

// Snapshot asks Debezium to send the rows of tables ("public.customer") again, in chunks and while
// the connector streams, so that rows from before a table was captured come too. Snapshot returns
// when the wish is in PostgreSQL. The connector must have the signal table of TunedProfile.
func (s *Stack) Snapshot(ctx context.Context, tables ...string) error {
	if s.task() == nil {
		return fmt.Errorf("snapshot %s: the %s stack has no Debezium", strings.Join(tables, ", "),
			s.options.Kind)
	}
	wish, err := json.Marshal(map[string]any{"data-collections": tables, "type": "incremental"})
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", strings.Join(tables, ", "), err)
	}
	err = postgres.With(ctx, s.parts.postgres.DSN(), func(conn *pgx.Conn) error {
		const insert = "INSERT INTO debezium.signal " +
			"VALUES (gen_random_uuid(), 'execute-snapshot', $1)"
		_, err := conn.Exec(ctx, insert, string(wish))
		return err
	})
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", strings.Join(tables, ", "), err)
	}
	return nil
}

// close has nothing to let go of.
func (d *sourceTask) close() error { return nil }

// SourceConnector is the name of Debezium's connector in a Native Stack's worker.
const SourceConnector = connectorName

// Slot is the replication slot of the source connector, in every Stack that the lab brings up.
const Slot = slotName

// task is Debezium's connector, nil in a Stack without Debezium.
func (s *Stack) task() *sourceTask {
	switch c := s.parts.connector.(type) {
	case *debezium:
		return &c.sourceTask
	case *connectContainer:
		return &c.sourceTask
	}
	return nil
}

// Worker returns the client of the Kafka Connect of a Native or Compose Stack, in which Debezium
// runs: other connectors can be put beside Debezium. The worker is the Component Connector.
func (s *Stack) Worker() (connect.Client, error) {
	task := s.task()
	if task == nil {
		return connect.Client{}, fmt.Errorf("the %s stack has no Kafka Connect", s.options.Kind)
	}
	return task.rest(), nil
}
