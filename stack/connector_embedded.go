package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/stack/connector"
	"github.com/cdclab/cdclab/stack/kafka"
	"github.com/cdclab/cdclab/stack/postgres"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/proxy"
)

// source is the lab's own connector as a Component inside this process. The position to resume at
// is a replication slot in PostgreSQL, so Kill has nothing to lose and Start nothing to load.
type source struct {
	config connector.Config
	// died receives the cause when the connector ends by itself.
	died func(string)

	// pages serves /metrics on address while there is a Stack.
	pages   *http.Server
	address string

	mu      sync.Mutex
	current *connector.Connector
	metrics http.Handler
	// cancel ends Run, done is closed when Run has returned err.
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error
}

func (s *Stack) prepareSource(context.Context) error {
	server := s.parts.postgres.(*postgres.Server)
	address, err := s.through(proxy.ConnectorPostgres, server.Address())
	if err != nil {
		return err
	}
	config := connector.DefaultConfig()
	config.DSN = server.DSNAt(address, postgres.Connector)
	config.Brokers = s.parts.kafka.Brokers(kafka.ListenConnect)
	config.KafkaOptions = s.parts.kafka.ClientOptions()
	config.TopicPrefix = kafka.TopicPrefix
	config.Partitions = s.options.Partitions
	source, err := newSource(config, s.folder.Report)
	if err != nil {
		return err
	}
	s.parts.connector = source
	s.note("the connector is the lab's own (pgoutput), faster than Debezium, which polls")
	return nil
}

// ConnectorApplication names the sessions of the embedded connector in pg_stat_activity.
const ConnectorApplication = connector.ApplicationName

func newSource(config connector.Config, died func(string)) (*source, error) {
	listener, err := net.Listen("tcp", process.Loopback(0))
	if err != nil {
		return nil, fmt.Errorf("serve the connector's metrics: %w", err)
	}
	s := &source{config: config, died: died, address: listener.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.serveMetrics)
	s.pages = telemetry.ServePages(listener, mux)
	return s, nil
}

// serveMetrics answers for the running connector, as the endpoint of a process of its own would.
func (s *source) serveMetrics(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	metrics, running := s.metrics, s.running()
	s.mu.Unlock()
	if !running {
		http.Error(w, "the connector is not running", http.StatusServiceUnavailable)
		return
	}
	metrics.ServeHTTP(w, r)
}

// Name is the Component's name.
func (s *source) Name() string { return Connector }

// Version is the version in the connector's envelopes.
func (s *source) Version() string { return connector.New(s.config).Version() }

// Start runs the connector and returns when the connector streams.
func (s *source) Start(ctx context.Context) error {
	s.mu.Lock()
	if s.running() {
		s.mu.Unlock()
		return errors.New("start connector: it is running")
	}
	// The connector outlives the start, whose ctx ends with the start.
	run, cancel := context.WithCancelCause(context.Background())
	c, done := connector.New(s.config), make(chan struct{})
	s.current, s.metrics, s.cancel, s.done = c, c.Metrics(), cancel, done
	s.mu.Unlock()
	go func() {
		err := c.Run(run)
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		close(done)
		if run.Err() == nil {
			s.died(fmt.Sprintf("connector ended by itself: %v", err))
		}
	}()
	if err := s.streams(ctx, c, done); err != nil {
		return errors.Join(fmt.Errorf("start connector: %w", err),
			s.end(context.Background(), connector.ErrCrash))
	}
	return nil
}

// streams waits until the connector streams.
func (s *source) streams(ctx context.Context, c *connector.Connector, done chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, process.StartGrace)
	defer cancel()
	tick := time.NewTicker(process.PollEvery)
	defer tick.Stop()
	for {
		state, why := c.State()
		if state == connector.Streaming {
			return nil
		}
		select {
		case <-done:
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.err
		case <-ctx.Done():
			if why != nil {
				return fmt.Errorf("%w while %s (%w)", ctx.Err(), state, why)
			}
			return fmt.Errorf("%w while %s", ctx.Err(), state)
		case <-tick.C:
		}
	}
}

// running needs mu.
func (s *source) running() bool {
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// end ends Run for a cause and waits.
func (s *source) end(ctx context.Context, cause error) error {
	s.mu.Lock()
	cancel, done := s.cancel, s.done
	s.mu.Unlock()
	if done == nil {
		return nil
	}
	cancel(cause)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop has the connector deliver and confirm everything read so far, and waits.
func (s *source) Stop(ctx context.Context) error {
	if err := s.end(ctx, context.Canceled); err != nil {
		return fmt.Errorf("stop connector: %w", err)
	}
	return nil
}

// Kill cuts the connector's connections; nothing is flushed or confirmed.
func (s *source) Kill() error {
	s.mu.Lock()
	running := s.running()
	s.mu.Unlock()
	if !running {
		return errors.New("kill connector: it is not running")
	}
	return s.end(context.Background(), connector.ErrCrash)
}

var errNotFrozen = errors.New("the embedded connector is no process of its own and cannot be " +
	"frozen: kill or stop it")

// Pause is refused.
func (s *source) Pause() error { return fmt.Errorf("pause connector: %w", errNotFrozen) }

// Resume is refused.
func (s *source) Resume() error { return fmt.Errorf("resume connector: %w", errNotFrozen) }

// Health is nil while the connector streams.
func (s *source) Health(context.Context) error {
	s.mu.Lock()
	c, running := s.current, s.running()
	s.mu.Unlock()
	if !running {
		return errors.New("connector is not running")
	}
	state, why := c.State()
	switch {
	case state == connector.Streaming:
		return nil
	case why != nil:
		return fmt.Errorf("connector is %s: %w", state, why)
	}
	return fmt.Errorf("connector is %s", state)
}

// PIDs is empty: the connector runs inside this process.
func (s *source) PIDs() []int { return nil }

// confirmed returns the position up to where Kafka has everything of PostgreSQL's log.
func (s *source) confirmed(context.Context) (pglogrepl.LSN, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0, errors.New("the connector was not started")
	}
	return pglogrepl.LSN(s.current.ConfirmedLSN()), nil
}

func (s *source) MetricsURL() string { return "http://" + s.address + "/metrics" }

// close ends the metrics server.
func (s *source) close() error {
	if err := s.pages.Close(); err != nil {
		return fmt.Errorf("end the connector's metrics: %w", err)
	}
	return nil
}
