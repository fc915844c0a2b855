// Package stack brings a whole pipeline up on one machine, breaks the pipeline on request and takes
// it down without a trace: PostgreSQL, Kafka, a source connector, MongoDB and the consumer, each a
// Component. The package makes no load, checks no data and measures nothing. Start reading at Up,
// then kinds.go and embedded.go, native.go and external.go. Each server has a room of its own:
// postgres, kafka, mongodb. The package programs finds the servers' programs, and process starts
// them and cleans up after them.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cdclab/cdclab/stack/alerts"
	"github.com/cdclab/cdclab/stack/connect"
	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/observers"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/proxy"
)

// downLimit bounds the taking down of a Stack after a failed Up.
const downLimit = 45 * time.Second

// Kinds of Stacks.
const (
	// Embedded has doubles of Kafka and of the connector inside the lab's process: no JVM.
	Embedded = "embedded"
	// Native has Apache Kafka, Kafka Connect and Debezium as processes of this machine.
	Native = "native"
	// Compose has everything in containers of a Docker engine, by stack/compose/compose.yaml.
	Compose = "compose"
	// External is a pipeline that was there before the lab, which brings nothing up.
	External = "external"
)

// Started are the kinds of Stacks whose parts the lab starts, and therefore may break.
var Started = []string{Embedded, Native, Compose}

// Options say which Stack to bring up; the zero value of each is a sound choice, but for
// ConsumerPath.
type Options struct {
	// Kind is Embedded, which "" means too, Native, Compose or External.
	Kind string
	// External is where the parts of an External Stack are.
	External Endpoint
	// Tree is the root of the source tree, of which a Compose Stack's containers mount files, and
	// Observe reads files.
	Tree string
	// LocalImages makes a Compose Stack take the images of stack/compose/local.
	LocalImages bool
	// Profile is Debezium's configuration in a Native or Compose Stack, one of Profiles; "" is
	// TunedProfile.
	Profile string
	// MongoURI is a MongoDB to use; "" finds one, see MongoKind.
	MongoURI string
	// MongoUnsafe leaves --sync-on-commit out for a stand-in. Then a killed MongoDB loses
	// acknowledged writes: a planted bug for tests of the table check, for nothing else.
	MongoUnsafe bool
	// PostgresDir is the folder holding bin/postgres. "" is PATH when new enough, else fetched
	// binaries, else an older PostgreSQL on PATH with a note.
	PostgresDir string
	// PostgresPort is where PostgreSQL listens; 0 is a free port.
	PostgresPort int
	// Disks names the parts whose data is on a Disk of the part's own, which a fault can fill:
	// Postgres in an Embedded or Native Stack, and Kafka in a Native Stack. See
	// process.DiskImpossible.
	Disks []string
	// ConsumerPath is the consumer program, ConsumerArgs are flags for it beyond the Stack's own.
	ConsumerPath string
	ConsumerArgs []string
	// Consumers is the number of consumers in one group; 0 is 1.
	Consumers int
	// CacheDir keeps installed programs; "" is CDCLAB_CACHE, else cdclab in the user's cache
	// folder.
	CacheDir string
	// Observe runs a Prometheus with the rules of the alerts at the Pace, an Alertmanager and a
	// collector beside an Embedded or Native Stack, from the files of the Tree.
	Observe bool
	Pace    alerts.Pace
	// Proxies are the names of the Proxies to put in, such as proxy.ConsumerMongo.
	Proxies []string
	// Partitions of each topic; 0 is 4, or 1 with the slow stand-in for MongoDB, which keeps up
	// only with few and large batches.
	Partitions int
	// Keep leaves the data folder, and the database of a given MongoDB, after Down.
	Keep bool
	// Log receives, in Down, the ends of the children's logs, which go with the data folder; also
	// when Up fails. Log may be nil.
	Log io.Writer
	// Say receives a line of progress for a person; Say may be nil.
	Say func(string)
}

