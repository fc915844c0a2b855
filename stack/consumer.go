package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// consumerGroup is the Kafka group of the consumer, by which Drained finds its offsets.
const consumerGroup = "cdclab"

// mongoURIEnv is the consumer's --mongo-uri.
const mongoURIEnv = "CDC_CONSUMER_MONGO_URI"

// consumer is the consumer program as a child. The Stack knows only its flags, its HTTP endpoint
// and its answer to signals, so any build of it can be measured.
type consumer struct {
	child
	path string
	args []string
	// mongoURI goes through the environment: it may hold a password, and arguments are seen by all.
	mongoURI string

	addressMu sync.Mutex
	address   string
}

// newConsumer takes the flags that the Stack sets and more, Options.ConsumerArgs, which win.
func newConsumer(f *folder, name, path string, flags []string, mongoURI string, more []string) *consumer {
	return &consumer{
		child:    child{name: name, folder: f, stopSignal: syscall.SIGTERM},
		path:     path,
		args:     slices.Concat(flags, more),
		mongoURI: mongoURI,
	}
}

// findConsumer is the absolute path of the program.
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

// Version is empty: a Run identifies the program by its checksum.
func (c *consumer) Version() string { return "" }

func (c *consumer) listenFile() string { return c.folder.file(c.name + ".address") }

// Start starts the program and returns when it is ready: it has joined its group and MongoDB
// answers it. After Kill that takes until the group gives up on the killed member.
func (c *consumer) Start(ctx context.Context) error {
	if c.get().alive() {
		return fmt.Errorf("start %s: it is running (pid %d)", c.name, c.get().pid())
	}
	if err := ignoreMissing(os.Remove(c.listenFile())); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	args := append([]string{"--listen", "127.0.0.1:0", "--listen-file", c.listenFile()}, c.args...)
	program := command{path: c.path, args: args, env: []string{mongoURIEnv + "=" + c.mongoURI}}
	return c.run(ctx, program, func(ctx context.Context) error {
		if err := c.readAddress(); err != nil {
			return err
		}
		return c.get200(ctx, "/readyz")
	})
}

// readAddress reads where this start of the program listens.
func (c *consumer) readAddress() error {
	text, err := os.ReadFile(c.listenFile())
	if err != nil {
		return fmt.Errorf("read where %s listens: %w", c.name, err)
	}
	address := strings.TrimSpace(string(text))
	if _, _, err := splitAddress(address); err != nil {
		return fmt.Errorf("read where %s listens: %w", c.name, err)
	}
	c.addressMu.Lock()
	defer c.addressMu.Unlock()
	c.address = address
	return nil
}

// url is the address of a page of the program, "" while it is not known.
func (c *consumer) url(path string) string {
	c.addressMu.Lock()
	defer c.addressMu.Unlock()
	if c.address == "" {
		return ""
	}
	return "http://" + c.address + path
}

func (c *consumer) metricsURL() string { return c.url("/metrics") }

// Health asks the program whether it is ready.
func (c *consumer) Health(ctx context.Context) error {
	if err := c.serves(); err != nil {
		return err
	}
	return c.get200(ctx, "/readyz")
}

func (c *consumer) get200(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(path), nil)
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", c.name, path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", c.name, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", c.name, path, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", c.name, strings.TrimSpace(string(text)))
	}
	return nil
}
