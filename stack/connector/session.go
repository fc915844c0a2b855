package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdclab/cdclab/hop/pg"
)

// closeLimit bounds a polite good-bye to PostgreSQL.
const closeLimit = time.Second

// session is one life of the connections to PostgreSQL.
type session struct {
	config Config
	counts *counts
	out    *outlet
	db     string
	// sql is for the catalog and the snapshot.
	sql *pgx.Conn
	// replication is for the slot and the stream.
	replication *pgconn.PgConn
}

// ApplicationName names the connector's sessions in pg_stat_activity.
const ApplicationName = "cdclab connector"

// session connects, takes a missing snapshot, and streams until ctx ends or something breaks.
// streamed is true if the streaming began.
func (c *Connector) session(ctx context.Context, out *outlet) (streamed bool, err error) {
	s := &session{config: c.config, counts: &c.counts, out: out}
	defer s.close(ctx)
	if err := s.connect(ctx); err != nil {
		return false, err
	}
	if err := s.ensurePublication(ctx); err != nil {
		return false, err
	}
	confirmed, exists, err := s.findSlot(ctx)
	if err != nil {
		return false, err
	}
	if !exists {
		c.enter(Snapshotting, nil, nil)
		if confirmed, err = s.snapshot(ctx); err != nil {
			return false, fmt.Errorf("take the snapshot: %w", err)
		}
	}
	if err := s.ensureTopics(ctx); err != nil {
		return false, err
	}
	stream, err := s.startStream(ctx, confirmed)
	if err != nil {
		return false, err
	}
	c.enter(Streaming, nil, stream.acks)
	c.counts.connection.Store(connected)
	return true, stream.run(ctx)
}

func (s *session) connect(ctx context.Context) error {
	config, err := pg.Parse(s.config.DSN)
	if err != nil {
		return err
	}
	s.db = config.Database
	// value.go reads values in these formats, whatever the server's defaults are.
	for name, value := range map[string]string{
		"application_name": ApplicationName, "timezone": "UTC", "datestyle": "ISO",
		"intervalstyle": "iso_8601", "extra_float_digits": "3", "bytea_output": "hex",
	} {
		config.RuntimeParams[name] = value
	}
	if s.sql, err = pgx.ConnectConfig(ctx, config); err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	walsender := config.Config.Copy()
	walsender.RuntimeParams["replication"] = "database"
	if s.replication, err = pgconn.ConnectConfig(ctx, walsender); err != nil {
		return fmt.Errorf("connect to PostgreSQL for replication: %w", err)
	}
	return nil
}

func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	if s.sql != nil {
		_ = s.sql.Close(ctx)
	}
	if s.replication != nil {
		_ = s.replication.Close(ctx)
	}
}

// ensurePublication creates the publication unless it exists. The publication must be older than
// the slot, because the stream sees the catalog as of the time of each change.
func (s *session) ensurePublication(ctx context.Context) error {
	var exists bool
	err := s.sql.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)",
		s.config.Publication).Scan(&exists)
	if err != nil {
		return fmt.Errorf("look for publication %s: %w", s.config.Publication, err)
	}
	if exists {
		return nil
	}
	name := pgx.Identifier{s.config.Publication}.Sanitize()
	if _, err := s.sql.Exec(ctx, "CREATE PUBLICATION "+name+" FOR ALL TABLES"); err != nil {
		return fmt.Errorf("create publication %s: %w", s.config.Publication, err)
	}
	return nil
}

// findSlot looks for the slot and for the position confirmed to the slot.
func (s *session) findSlot(ctx context.Context) (confirmed uint64, exists bool, err error) {
	var lsn, plugin string
	const query = `SELECT coalesce(confirmed_flush_lsn, '0/0')::text, coalesce(plugin, '')
		FROM pg_replication_slots WHERE slot_name = $1`
	err = s.sql.QueryRow(ctx, query, s.config.Slot).Scan(&lsn, &plugin)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look for slot %s: %w", s.config.Slot, err)
	}
	if plugin != "pgoutput" {
		return 0, false, fmt.Errorf("slot %s has plugin %q, want pgoutput", s.config.Slot, plugin)
	}
	parsed, err := pglogrepl.ParseLSN(lsn)
	if err != nil {
		return 0, false, fmt.Errorf("look for slot %s: %w", s.config.Slot, err)
	}
	return uint64(parsed), true, nil
}

// ensureTopics creates the topics of all published tables, so that a consumer can subscribe to them
// before the first change.
func (s *session) ensureTopics(ctx context.Context) error {
	published, err := s.published(ctx)
	if err != nil {
		return err
	}
	for _, p := range published {
		if err := s.out.ensure(ctx, topicName(s.config.TopicPrefix, p.schema, p.name)); err != nil {
			return err
		}
	}
	return nil
}

// topicName is <prefix>.<schema>.<table>; characters forbidden by Kafka become underscores, as in
// Debezium's default topic naming strategy.
func topicName(prefix, schema, table string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9',
			r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, prefix+"."+schema+"."+table)
}