func (o Options) withDefaults() (Options, error) {
	if o.Kind == "" {
		o.Kind = Embedded
	}
	kind, ok := kinds[o.Kind]
	if !ok {
		return o, fmt.Errorf("no kind of stack %q, want one of %s", o.Kind,
			strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	for _, name := range o.Proxies {
		if err := knownProxy(name); err != nil {
			return o, err
		}
		if !slices.Contains(kind.proxies, name) {
			return o, fmt.Errorf("no proxy %s in the %s stack: it has %s", name, o.Kind,
				strings.Join(kind.proxies, ", "))
		}
	}
	hasDebezium := o.Kind == Native || o.Kind == Compose
	if !hasDebezium && o.Profile != "" {
		return o, fmt.Errorf("profile %s is of Debezium, which the %s stack does not have",
			o.Profile, o.Kind)
	}
	if hasDebezium && o.Profile == "" {
		o.Profile = TunedProfile
	}
	if o.Observe && o.Kind != Embedded && o.Kind != Native {
		return o, fmt.Errorf("--observe is of the embedded and native stacks, not of %s", o.Kind)
	}
	if o.Partitions < 0 {
		return o, fmt.Errorf("%d partitions, want at least 1", o.Partitions)
	}
	if o.PostgresPort < 0 || o.PostgresPort > mostPort {
		return o, fmt.Errorf("port %d for PostgreSQL (--postgres-port), want 1 to %d, "+
			"or 0 for a free one", o.PostgresPort, mostPort)
	}
	if o.Consumers < 0 || o.Consumers > MaxConsumers {
		return o, fmt.Errorf("%d consumers, want 1 to %d", o.Consumers, MaxConsumers)
	}
	o.Consumers = max(1, o.Consumers)
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	if o.Kind == External {
		if len(o.Proxies) > 0 && o.External.Toxiproxy == "" {
			return o, fmt.Errorf("proxy %s: say where the external pipeline's Toxiproxy is: "+
				"--toxiproxy host:port", o.Proxies[0])
		}
		return o, o.External.check(o.MongoURI)
	}
	var err error
	if o.ConsumerPath, err = findConsumer(o.ConsumerPath); err != nil {
		return o, err
	}
	if o.CacheDir, err = programs.CacheDir(o.CacheDir); err != nil {
		return o, err
	}
	if o.Observe {
		_, err = observers.Find(o.CacheDir)
	}
	return o, err
}

const mostPort = 1<<16 - 1

// MaxConsumers is how many consumers one Stack runs at most.
const MaxConsumers = 8

// Endpoints are the addresses of a Stack's parts. A consumer's changes with each of its starts: ask
// again after a start.
type Endpoints struct {
	// PostgresDSN is a postgres:// URL of a superuser.
	PostgresDSN string
	// GeneratorDSN is of a role that writes the load's rows and CheckDSN of a role that reads the
	// tables; of an External Stack both are PostgresDSN.
	GeneratorDSN, CheckDSN string
	// MongoURI goes to MongoDB directly, never through a Proxy.
	MongoURI      string
	MongoDatabase string
	KafkaBrokers  []string
	// KafkaLogin is of kafka.Mechanism; the zero value is of a Kafka that asks for none, and of an
	// External Stack's.
	KafkaLogin kafka.Login
	// ConsumerMetricsURLs, one for each consumer, ConnectorMetricsURL and KafkaMetricsURL serve the
	// Prometheus text format; "" is none.
	ConsumerMetricsURLs []string
	ConnectorMetricsURL string
	KafkaMetricsURL     string
	// ConnectURL is the REST API of the Kafka Connect of a Native or Compose Stack, with user and
	// password; "" is none.
	ConnectURL string
}

// Stack is a running pipeline. Its methods are safe for concurrent use.
type Stack struct {
	options Options
	folder  *process.Folder
	parts   parts
	proxies map[string]*proxy.Proxy
	// observers is nil unless Options.Observe.
	observers *observers.Observers

	downOnce sync.Once
	downErr  error
}

// Up brings a Stack up and returns when every Component serves. Before the start, Up cleans up
// after labs that died. On an error, and when ctx ends, every started part is gone again.
func Up(ctx context.Context, options Options) (*Stack, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := process.CleanUp(process.FolderBases(), options.Say); err != nil {
		// The leftovers of another lab are not in the way of this lab.
		options.Say(err.Error())
	}
	f, err := process.NewFolder()
	if err != nil {
		return nil, err
	}
	return upIn(ctx, f, options)
}

// upIn brings a Stack up in its folder; on an error the folder is gone.
func upIn(ctx context.Context, f *process.Folder, options Options) (*Stack, error) {
	f.Keep = options.Keep
	s := &Stack{options: options, folder: f, proxies: map[string]*proxy.Proxy{}}
	if err := s.start(ctx); err != nil {
		downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downLimit)
		defer cancel()
		return nil, errors.Join(err, s.Down(downCtx))
	}
	return s, nil
}

// Down stops every Component in order, from the consumer back, and removes the data folder. A
// Component slower than the limit is killed, with an error; nothing is left running. A second call
// returns the first call's error.
func (s *Stack) Down(ctx context.Context) error {
	s.downOnce.Do(func() { s.downErr = s.down(ctx) })
	return s.downErr
}

func (s *Stack) down(ctx context.Context) error {
	// The observers end first: the end of the parts is no reason for an alert.
	failed := []error{s.observers.Stop(ctx)}
	for _, c := range slices.Backward(s.Components()) {
		if err := c.Stop(ctx); err != nil && !errors.Is(err, errGiven) {
			failed = append(failed, err)
		}
	}
	for _, p := range s.proxies {
		p.Stop()
	}
	failed = append(failed, s.parts.close(ctx, s.options.Keep), s.folder.CopyLogs(s.options.Log))
	failed = append(failed, s.folder.Close(s.options.Keep))
	if s.options.Keep {
		s.options.Say("kept: " + s.folder.Path)
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("take the stack down: %w", err)
	}
	return nil
}

// Observers are the programs beside the Stack; nil unless Options.Observe.
func (s *Stack) Observers() *observers.Observers { return s.observers }

// Start starts a further child, such as the generator of the load. The child ends with the Stack at
// the latest, and after a dead lab with the next.
func (s *Stack) Start(child process.Command) (*process.Process, error) {
	return s.folder.Start(child)
}

// Component returns the named Component; an unknown name is an error listing the known names.
func (s *Stack) Component(name string) (Component, error) {
	var names []string
	for _, c := range s.Components() {
		if c.Name() == name {
			return c, nil
		}
		names = append(names, c.Name())
	}
	return nil, fmt.Errorf("no component %q, want one of %s", name, strings.Join(names, ", "))
}

// Components are all parts in order of need: PostgreSQL, Kafka, MongoDB, the connector, the
// consumers.
func (s *Stack) Components() []Component { return s.parts.components() }

// Proxy returns the named Proxy, which must be in Options.Proxies.
func (s *Stack) Proxy(name string) (*proxy.Proxy, error) {
	if err := knownProxy(name); err != nil {
		return nil, err
	}
	p, ok := s.proxies[name]
	if !ok {
		return nil, fmt.Errorf("proxy %s was not asked for when the stack was brought up", name)
	}
	return p, nil
}

// Died receives a sentence for each child process ended without the Stack's doing.
func (s *Stack) Died() <-chan string { return s.folder.Deaths }

// Versions are the Components' Versions by name; a part without one is left out.
func (s *Stack) Versions() map[string]string {
	versions := map[string]string{}
	for _, c := range s.Components() {
		if v := c.Version(); v != "" {
			versions[c.Name()] = v
		}
	}
	return versions
}

// Partitions is the number of partitions of each topic.
func (s *Stack) Partitions() int { return s.options.Partitions }

// Profile is Debezium's configuration, "" in a Stack without Debezium.
func (s *Stack) Profile() string { return s.options.Profile }

// Dir is the data folder with the children's logs. Down removes Dir unless Options.Keep.
func (s *Stack) Dir() string { return s.folder.Path }

// Tmpfs is true if the data of the parts is in memory: then a sync costs nothing. The data of an
// External pipeline, and of containers, is elsewhere, whatever the lab's own folder is on.
func (s *Stack) Tmpfs() bool {
	return s.folder.Tmpfs && s.options.Kind != External && s.options.Kind != Compose
}

func knownProxy(name string) error {
	if !slices.Contains(proxy.Names(), name) {
		return fmt.Errorf("no proxy %q, want one of %s", name, strings.Join(proxy.Names(), ", "))
	}
	return nil
}

// ConnectorHealth asks the connector of a held Stack: nil while the connector runs, else the
// connector's words about itself. Of an External connector only the slot is known, and the answer
// is nil.
func (e Endpoints) ConnectorHealth(ctx context.Context) error {
	switch {
	case e.ConnectURL != "":
		status, err := connect.Client{URL: e.ConnectURL}.Status(ctx, connectorName)
		if err != nil {
			return err
		}
		return status.Health()
	case e.ConnectorMetricsURL != "":
		return process.Answers(ctx, e.ConnectorMetricsURL)
	}
	return nil
}

// Health looks at all Components at once: for each its error, nil when the Component serves. A look
// takes at most some seconds.
func (s *Stack) Health(ctx context.Context) map[string]error {
	var mu sync.Mutex
	health := map[string]error{}
	var looks sync.WaitGroup
	for _, c := range s.Components() {
		looks.Go(func() {
			err := c.Health(ctx)
			mu.Lock()
			defer mu.Unlock()
			health[c.Name()] = err
		})
	}
	looks.Wait()
	return health
}
