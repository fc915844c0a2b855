package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// emitter makes the records of a transaction or of the snapshot.
type emitter struct {
	session   *session
	acks      *acks
	tx        *transaction
	commitLSN kgo.RecordHeader
	// source is common to all changes of the transaction.
	source debezium.Source
	// trace is the header with the trace context that the transaction's writer left in the log, in
	// a logical message of the header's name before the rows; nil for none. Each record has the
	// header.
	trace []kgo.RecordHeader
}

// traceHeader is W3C's name of a trace context.
const traceHeader = "traceparent"

func commitHeader(lsn uint64) kgo.RecordHeader {
	return kgo.RecordHeader{Key: debezium.HeaderCommitLSN, Value: strconv.AppendUint(nil, lsn, 10)}
}

// send sends the change of a row.
func (e *emitter) send(
	ctx context.Context, t *table, change *debezium.Change, row []debezium.Column,
	headers ...kgo.RecordHeader,
) error {
	for _, place := range t.key {
		change.Key = append(change.Key, row[place])
	}
	value, err := e.encode(t, change)
	if err != nil {
		return err
	}
	return e.put(ctx, t, change.AppendKey(nil), value, headers)
}

// encode counts the change and returns the record's value.
func (e *emitter) encode(t *table, change *debezium.Change) ([]byte, error) {
	source := &change.Source
	source.Version, source.Connector = version, "postgresql"
	source.Name = e.session.config.TopicPrefix
	source.DB, source.Schema, source.Table = e.session.db, t.schema, t.name
	const usualSize = 1 << 10
	value, err := change.AppendValue(make([]byte, 0, usualSize))
	if err != nil {
		return nil, fmt.Errorf("encode a change of %s.%s: %w", t.schema, t.name, err)
	}
	e.session.counts.event(change)
	return value, nil
}

func (e *emitter) put(
	ctx context.Context, t *table, key, value []byte, headers []kgo.RecordHeader,
) error {
	record := &kgo.Record{
		Topic: t.topic, Key: key, Value: value,
		Headers: slices.Concat([]kgo.RecordHeader{e.commitLSN}, e.trace, headers),
	}
	return e.session.out.send(ctx, record, e.acks, e.tx)
}

// change makes a Change of the transaction at a place in the log.
func (e *emitter) change(
	op debezium.Op, lsn uint64, before, after []debezium.Column,
) *debezium.Change {
	source := e.source
	source.LSN, source.Sequence[1] = lsn, lsn
	return &debezium.Change{
		Op: op, Before: before, After: after, Source: source, TsUs: time.Now().UnixMicro(),
	}
}

func (e *emitter) insert(
	ctx context.Context, t *table, lsn uint64, m *pglogrepl.InsertMessage,
) error {
	after, err := t.row(m.Tuple, nil)
	if err != nil {
		return err
	}
	return e.send(ctx, t, e.change(debezium.Create, lsn, nil, after), after)
}

// update sends one record, or three when the key changed: the old row's delete, the delete's
// tombstone, the new row's create.
func (e *emitter) update(
	ctx context.Context, t *table, lsn uint64, m *pglogrepl.UpdateMessage,
) error {
	var before []debezium.Column
	var err error
	switch m.OldTupleType {
	case pglogrepl.UpdateMessageTupleTypeOld:
		before, err = t.row(m.OldTuple, nil)
	case pglogrepl.UpdateMessageTupleTypeKey:
		before, err = t.identityRow(m.OldTuple)
	}
	if err != nil {
		return err
	}
	whole := m.OldTupleType == pglogrepl.UpdateMessageTupleTypeOld
	var old []debezium.Column
	if whole {
		old = before
	}
	after, err := t.row(m.NewTuple, old)
	if err != nil {
		return err
	}
	if before == nil || !t.keyChanged(before, after) {
		return e.send(ctx, t, e.change(debezium.Update, lsn, old, after), after)
	}
	newKey := keyHeader(debezium.HeaderNewKey, t, after)
	if err := e.remove(ctx, t, lsn, before, newKey); err != nil {
		return err
	}
	create := e.change(debezium.Create, lsn, nil, after)
	return e.send(ctx, t, create, after, keyHeader(debezium.HeaderOldKey, t, before))
}

