package connector

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// reportEvery is how often PostgreSQL learns the confirmed position without asking.
const reportEvery = time.Second

// stream is the replication stream of a session. One goroutine reads and hands records to Kafka,
// another reports back, so that a slow Kafka never looks like a dead connector.
type stream struct {
	session *session
	conn    *pgconn.HijackedConn
	acks    *acks
	// ask wakes the report.
	ask chan struct{}

	// The rest is the reader's alone. tables are by their OID, as of the place in the log.
	tables map[uint32]*table
	// emit is nil between transactions.
	emit *emitter
	// lastCommit is the end of the transaction read last.
	lastCommit uint64
}

// startStream asks for all changes behind the position confirmed to the slot.
func (s *session) startStream(ctx context.Context, confirmed uint64) (*stream, error) {
	const whereConfirmed = 0
	publication := pgx.Identifier{s.config.Publication}.Sanitize()
	err := pglogrepl.StartReplication(ctx, s.replication, s.config.Slot, whereConfirmed,
		pglogrepl.StartReplicationOptions{PluginArgs: []string{
			"proto_version '1'", "publication_names '" + publication + "'", "messages 'true'",
		}})
	if err != nil {
		return nil, fmt.Errorf("start streaming from slot %s: %w", s.config.Slot, err)
	}
	// pgconn would not allow reading and writing at the same time.
	conn, err := s.replication.Hijack()
	if err != nil {
		return nil, fmt.Errorf("start streaming from slot %s: %w", s.config.Slot, err)
	}
	s.replication = nil
	return &stream{
		session: s, conn: conn, acks: newAcks(confirmed), ask: make(chan struct{}, 1),
		tables: map[uint32]*table{}, lastCommit: confirmed,
	}, nil
}

// run streams until ctx ends or something breaks.
func (s *stream) run(ctx context.Context) error {
	defer s.conn.Conn.Close()
	group, inner := errgroup.WithContext(ctx)
	// The reader waits in a read; reports can still be written after this.
	stop := context.AfterFunc(inner, func() { _ = s.conn.Conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	group.Go(func() error { return s.read(inner) })
	group.Go(func() error { return s.reports(inner) })
	err := group.Wait()
	if ctx.Err() == nil || crashed(ctx) {
		return err
	}
	return s.finish(ctx)
}

// finish delivers and confirms the changes read, so that the next start sends little twice.
func (s *stream) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
	defer cancel()
	err := s.session.out.flush(ctx)
	if deadlineErr := s.conn.Conn.SetWriteDeadline(time.Now().Add(closeLimit)); deadlineErr != nil {
		return errors.Join(err, deadlineErr)
	}
	if reportErr := s.report(); reportErr != nil {
		return errors.Join(err, reportErr)
	}
	s.conn.Frontend.Send(&pgproto3.Terminate{})
	return errors.Join(err, s.conn.Frontend.Flush())
}

// reports confirms the position to PostgreSQL, at times and on request. A record that cannot be
// delivered ends reports with an error, because later records must not be confirmed over the
// missing record.
func (s *stream) reports(ctx context.Context) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.acks.failed:
			return s.acks.failure()
		case <-tick.C:
		case <-s.ask:
		}
		if err := s.report(); err != nil {
			return err
		}
	}
}

// report writes a Standby status update (PostgreSQL's documentation, "Streaming Replication
// Protocol"): written, flushed, applied, the time in microseconds since 2000, no answer wanted.
func (s *stream) report() error {
	confirmed := s.acks.position()
	now := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()
	message := []byte{pglogrepl.StandbyStatusUpdateByteID}
	for _, field := range []uint64{confirmed, confirmed, confirmed, uint64(now)} {
		message = binary.BigEndian.AppendUint64(message, field)
	}
	data := pgproto3.CopyData{Data: append(message, 0)}
	encoded, err := data.Encode(nil)
	if err != nil {
		return fmt.Errorf("confirm to PostgreSQL: %w", err)
	}
	if _, err := s.conn.Conn.Write(encoded); err != nil {
		return fmt.Errorf("confirm to PostgreSQL: %w", err)
	}
	return nil
}

