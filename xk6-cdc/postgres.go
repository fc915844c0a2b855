package cdc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

const (
	// answerGrace is how much longer than the statement's own timeout the answer is waited for.
	answerGrace = time.Second
	// reconnectPause is between two attempts to get a connection.
	reconnectPause = 50 * time.Millisecond
	connectTimeout = 5 * time.Second
)

// errNoConnection says that a write was never sent.
var errNoConnection = errors.New("no connection")

// noRowError says that a statement succeeded and did not change one row. In a transaction, of which
// it is the reason to roll back, statement counts from 0.
type noRowError struct {
	statement int
	tag       pgconn.CommandTag
}

func (e *noRowError) Error() string {
	return fmt.Sprintf("the statement did not change one row: %s", e.tag)
}

// query is a statement with its arguments.
type query struct {
	sql       string
	arguments []any
}

// source is PostgreSQL: a pool with one connection for each worker, which reconnects by itself.
type source struct {
	pool    *pgxpool.Pool
	timeout time.Duration
}

func openSource(ctx context.Context, dsn string, workers int, timeout time.Duration) (*source, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("option %q: %w", "postgres", err)
	}
	config.MaxConns, config.MinConns = int32(workers), int32(workers)
	config.MaxConnLifetime, config.MaxConnIdleTime = 24*time.Hour, 24*time.Hour
	config.ConnConfig.ConnectTimeout = connectTimeout
	config.ConnConfig.RuntimeParams["statement_timeout"] = strconv.FormatInt(timeout.Milliseconds(), 10)
	config.ConnConfig.RuntimeParams["application_name"] = "cdclab-k6"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL (option %q): %w", "postgres", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL (option %q): %w", "postgres", err)
	}
	return &source{pool, timeout}, nil
}

// execute runs one statement in a transaction of its own and says what is known of it. The error
// is the reason of every fate but acked.
func (s *source) execute(ctx context.Context, sql string, arguments []any) (ledger.Fate, error) {
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
		return ledger.Failed, &noRowError{tag: tag}
	}
	return ledger.Acked, nil
}

// transact runs statements in one transaction: all are committed, or none, or it is not known. What
// breaks before the commit is sent is a definite failure of all.
func (s *source) transact(ctx context.Context, statements []query) (ledger.Fate, error) {
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
		// Its own time: where the statements' is over, the connection is to be cleaned all the same.
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerGrace)
		defer cancel()
		_ = transaction.Rollback(ending) // a connection that is broken rolls back by itself
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

// send runs the statements in one round trip and stops at the first that fails.
func send(ctx context.Context, transaction pgx.Tx, statements []query) error {
	batch := &pgx.Batch{}
	for _, s := range statements {
		batch.Queue(s.sql, s.arguments...)
	}
	answers := transaction.SendBatch(ctx, batch)
	for i := range statements {
		tag, err := answers.Exec()
		if err == nil && tag.RowsAffected() != 1 {
			err = &noRowError{i, tag}
		}
		if err != nil {
			_ = answers.Close() // what failed is known
			return fmt.Errorf("write %d of a transaction of %d: %w", i+1, len(statements), err)
		}
	}
	return answers.Close()
}

// acquire waits for a connection as long as a statement may take: while PostgreSQL restarts, writes
// queue up here and are not lost.
func (s *source) acquire(ctx context.Context) (*pgxpool.Conn, error) {
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
			return nil, fmt.Errorf("%w within %v: %w", errNoConnection, s.timeout, failure)
		case <-time.After(reconnectPause):
		}
	}
}

// fateOf reads an error of a statement. Only what PostgreSQL itself says, or what never left this
// process, is a definite failure. A FATAL answer ends the session and may come after the commit.
func fateOf(err error, closed bool) ledger.Fate {
	var answer *pgconn.PgError
	switch {
	case errors.As(err, &answer):
		// 40003 is statement_completion_unknown, 08007 transaction_resolution_unknown.
		if answer.SeverityUnlocalized == "ERROR" && answer.Code != "40003" && answer.Code != "08007" {
			return ledger.Failed
		}
		return ledger.Indeterminate
	case pgconn.SafeToRetry(err), !closed:
		return ledger.Failed
	}
	return ledger.Indeterminate
}

func (s *source) close() { s.pool.Close() }