func (e *emitter) delete(
	ctx context.Context, t *table, lsn uint64, m *pglogrepl.DeleteMessage,
) error {
	read := t.identityRow
	if m.OldTupleType == pglogrepl.DeleteMessageTupleTypeOld {
		read = func(tuple *pglogrepl.TupleData) ([]debezium.Column, error) {
			return t.row(tuple, nil)
		}
	}
	before, err := read(m.OldTuple)
	if err != nil {
		return err
	}
	return e.remove(ctx, t, lsn, before)
}

// remove sends the delete, and the tombstone so that Kafka can compact.
func (e *emitter) remove(
	ctx context.Context, t *table, lsn uint64, before []debezium.Column,
	headers ...kgo.RecordHeader,
) error {
	change := e.change(debezium.Delete, lsn, before, nil)
	if err := e.send(ctx, t, change, before, headers...); err != nil {
		return err
	}
	return e.put(ctx, t, change.AppendKey(nil), nil, headers)
}

// truncate sends an event without a key, because all rows are gone; only one partition gets the
// event, as in Debezium.
func (e *emitter) truncate(ctx context.Context, t *table, lsn uint64) error {
	value, err := e.encode(t, e.change(debezium.Truncate, lsn, nil, nil))
	if err != nil {
		return err
	}
	return e.put(ctx, t, nil, value, nil)
}

func keyHeader(name string, t *table, row []debezium.Column) kgo.RecordHeader {
	var other debezium.Change
	for _, place := range t.key {
		other.Key = append(other.Key, row[place])
	}
	return kgo.RecordHeader{Key: name, Value: other.AppendKey(nil)}
}

// keyChanged is true if a key column in the old row's identity has another value in the new row.
func (t *table) keyChanged(before, after []debezium.Column) bool {
	return slices.ContainsFunc(t.key, func(place int) bool {
		return t.columns[place].identity && !equal(before[place].Value, after[place].Value)
	})
}

// equal compares values of value.go. Arrays are not comparable with ==, and rare in a key.
func equal(a, b any) bool {
	x, isArray := a.([]any)
	y, alsoArray := b.([]any)
	if isArray || alsoArray {
		return isArray == alsoArray && slices.EqualFunc(x, y, equal)
	}
	return a == b
}

var errColumns = errors.New("the row has another number of columns than its table")

// row reads a whole row. PostgreSQL does not send unchanged TOASTed values: row takes the values
// from old, the whole row before, where PostgreSQL sent old (REPLICA IDENTITY FULL), else a
// placeholder.
func (t *table) row(tuple *pglogrepl.TupleData, old []debezium.Column) ([]debezium.Column, error) {
	if tuple == nil || len(tuple.Columns) != len(t.columns) {
		return nil, fmt.Errorf("read a row of %s.%s: %w", t.schema, t.name, errColumns)
	}
	row := make([]debezium.Column, len(t.columns))
	for i := range t.columns {
		c := &t.columns[i]
		row[i].Name = c.name
		switch sent := tuple.Columns[i]; sent.DataType {
		case pglogrepl.TupleDataTypeNull:
		case pglogrepl.TupleDataTypeToast:
			if old != nil {
				row[i].Value = old[i].Value
			} else {
				row[i].Value = c.kind.unavailable()
			}
		default:
			row[i].Value = c.kind.value(string(sent.Data))
		}
	}
	return row, nil
}

// identityRow reads a row sent with only the columns of the replica identity.
func (t *table) identityRow(tuple *pglogrepl.TupleData) ([]debezium.Column, error) {
	row, err := t.row(tuple, nil)
	for i := range row {
		if !t.columns[i].identity {
			row[i].Value = t.columns[i].absent
		}
	}
	return row, err
}
