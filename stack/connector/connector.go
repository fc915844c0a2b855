// Package connector is the lab's own source connector: a reader of PostgreSQL's logical replication
// (pgoutput) and a writer of Debezium's envelopes to Kafka, at least once and in commit order. The
// connector is no Debezium: no configuration beyond Config, JSON without schemas, decimals and
// intervals as strings, one slot. A table in ../differences_test.go lists the other differences,
// and a test compares the two on one log. Start reading at Connector.Run, then session.go; the way
// of a row is stream.go, change.go, value.go, outlet.go, and back acks.go.
//
// A slot that exists means that the snapshot has been delivered. The snapshot is read beside a
// temporary slot, and PostgreSQL drops the temporary slot when the connector dies. Only when Kafka
// has acknowledged every row is the temporary slot copied to the slot's name, so that there is
// nothing to remember and nothing to clean up.
package connector

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// version stands in source.version of every envelope.
const version = "cdclab-1"

// States of a Connector.
const (
	Stopped      = "stopped"
	Snapshotting = "snapshotting"
	Streaming    = "streaming"
	Reconnecting = "reconnecting"
)

// ErrCrash is the cause to end the context of Run with for a crash: connections are cut and nothing
// is flushed or confirmed.
var ErrCrash = errors.New("the connector crashes")

// Waits between two sessions double from the first to the last.
const (
	firstWait = 20 * time.Millisecond
	lastWait  = time.Second
)

// Config names the source and the target of a Connector.
type Config struct {
	// DSN is a postgres:// URL of the database, for a superuser or a role that may replicate, read
	// the tables and create the publication.
	DSN string
	// Brokers are addresses of the Kafka cluster.
	Brokers []string
	// KafkaOptions are more options of the Kafka client, such as SASL; nil is none.
	KafkaOptions []kgo.Opt
	// Slot is the replication slot's name: lower-case letters, digits, underscores; at most 50.
	Slot string
	// Publication selects the tables; a missing publication is created for all tables.
	Publication string
	// TopicPrefix begins every topic's name (<prefix>.<schema>.<table>) and is source.name.
	TopicPrefix string
	// Partitions of each topic that the connector creates.
	Partitions int
}

// DefaultConfig is the lab's; DSN and Brokers are missing.
func DefaultConfig() Config {
	return Config{Slot: "cdclab", Publication: "cdclab", TopicPrefix: "cdc", Partitions: 4}
}

// The limit of 63 for names leaves room for the suffix of the temporary slot.
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,50}$`)

func (c Config) check() error {
	switch {
	case !slotName.MatchString(c.Slot):
		return fmt.Errorf("slot %q: want 1 to 50 of a-z, 0-9 and _", c.Slot)
	case c.Publication == "":
		return errors.New("no publication")
	case c.TopicPrefix == "":
		return errors.New("no topic prefix")
	case len(c.Brokers) == 0:
		return errors.New("no brokers")
	case c.Partitions < 1:
		return fmt.Errorf("%d partitions, want at least 1", c.Partitions)
	}
	return nil
}

// Connector moves changes from PostgreSQL to Kafka while Run runs. The other methods may be called
// at any time, from anywhere.
type Connector struct {
	config Config
	counts counts

	mu    sync.Mutex
	state string
	why   error
	acks  *acks
}

// New makes a Connector; Run starts it.
func New(config Config) *Connector { return &Connector{config: config, state: Stopped} }

// Version is the connector's own version, as in source.version of the envelopes.
func (c *Connector) Version() string { return version }

// State is Stopped, Snapshotting, Streaming or Reconnecting. The error is why the connector is not
// streaming (any more), nil when nothing went wrong. A Kafka that is away does not end the
// streaming: records wait and PostgreSQL is not confirmed.
func (c *Connector) State() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.why
}

// ConfirmedLSN is up to where in PostgreSQL's log every change has been acknowledged by Kafka, as
// far as this session knows: 0 while there is none.
func (c *Connector) ConfirmedLSN() uint64 {
	c.mu.Lock()
	acks := c.acks
	c.mu.Unlock()
	if acks == nil {
		return 0
	}
	return acks.position()
}

func (c *Connector) enter(state string, why error, acks *acks) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.why, c.acks = state, why, acks
}

// Run moves changes until ctx ends, then delivers and confirms the changes already read, for at
// most a few seconds, and returns nil. Run waits for a PostgreSQL or Kafka that goes away; State
// says so. The error is a Config that cannot work.
func (c *Connector) Run(ctx context.Context) error {
	if err := c.config.check(); err != nil {
		return fmt.Errorf("run the connector: %w", err)
	}
	out, err := newOutlet(c.config)
	if err != nil {
		return fmt.Errorf("run the connector: %w", err)
	}
	defer out.close()
	defer c.enter(Stopped, nil, nil)
	wait := firstWait
	for {
		streamed, err := c.session(ctx, out)
		if ctx.Err() != nil {
			return nil
		}
		c.counts.connection.Store(lost)
		c.enter(Reconnecting, err, nil)
		if streamed {
			wait = firstWait
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastWait)
	}
}

func crashed(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrCrash) }
