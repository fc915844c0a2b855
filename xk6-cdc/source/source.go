// Package source writes to PostgreSQL and reports the fate of each statement: acked, failed, or
// indeterminate, because a connection may break after a commit. A broken connection is replaced.
//
// Start reading at Source.Execute; Source.Transact and Source.Batch are the other two ways, and
// fateOf reads an error.
package source

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/ledger"
)

const (
	// answerGrace is the wait for the answer beyond the statement's own timeout.
	answerGrace = time.Second
	// reconnectPause lies between two attempts to get a connection.
	reconnectPause = 50 * time.Millisecond
	connectTimeout = 5 * time.Second
)

// ErrNoConnection says that a write was never sent.
var ErrNoConnection = errors.New("no connection")

// NoRowError says that a statement succeeded and did not change one row. In a transaction, the
// error is the reason of the rollback, and Statement counts from 0.
type NoRowError struct {
	Statement int
	tag       pgconn.CommandTag
}

func (e *NoRowError) Error() string {
	return fmt.Sprintf("the statement did not change one row: %s", e.tag)
}

// Query is a statement with its arguments.
type Query struct {
	SQL       string
	Arguments []any
}

// Source is PostgreSQL: a pool with one connection for each worker. The pool reconnects by itself.
type Source struct {
	pool    *pgxpool.Pool
	timeout time.Duration
}

// Open connects to PostgreSQL with one connection for each worker. No statement takes longer than
// the timeout.
func Open(ctx context.Context, dsn string, workers int, timeout time.Duration) (*Source, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil || !pg.HasHosts(&config.ConnConfig.Config) {
		return nil, fmt.Errorf("option %q: %w", "postgres", pg.Unreadable(dsn))
	}
	pg.Guard(&config.ConnConfig.Config)
	if err := pg.FixSchema(&config.ConnConfig.Config, dsn); err != nil {
		return nil, fmt.Errorf("option %q: %w", "postgres", err)
	}
	config.MaxConns, config.MinConns = int32(workers), int32(workers)
	config.MaxConnLifetime, config.MaxConnIdleTime = 24*time.Hour, 24*time.Hour
	config.ConnConfig.ConnectTimeout = connectTimeout
	settings := config.ConnConfig.RuntimeParams
	settings["statement_timeout"] = strconv.FormatInt(timeout.Milliseconds(), 10)
	settings["application_name"] = "cdclab-k6"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL (option %q): %w", "postgres", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL (option %q): %w", "postgres", err)
	}
	return &Source{pool, timeout}, nil
}

// Execute runs one statement in its own transaction and returns the fate. The error is the reason
// of every fate but acked.
func (s *Source) Execute(ctx context.Context, sql string, arguments []any) (ledger.Fate, error) {
	connection, err := s.acquire(ctx)
	if err != nil {
		return ledger.Failed, err
	}
	defer connection.Release()
	ctx, cancel := context.WithTimeout(ctx, s.timeout+answerGrace)
	defer cancel()
	tag, err := connection.Exec(ctx, sql, arguments...)
	if err != nil {
		return fateOf(err, connection.Conn().IsClosed()), err
	}
	if tag.RowsAffected() != 1 {
		return ledger.Failed, &NoRowError{tag: tag}
	}
	return ledger.Acked, nil
}

// Transact runs statements in one transaction: all are committed, or none, or nobody knows. A break
// before the commit is sent is a definite failure of all.
func (s *Source) Transact(ctx context.Context, statements []Query) (ledger.Fate, error) {
	connection, err := s.acquire(ctx)
	if err != nil {
		return ledger.Failed, err
	}
	defer connection.Release()
	ctx, cancel := context.WithTimeout(ctx, s.timeout+answerGrace)
	defer cancel()
	transaction, err := connection.Begin(ctx)
	if err != nil {
		return ledger.Failed, fmt.Errorf("begin a transaction: %w", err)
	}
	if err := send(ctx, transaction, statements); err != nil {
		// A timeout of its own, because the connection must be cleaned even after the statements'
		// timeout.
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerGrace)
		defer cancel()
		_ = transaction.Rollback(ending) // a broken connection rolls back by itself
		return ledger.Failed, err
	}
	if err := transaction.Commit(ctx); err != nil {
		err = fmt.Errorf("commit a transaction of %d: %w", len(statements), err)
		if errors.Is(err, pgx.ErrTxCommitRollback) {
			return ledger.Failed, err
		}
		return fateOf(err, connection.Conn().IsClosed()), err
	}
	return ledger.Acked, nil
}

// traceMessage leaves a trace context in PostgreSQL's log, before the rows of its transaction.
const traceMessage = "SELECT pg_logical_emit_message(true, 'traceparent', $1::text)"

// Traced is Execute with a trace context, which a connector makes a header of the row's event.
func (s *Source) Traced(ctx context.Context, parent string, query Query) (ledger.Fate, error) {
	fate, err := s.Transact(ctx, []Query{{traceMessage, []any{parent}}, query})
	var missing *NoRowError
	if errors.As(err, &missing) {
		missing.Statement-- // of the query alone
	}
	return fate, err
}

// send runs the statements in one round trip and stops at the first failure.
func send(ctx context.Context, transaction pgx.Tx, statements []Query) error {
	batch := &pgx.Batch{}
	for _, s := range statements {
		batch.Queue(s.SQL, s.Arguments...)
	}
	answers := transaction.SendBatch(ctx, batch)
	for i := range statements {
		tag, err := answers.Exec()
		if err == nil && tag.RowsAffected() != 1 {
			err = &NoRowError{i, tag}
		}
		if err != nil {
			_ = answers.Close() // the failure is known
			return fmt.Errorf("write %d of a transaction of %d: %w", i+1, len(statements), err)
		}
	}
	return answers.Close()
}

// acquire waits for a connection as long as a statement may take, so that writes queue up here, and
// are not lost, while PostgreSQL restarts.
func (s *Source) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var failure error
	for {
		connection, err := s.pool.Acquire(ctx)
		if err == nil {
			return connection, nil
		}
		if ctx.Err() == nil || failure == nil {
			failure = err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w within %v: %w", ErrNoConnection, s.timeout, failure)
		case <-time.After(reconnectPause):
		}
	}
}

// fateOf reads an error of a statement. An error is a definite failure only if PostgreSQL itself
// says so, or if the statement never left this process. A FATAL answer ends the session and may
// come after the commit.
func fateOf(err error, closed bool) ledger.Fate {
	var answer *pgconn.PgError
	switch {
	case errors.As(err, &answer):
		// 40003 is statement_completion_unknown, 08007 transaction_resolution_unknown.
		if answer.SeverityUnlocalized == "ERROR" && answer.Code != "40003" &&
			answer.Code != "08007" {
			return ledger.Failed
		}
		return ledger.Indeterminate
	case pgconn.SafeToRetry(err), !closed:
		return ledger.Failed
	}
	return ledger.Indeterminate
}

// Close ends the connections.
func (s *Source) Close() { s.pool.Close() }
