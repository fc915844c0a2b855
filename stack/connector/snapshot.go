package connector

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// publishedTable is a table of the publication.
type publishedTable struct {
	oid          uint32
	schema, name string
	// partitioned tables hold no rows themselves. Other tables are read without children, because
	// the children are in the publication on their own.
	partitioned bool
}

// published lists the tables of the publication by name.
func (s *session) published(ctx context.Context) ([]publishedTable, error) {
	rows, err := s.sql.Query(ctx, `SELECT c.oid, p.schemaname, p.tablename, c.relkind = 'p'
		FROM pg_publication_tables p
		JOIN pg_namespace n ON n.nspname = p.schemaname
		JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
		WHERE p.pubname = $1 ORDER BY p.schemaname, p.tablename`, s.config.Publication)
	if err != nil {
		return nil, fmt.Errorf("list the tables of publication %s: %w", s.config.Publication, err)
	}
	scan := func(row pgx.CollectableRow) (t publishedTable, err error) {
		err = row.Scan(&t.oid, &t.schema, &t.name, &t.partitioned)
		return t, err
	}
	tables, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("list the tables of publication %s: %w", s.config.Publication, err)
	}
	return tables, nil
}

// snapshot sends every row of the published tables, as of the point in the log where the new slot
// begins. Only when Kafka has acknowledged every row does snapshot make the slot. The result is the
// slot's point.
func (s *session) snapshot(ctx context.Context) (consistent uint64, err error) {
	temporary := s.config.Slot + "_snapshot"
	slot, err := pglogrepl.CreateReplicationSlot(ctx, s.replication, temporary, "pgoutput",
		pglogrepl.CreateReplicationSlotOptions{
			Temporary: true, Mode: pglogrepl.LogicalReplication, SnapshotAction: "EXPORT_SNAPSHOT",
		})
	if err != nil {
		return 0, fmt.Errorf("create the temporary slot: %w", err)
	}
	point, err := pglogrepl.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		return 0, fmt.Errorf("create the temporary slot: %w", err)
	}
	rows := &snapshotRows{session: s, acks: newAcks(uint64(point)), point: uint64(point)}
	rows.tx = rows.acks.begin()
	if err := s.readSnapshot(ctx, slot.SnapshotName, rows); err != nil {
		return 0, err
	}
	if err := s.out.flush(ctx); err != nil {
		return 0, err
	}
	if err := rows.acks.failure(); err != nil {
		return 0, err
	}
	if _, err := s.sql.Exec(ctx, "SELECT pg_copy_logical_replication_slot($1, $2, false)",
		temporary, s.config.Slot); err != nil {
		return 0, fmt.Errorf("make slot %s: %w", s.config.Slot, err)
	}
	err = pglogrepl.DropReplicationSlot(ctx, s.replication, temporary,
		pglogrepl.DropReplicationSlotOptions{})
	if err != nil {
		return 0, fmt.Errorf("drop the temporary slot: %w", err)
	}
	return uint64(point), nil
}

// readSnapshot reads the tables in the exported snapshot.
func (s *session) readSnapshot(ctx context.Context, name string, rows *snapshotRows) error {
	conn := s.sql.PgConn()
	begin := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; " +
		"SET TRANSACTION SNAPSHOT '" + name + "'"
	if _, err := conn.Exec(ctx, begin).ReadAll(); err != nil {
		return fmt.Errorf("enter the slot's snapshot: %w", err)
	}
	tables, err := s.published(ctx)
	if err != nil {
		return err
	}
	for _, published := range tables {
		if err := s.readTable(ctx, published, rows); err != nil {
			return fmt.Errorf("read table %s.%s: %w", published.schema, published.name, err)
		}
	}
	if err := rows.send(ctx, debezium.SnapshotLast); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "COMMIT").ReadAll(); err != nil {
		return fmt.Errorf("leave the slot's snapshot: %w", err)
	}
	return nil
}

func (s *session) readTable(
	ctx context.Context, published publishedTable, rows *snapshotRows,
) error {
	columns, err := s.catalog(ctx, published.oid)
	if err != nil {
		return err
	}
	t := s.newTable(published.schema, published.name)
	var names string
	var keyPlaces []int
	for _, c := range columns {
		if names != "" {
			names += ", "
		}
		names += pgx.Identifier{c.name}.Sanitize()
		t.columns = append(t.columns, column{name: c.name, kind: c.kind})
		keyPlaces = append(keyPlaces, c.keyPlace)
	}
	t.key = inKeyOrder(keyPlaces)
	if err := s.out.ensure(ctx, t.topic); err != nil {
		return err
	}
	from := "ONLY "
	if published.partitioned {
		from = ""
	}
	query := "SELECT " + names + " FROM " + from +
		pgx.Identifier{published.schema, published.name}.Sanitize()
	// Over the simple protocol values are text, and rows are sent on during the reading.
	results := s.sql.PgConn().Exec(ctx, query)
	for results.NextResult() {
		if err := rows.add(ctx, t, results.ResultReader()); err != nil {
			_ = results.Close()
			return err
		}
	}
	return results.Close()
}

// snapshotRows sends a row only after reading the next, because a row's mark says whether others
// follow.
type snapshotRows struct {
	session *session
	acks    *acks
	tx      *transaction
	// point is where the slot begins.
	point uint64
	sent  bool
	// held is the row read last, of table; isFirst is true if held is the first of table.
	held    []debezium.Column
	table   *table
	isFirst bool
}

func (r *snapshotRows) add(ctx context.Context, t *table, reader *pgconn.ResultReader) error {
	for reader.NextRow() {
		values := reader.Values()
		if len(values) != len(t.columns) {
			return fmt.Errorf("%d values for %d columns", len(values), len(t.columns))
		}
		row := make([]debezium.Column, len(values))
		for i, c := range t.columns {
			row[i].Name = c.name
			if values[i] != nil {
				row[i].Value = c.kind.value(string(values[i]))
			}
		}
		mark := debezium.SnapshotTrue
		if r.table != t {
			mark = debezium.SnapshotLastInTable
		}
		if err := r.send(ctx, mark); err != nil {
			return err
		}
		r.held, r.isFirst, r.table = row, r.table != t, t
	}
	return nil
}

// send sends the held row. A row can be both first and last of something: then Debezium says last,
// but for the very first row.
func (r *snapshotRows) send(ctx context.Context, mark string) error {
	if r.held == nil {
		return nil
	}
	if r.isFirst && mark == debezium.SnapshotTrue {
		mark = debezium.SnapshotFirstInTable
	}
	if !r.sent && mark != debezium.SnapshotLast {
		mark = debezium.SnapshotFirst
	}
	now := time.Now().UnixMicro()
	change := &debezium.Change{
		After: r.held, Op: debezium.Read, TsUs: now,
		Source: debezium.Source{
			TsUs: now, Snapshot: mark, Sequence: [2]uint64{0, r.point}, LSN: r.point,
		},
	}
	r.held, r.sent = nil, true
	e := emitter{session: r.session, acks: r.acks, tx: r.tx, commitLSN: commitHeader(r.point)}
	return e.send(ctx, r.table, change, change.After)
}
