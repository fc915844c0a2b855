// Package stack brings a whole pipeline up on one machine, breaks it on request and takes it down
// without a trace: PostgreSQL, Kafka, a source connector, MongoDB and the consumer, each a
// Component. It makes no load, checks no data and measures nothing. Start reading at Up, then
// parts.go and its kinds, embedded.go and native.go; a part that is a child process is in process.go and child.go, and what outlives a
// killed lab in cleanup.go.
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
)

// downLimit bounds the taking down of a Stack that could not be brought up.
const downLimit = 45 * time.Second

// Kinds of Stacks.
const (
	// Embedded has doubles of Kafka and of the connector inside the lab's process: no JVM.
	Embedded = "embedded"
	// Native has Apache Kafka, Kafka Connect and Debezium as processes of this machine.
	Native = "native"
	// External is a pipeline that was there before the lab, which brings nothing up.
	External = "external"
)

// Options say which Stack to bring up; the zero value of each is a sound choice, but for
// ConsumerPath.
type Options struct {
	// Kind is Embedded, which "" means too, Native or External.
	Kind string
	// External is where the parts of an External Stack are.
	External Endpoint
	// Profile is Debezium's configuration in a Native Stack, one of Profiles; "" is TunedProfile.
	Profile string
	// MongoURI is a MongoDB to use; "" finds one, see MongoKind.
	MongoURI string
	// MongoUnsafe leaves --sync-on-commit out for a stand-in. Then a killed MongoDB loses writes it
	// had acknowledged: a planted bug for tests of the table check, for nothing else.
	MongoUnsafe bool
	// PostgresDir is the folder holding bin/postgres. "" is PATH when that is new enough, else
	// binaries are fetched, else an older one on PATH with a note.
	PostgresDir string
	// PostgresPort is where PostgreSQL listens; 0 is a free port.
	PostgresPort int
	// ConsumerPath is the consumer program, ConsumerArgs are flags for it beyond the Stack's own.
	ConsumerPath string
	ConsumerArgs []string
	// Consumers is how many of them share one group; 0 is 1.
	Consumers int
	// CacheDir keeps programs that were installed; "" is CDCLAB_CACHE, else cdclab in the user's
	// cache folder.
	CacheDir string
	// Proxies are those to put in, such as ConsumerMongo.
	Proxies []string
	// Partitions of each topic; 0 is 4, or 1 with the slow stand-in for MongoDB, which keeps up only
	// with few and large batches.
	Partitions int
	// Keep leaves the data folder, and the database of a given MongoDB, after Down.
	Keep bool
	// Log receives, in Down, the ends of the children's logs, which go with the data folder; also
	// when Up fails. It may be nil.
	Log io.Writer
	// Say receives a line of progress for a person; it may be nil.
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
			return o, fmt.Errorf("no proxy %s in the %s stack: it has %s", name, o.Kind, strings.Join(kind.proxies, ", "))
		}
	}
	if o.Kind != Native && o.Profile != "" {
		return o, fmt.Errorf("profile %s is of Debezium, which the %s stack does not have", o.Profile, o.Kind)
	}
	if o.Kind == Native && o.Profile == "" {
		o.Profile = TunedProfile
	}
	if o.Partitions < 0 {
		return o, fmt.Errorf("%d partitions, want at least 1", o.Partitions)
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
		return o, o.External.check(o.MongoURI)
	}
	var err error
	if o.ConsumerPath, err = findConsumer(o.ConsumerPath); err != nil {
		return o, err
	}
	if o.CacheDir, err = CacheDir(o.CacheDir); err != nil {
		return o, err
	}
	return o, nil
}

// MaxConsumers is how many consumers one Stack runs at most.
const MaxConsumers = 8

