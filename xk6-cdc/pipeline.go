package cdc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// pipeline runs statements in one round trip, each in a transaction of its own, and calls known for
// each, in order, as soon as PostgreSQL has said what became of it. One that fails fails alone. Where
// the connection breaks, what is not known yet may have been committed.
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
func (s *source) pipeline(ctx context.Context, statements []query, known func(i int, fate ledger.Fate, err error)) {
	connection, err := s.acquire(ctx)
	if err != nil {
		for i := range statements {
			known(i, ledger.Failed, err)
		}
		return
	}
	defer connection.Release()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(len(statements))*s.timeout+answerGrace)
	defer cancel()
	prepared := make([]*pgconn.StatementDescription, len(statements))
	refused := make([]error, len(statements))
	for i, q := range statements { // nothing but the first of its kind goes to the server
		prepared[i], refused[i] = connection.Conn().Prepare(ctx, q.sql, q.sql)
	}
	pipe := connection.Conn().PgConn().StartPipeline(ctx)
	for i, q := range statements {
		if refused[i] == nil {
			refused[i] = put(pipe, connection.Conn(), prepared[i], q.arguments)
		}
	}
	broken := pipe.Flush()
	if broken != nil {
		broken = fmt.Errorf("send %d statements: %w", len(statements), broken)
	}
	for i := range statements {
		switch {
		case refused[i] != nil: // it was never sent
			known(i, ledger.Failed, refused[i])
			continue
		case broken != nil:
			known(i, fateOf(broken, true), broken)
			continue
		}
		tag, err := answer(pipe)
		switch {
		case err == nil && tag.RowsAffected() == 1:
			known(i, ledger.Acked, nil)
		case err == nil:
			known(i, ledger.Failed, &noRowError{tag: tag})
		default:
			if connection.Conn().IsClosed() {
				// Not its own words: a later one may have been committed whatever this one came to.
				broken = fmt.Errorf("the connection broke: %v", err)
			}
			known(i, fateOf(err, broken != nil), err)
		}
	}
	_ = pipe.Close() // what there was to know is known
}

// put puts one statement, and the end of its transaction, behind those that are to be sent.
func put(pipe *pgconn.Pipeline, connection *pgx.Conn, prepared *pgconn.StatementDescription, arguments []any) error {
	var built pgx.ExtendedQueryBuilder
	if err := built.Build(connection.TypeMap(), prepared, arguments); err != nil {
		return err
	}
	pipe.SendQueryPrepared(prepared.Name, built.ParamValues, built.ParamFormats, built.ResultFormats)
	pipe.SendPipelineSync()
	return nil
}

// answer reads what became of the next statement: its own answer, and that of its commit.
func answer(pipe *pgconn.Pipeline) (tag pgconn.CommandTag, failure error) {
	for {
		result, err := pipe.GetResults()
		if reader, ok := result.(*pgconn.ResultReader); ok {
			tag, err = reader.Close()
		}
		failure = errors.Join(failure, err)
		var said *pgconn.PgError
		_, ended := result.(*pgconn.PipelineSync)
		if ended || err != nil && !errors.As(err, &said) || result == nil && err == nil {
			return tag, failure
		}
		if said != nil && said.SeverityUnlocalized != "ERROR" {
			return tag, failure // it was the last word of a session that has ended
		}
	}
}
