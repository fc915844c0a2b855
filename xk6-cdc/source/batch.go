package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdclab/cdclab/ledger"
)

// Batch runs statements in one round trip, each in its own transaction. Batch calls known for each
// statement, in order, as soon as PostgreSQL has answered. A failing statement fails alone. Where
// the connection breaks, statements without an answer may have been committed.
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
func (s *Source) Batch(ctx context.Context, statements []Query,
	known func(i int, fate ledger.Fate, err error)) {
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
	for i, q := range statements { // only the first of each SQL text goes to the server
		prepared[i], refused[i] = connection.Conn().Prepare(ctx, q.SQL, q.SQL)
	}
	pipe := connection.Conn().PgConn().StartPipeline(ctx)
	for i, q := range statements {
		if refused[i] == nil {
			refused[i] = put(pipe, connection.Conn(), prepared[i], q.Arguments)
		}
	}
	broken := pipe.Flush()
	if broken != nil {
		broken = fmt.Errorf("send %d statements: %w", len(statements), broken)
	}
	for i := range statements {
		switch {
		case refused[i] != nil: // never sent
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
			known(i, ledger.Failed, &NoRowError{tag: tag})
		default:
			if connection.Conn().IsClosed() {
				// Not wrapped: whatever became of this statement, a later one may have been
				// committed.
				broken = fmt.Errorf("the connection broke: %v", err)
			}
			known(i, fateOf(err, broken != nil), err)
		}
	}
	_ = pipe.Close() // every fate is known
}

// put appends one statement, and the end of its transaction, to the pipeline.
func put(pipe *pgconn.Pipeline, connection *pgx.Conn, prepared *pgconn.StatementDescription,
	arguments []any) error {
	var built pgx.ExtendedQueryBuilder
	if err := built.Build(connection.TypeMap(), prepared, arguments); err != nil {
		return err
	}
	pipe.SendQueryPrepared(prepared.Name, built.ParamValues, built.ParamFormats,
		built.ResultFormats)
	pipe.SendPipelineSync()
	return nil
}

// answer reads the answer of the next statement and of the statement's commit.
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
			return tag, failure // the last word of an ended session
		}
	}
}