// Endpoints are where the parts of a Stack are reached. A consumer's changes with each of its
// starts: ask again after one.
type Endpoints struct {
	// PostgresDSN is a postgres:// URL of a superuser.
	PostgresDSN string
	// MongoURI goes to MongoDB directly, never through a Proxy.
	MongoURI      string
	MongoDatabase string
	KafkaBrokers  []string
	// ConsumerMetricsURLs, one for each consumer, ConnectorMetricsURL and KafkaMetricsURL serve the
	// Prometheus text format; "" is none.
	ConsumerMetricsURLs []string
	ConnectorMetricsURL string
	KafkaMetricsURL     string
	// ConnectURL is the REST API of a Native Stack's Kafka Connect; "" is none.
	ConnectURL string
}

// Stack is a pipeline that is up. Its methods are safe for concurrent use.
type Stack struct {
	options Options
	folder  *folder
	parts   parts
	proxies map[string]*Proxy

	downOnce sync.Once
	downErr  error
}

// Up brings a Stack up and returns when every Component serves. Before that it cleans up after labs
// that died. On an error, and when ctx ends, everything that was started is gone again.
func Up(ctx context.Context, options Options) (*Stack, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := cleanUp(folderBases(), options.Say); err != nil {
		// What another lab left is not in the way of this one.
		options.Say(err.Error())
	}
	f, err := makeFolder()
	if err != nil {
		return nil, err
	}
	return upIn(ctx, f, options)
}

// upIn brings a Stack up in its folder; on an error the folder is gone.
func upIn(ctx context.Context, f *folder, options Options) (*Stack, error) {
	s := &Stack{options: options, folder: f, proxies: map[string]*Proxy{}}
	if err := s.start(ctx); err != nil {
		downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downLimit)
		defer cancel()
		return nil, errors.Join(err, s.Down(downCtx))
	}
	return s, nil
}

// Down stops every Component in order, from the consumer back, and removes the data folder. A
// Component that does not stop in time is killed, and that is an error; nothing is left running. A
// second call returns what the first did.
func (s *Stack) Down(ctx context.Context) error {
	s.downOnce.Do(func() { s.downErr = s.down(ctx) })
	return s.downErr
}

func (s *Stack) down(ctx context.Context) error {
	var failed []error
	for _, c := range slices.Backward(s.Components()) {
		if err := c.Stop(ctx); err != nil && !errors.Is(err, errGiven) {
			failed = append(failed, err)
		}
	}
	for _, p := range s.proxies {
		p.stop()
	}
	failed = append(failed, s.parts.close(ctx), s.folder.copyLogs(s.options.Log))
	failed = append(failed, s.folder.close(s.options.Keep))
	if s.options.Keep {
		s.options.Say("kept: " + s.folder.path)
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("take the stack down: %w", err)
	}
	return nil
}

// Component is the one of that name; an unknown name is an error that lists the known ones.
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

// Components are all of them, each after those it needs: PostgreSQL, Kafka, MongoDB, the connector,
// the consumers.
func (s *Stack) Components() []Component { return s.parts.components() }

// Proxy is the one of that name, which must be in Options.Proxies.
func (s *Stack) Proxy(name string) (*Proxy, error) {
	if err := knownProxy(name); err != nil {
		return nil, err
	}
	p, ok := s.proxies[name]
	if !ok {
		return nil, fmt.Errorf("proxy %s was not asked for when the stack was brought up", name)
	}
	return p, nil
}

// Died receives a sentence for each child process that ended without the Stack's doing.
func (s *Stack) Died() <-chan string { return s.folder.deaths }

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

// Partitions is how many each topic has.
func (s *Stack) Partitions() int { return s.options.Partitions }

// Profile is Debezium's configuration, "" in a Stack without it.
func (s *Stack) Profile() string { return s.options.Profile }

// Dir is the data folder, which Down removes unless Options.Keep. The children's logs are in it.
func (s *Stack) Dir() string { return s.folder.path }

// Tmpfs says whether the data folder is in memory: then a sync costs nothing.
func (s *Stack) Tmpfs() bool { return s.folder.tmpfs }

func knownProxy(name string) error {
	if !slices.Contains(proxyNames, name) {
		return fmt.Errorf("no proxy %q, want one of %s", name, strings.Join(proxyNames, ", "))
	}
	return nil
}