func (s *stream) read(ctx context.Context) error {
	for {
		message, err := s.conn.Frontend.Receive()
		if err != nil {
			return fmt.Errorf("read from PostgreSQL: %w", err)
		}
		switch message := message.(type) {
		case *pgproto3.CopyData:
			if err := s.data(ctx, message.Data); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			return fmt.Errorf("read from PostgreSQL: %w", pgconn.ErrorResponseToPgError(message))
		case *pgproto3.CopyDone, *pgproto3.CommandComplete:
			return errors.New("read from PostgreSQL: it ended the stream, as when it shuts down")
		}
	}
}

func (s *stream) data(ctx context.Context, data []byte) error {
	if len(data) == 0 {
		return errors.New("read from PostgreSQL: an empty message")
	}
	switch data[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		alive, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return fmt.Errorf("read from PostgreSQL: %w", err)
		}
		s.acks.idle(uint64(alive.ServerWALEnd))
		if alive.ReplyRequested {
			s.wake()
		}
		return nil
	case pglogrepl.XLogDataByteID:
		entry, err := pglogrepl.ParseXLogData(data[1:])
		if err != nil {
			return fmt.Errorf("read from PostgreSQL: %w", err)
		}
		message, err := pglogrepl.Parse(entry.WALData)
		if err != nil {
			return fmt.Errorf("read from PostgreSQL at %v: %w", entry.WALStart, err)
		}
		if err := s.message(ctx, uint64(entry.WALStart), message); err != nil {
			return fmt.Errorf("pass on the change at %v: %w", entry.WALStart, err)
		}
	}
	return nil
}

func (s *stream) wake() {
	select {
	case s.ask <- struct{}{}:
	default:
	}
}

// message acts on a message of pgoutput.
func (s *stream) message(ctx context.Context, lsn uint64, message pglogrepl.Message) error {
	switch m := message.(type) {
	case *pglogrepl.RelationMessage:
		described, err := s.session.describe(ctx, m)
		if err != nil {
			return err
		}
		s.tables[m.RelationID] = described
		return s.session.out.ensure(ctx, described.topic)
	case *pglogrepl.BeginMessage:
		s.emit = &emitter{
			session: s.session, acks: s.acks, tx: s.acks.begin(),
			commitLSN: commitHeader(uint64(m.FinalLSN)),
			source: debezium.Source{
				TsUs: m.CommitTime.UnixMicro(), TxID: m.Xid, Sequence: [2]uint64{s.lastCommit},
			},
		}
		return nil
	case *pglogrepl.CommitMessage:
		if s.emit == nil {
			return errors.New("a commit without its begin")
		}
		s.lastCommit = uint64(m.TransactionEndLSN)
		s.acks.commit(s.emit.tx, s.lastCommit)
		s.session.counts.commit()
		s.emit = nil
		return nil
	case *pglogrepl.TruncateMessage:
		return s.truncate(ctx, lsn, m)
	case *pglogrepl.LogicalDecodingMessage:
		if s.emit != nil && m.Transactional && m.Prefix == traceHeader {
			s.emit.trace = []kgo.RecordHeader{{Key: m.Prefix, Value: bytes.Clone(m.Content)}}
		}
		return nil
	}
	return s.row(ctx, lsn, message)
}

// truncate sends an event for each table emptied by the statement.
func (s *stream) truncate(ctx context.Context, lsn uint64, m *pglogrepl.TruncateMessage) error {
	for _, relation := range m.RelationIDs {
		t := s.tables[relation]
		if t == nil || s.emit == nil {
			return fmt.Errorf("a truncate of table %d outside a transaction, "+
				"or without its description", relation)
		}
		if err := s.emit.truncate(ctx, t, lsn); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) row(ctx context.Context, lsn uint64, message pglogrepl.Message) error {
	var relation uint32
	switch m := message.(type) {
	case *pglogrepl.InsertMessage:
		relation = m.RelationID
	case *pglogrepl.UpdateMessage:
		relation = m.RelationID
	case *pglogrepl.DeleteMessage:
		relation = m.RelationID
	default:
		return nil
	}
	t := s.tables[relation]
	if t == nil || s.emit == nil {
		return fmt.Errorf("a row of table %d outside a transaction, or without its description",
			relation)
	}
	switch m := message.(type) {
	case *pglogrepl.InsertMessage:
		return s.emit.insert(ctx, t, lsn, m)
	case *pglogrepl.UpdateMessage:
		return s.emit.update(ctx, t, lsn, m)
	case *pglogrepl.DeleteMessage:
		return s.emit.delete(ctx, t, lsn, m)
	}
	return nil
}
