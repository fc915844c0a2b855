package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/process"
)

// consumerGroup is the Kafka group of the consumer; Drained finds the offsets by this name.
const consumerGroup = "cdclab"

// connections are the addresses and secrets of a consumer. All go through the environment, because
// every user of the machine sees arguments.
type connections struct {
	mongoURI string
	kafka    kafka.Login
}

// environment sets the consumer's --mongo-uri, and how Kafka is reached, in place of a person's
// settings.
func (c connections) environment() []string {
	return append(c.kafka.ConsumerSettings(), "CDC_CONSUMER_MONGO_URI="+c.mongoURI)
}

// consumer is the consumer program as a child. The Stack knows only the program's flags, HTTP
// endpoint and answer to signals, so any build of the consumer can be measured.
type consumer struct {
	*process.Child
	path string
	args []string
	to   connections
	// listenFile is where the program writes its listening address.
	listenFile string

	mu      sync.Mutex
	address string
	// epoch is the --epoch of the next start; 0 leaves the flag out.
	epoch int
}

// newConsumer takes the flags of the Stack and more, Options.ConsumerArgs, which win.
func newConsumer(f *process.Folder, name, path string, flags []string, to connections,
	more []string) *consumer {
	return &consumer{
		Child: process.NewChild(name, f, syscall.SIGTERM),
		path:  path,
		args:  slices.Concat(flags, more),
		to:    to,

		listenFile: f.File(name + ".address"),
	}
}

// findConsumer returns the absolute path of the program.
func findConsumer(path string) (string, error) {
	if path == "" {
		return "", errors.New("find the consumer program: Options.ConsumerPath is empty")
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return "", fmt.Errorf("find the consumer program: %w", err)
	}
	// Children run in the stack's folder, where a relative path would mean something else.
	if found, err = filepath.Abs(found); err != nil {
		return "", fmt.Errorf("find the consumer program: %w", err)
	}
	return found, nil
}

// RaiseEpoch has the events read by the next starts come after all events read before, whatever
// their positions are. The error is about a person's own --epoch.
func (c *consumer) RaiseEpoch() error {
	given := os.Getenv("CDC_CONSUMER_EPOCH") != "" // as every setting of the program, handed on
	for _, argument := range c.args {
		flag, _, _ := strings.Cut(argument, "=")
		given = given || flag == "-epoch" || flag == "--epoch"
	}
	if given {
		return fmt.Errorf("raise the epoch of %s: its --epoch is given", c.Name())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	return nil
}

// Start starts the program and returns when the program is ready: joined to its group and answered
// by MongoDB. After Kill a start takes until the group gives up on the killed member.
func (c *consumer) Start(ctx context.Context) error {
	if c.Current().Alive() {
		return fmt.Errorf("start %s: it is running (pid %d)", c.Name(), c.Current().PID())
	}
	if err := os.RemoveAll(c.listenFile); err != nil {
		return fmt.Errorf("start %s: %w", c.Name(), err)
	}
	args := append([]string{"--listen", "127.0.0.1:0", "--listen-file", c.listenFile}, c.args...)
	c.mu.Lock()
	if c.epoch > 0 {
		args = append(args, "--epoch", strconv.Itoa(c.epoch))
	}
	c.mu.Unlock()
	program := process.Command{Kind: process.Consumer, Path: c.path, Args: args,
		Env: c.to.environment()}
	return c.Launch(ctx, program, func(ctx context.Context) error {
		if err := c.readAddress(); err != nil {
			return err
		}
		return c.ready(ctx)
	})
}

// readAddress reads the listening address of this start of the program.
func (c *consumer) readAddress() error {
	text, err := namedfile.Read(c.listenFile, namedfile.Small)
	if err != nil {
		return fmt.Errorf("read where %s listens: %w", c.Name(), err)
	}
	address := strings.TrimSpace(string(text))
	if _, _, err := process.SplitAddress(address); err != nil {
		return fmt.Errorf("read where %s listens: %w", c.Name(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.address = address
	return nil
}

// url returns the address of a page of the program, "" while unknown.
func (c *consumer) url(path string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.address == "" {
		return ""
	}
	return "http://" + c.address + path
}

// MetricsURL serves the Prometheus text format; "" before the first Start.
func (c *consumer) MetricsURL() string { return c.url("/metrics") }

// Health asks the program whether it is ready. Its Version stays empty, because a Run identifies
// the program by its checksum.
func (c *consumer) Health(ctx context.Context) error {
	if err := c.Serves(); err != nil {
		return err
	}
	return c.ready(ctx)
}

func (c *consumer) ready(ctx context.Context) error {
	if err := process.Answers(ctx, c.url("/readyz")); err != nil {
		return fmt.Errorf("%s is not ready: %w", c.Name(), err)
	}
	return nil
}

// SideConsumer is a consumer beside the Stack's own, with a MongoDB, a group and topics of its own.
type SideConsumer struct{ *consumer }

// SideConsumer makes a consumer for a later Start. The name must be no other Component's; the flags
// come on top of Kafka's address. Stop ends the consumer, else the Stack's Down does.
func (s *Stack) SideConsumer(name, mongoURI string, flags ...string) *SideConsumer {
	return &SideConsumer{newConsumer(s.folder, name, s.options.ConsumerPath, []string{
		"--brokers", strings.Join(s.parts.kafka.Brokers(kafka.ListenConsumer), ","),
		"--dead-letter-topic", kafka.DeadLetterTopic,
	}, connections{mongoURI, s.parts.kafka.Login()}, flags)}
}
