package apply

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/order"
	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/consumer/topics"
)

// operations are the values of cdcMetadata.operation, for the operations on rows.
var operations = map[debezium.Op]string{
	debezium.Create: "INSERT", debezium.Update: "UPDATE", debezium.Delete: "DELETE",
	debezium.Read: "SNAPSHOT", debezium.Truncate: "TRUNCATE",
}

// draft is an event read, converted and judged alone, without knowledge of the store.
type draft struct {
	record    *kgo.Record
	table     *encode.Table
	entity    string
	op        debezium.Op
	operation string
	position  string // the epoch and debezium.Event.Position: commit order
	// key is the document's _id, or the embedded row's key. parent is the document around an
	// embedded row, before the previous parent; "" where the event does not say.
	key, parent, before string
	members             []byte // BSON elements
	absent, missing     []string
	drifted             []encode.Drifted
	names               uint64 // encode.Encoded.Names
	behind              bool   // an earlier event of the partition has a later position
	below               bool   // an earlier owner of the partition met a later position
	gap                 int64  // offset behind the last hole in the partition's offsets; 0: none
	// doubtful is true if the key may not be the row's: PostgreSQL did not send the key's columns.
	// partly is true if so of a part of the key.
	doubtful, partly bool
	db, from         string // the source's database and topic prefix
	schema, name     string // of the source's table
	unknown          []string
	null             bool  // a null record without its delete
	anew             int32 // order.Event.Incarnation, 1 in a topic made anew
	// resent is true if the partition met the very change before, unseen if the partition would
	// have met the change, and did not. letter is true for a replayed dead letter.
	resent, unseen, letter bool
	sought                 bool // true if the other partitions do not have the unseen change
	references             []encode.Ref
	states                 []encode.State
	rejected               error // by rules on the event alone, where other rules follow
	// leaves is true if the row's primary key changed to another, comes if another changed to this
	// key. otherID is the id under the other key: the same where the id is of unchanged columns.
	leaves, comes bool
	otherID       string
	otherUnread   bool   // true if the header of the other key cannot be read
	readAt        uint64 // the LSN of the row's snapshot of the whole table
	again         bool   // true if a snapshot's embedded row is newer than the stored row
	unfound       bool   // true for an update of an embedded row that is nowhere
	change        order.Change

	sourceAt, connectorAt, polled, processedAt time.Time
	deletedAt                                  time.Time // zero: processedAt

	// judged is true if the referenced rows are known to be there, or the wait was long enough.
	// orphan is about the missing rows.
	judged  bool
	orphan  []entity.Violation
	waiting time.Time // start of the parking, or of the wait for the other key's delete
	size    int       // bytes held while parked
}

func (d *draft) endsTheRow() bool { return d.op == debezium.Delete }

// needsOwnRound returns true if the draft must see the store after all earlier writes.
func (d *draft) needsOwnRound() bool {
	switch {
	case d.op == debezium.Truncate || d.leaves || d.doubtful || d.partly || d.null:
		return true
	case len(d.drifted) > 0:
		return true
	case len(d.missing) == 0 || d.endsTheRow():
		return false
	}
	return d.op == debezium.Create || d.op == debezium.Read || d.comes ||
		d.table.Spec().Embed != nil && d.before != d.parent
}

// planner turns the records of a partition into drafts, and talks to no server.
type planner struct {
	tables    *encode.Tables
	tablesMax int
	topics    topics.Tables

	decoder debezium.Decoder
	encoder encode.Encoder
	metrics *eventMetrics
	log     *ruleLog
	epoch   string // four hexadecimal digits
	noRules bool
	now     func() time.Time

	headers []debezium.Header
	top     string // the highest streamed position so far
	reached string // the highest streamed position before the partition's beginning
	recent  order.Recent
	found   foundTable
	table   *encode.Table // of the last event, or known from before
	several bool          // the topic has events of several tables
	ended   []byte        // the key of a delete just before
	anew    int32         // the topic's incarnation: offsets of other incarnations do not compare
	begun   bool
	next    int64 // the offset after the last record
	gap     int64 // the offset after the last hole
}

// foundTable is the last table found for an event. The next event in the topic is nearly always of
// the same table.
type foundTable struct {
	topic, prefix, schema, name string
	version                     uint64 // encode.Tables.Version
	table                       *encode.Table
}

// job is the work left of a batch; Step empties the job.
type job struct {
	unread   []telemetry.Arrival // not drafted yet
	drafts   []*draft            // not begun yet, in the order of the log
	alone    int                 // so many of drafts come each in a round of its own
	round    *round              // under way
	rejected []deadletter.Rejected
	last     *kgo.Record // nil where all was parked before

	arena []byte // the last chunk of the drafts' members
	kept  int    // bytes of all members
	slab  []draft
}

// keptMax is the number of bytes of members from which the rest of a batch waits for the drafts
// before, because a document may be larger than its record. chunkMax bounds the memory kept from
// batch to batch.
const (
	keptMax  = 16 << 20
	chunkMax = 1 << 20
)

// keepMembers copies the members of a draft. A full chunk stays with its drafts, and is not copied
// into a larger chunk.
func (j *job) keepMembers(elements []byte) []byte {
	if len(elements) > cap(j.arena)-len(j.arena) {
		j.arena = make([]byte, 0, max(len(elements), min(2*cap(j.arena), chunkMax), 4<<10))
	}
	from := len(j.arena)
	j.arena = append(j.arena, elements...)
	j.kept += len(elements)
	return j.arena[from:len(j.arena):len(j.arena)]
}

// planBatch reads and judges the beginning of a batch. A rejected record does not touch the others.
// The job is valid until the next planBatch.
func (p *planner) planBatch(j *job, batch []telemetry.Arrival) {
	clear(j.slab)
	if j.slab = j.slab[:0]; cap(j.slab) < len(batch) {
		j.slab = make([]draft, 0, len(batch))
	}
	j.drafts, j.round, j.rejected, j.alone = j.drafts[:0], nil, nil, 0
	j.last, j.unread = batch[len(batch)-1].Record, batch
	p.planMore(j)
}

// planMore reads and judges more of the batch, once nothing refers to the drafts before; false at
// the batch's end.
func (p *planner) planMore(j *job) bool {
	if j.arena, j.kept = j.arena[:0], 0; cap(j.arena) > chunkMax {
		j.arena = nil
	}
	more := len(j.unread) > 0
	now := p.now()
	for len(j.unread) > 0 && j.kept < keptMax {
		a := j.unread[0]
		j.unread = j.unread[1:]
		j.slab = j.slab[:len(j.slab)+1] // behind the length all is zero
		d := &j.slab[len(j.slab)-1]
		d.record, d.polled, d.processedAt = a.Record, a.Polled, now
		event, err := p.readEnvelope(d)
		use := event != nil || d.null
		if event != nil && err == nil && d.op != debezium.Truncate {
			err = p.convertRow(d, event, j)
		}
		switch {
		case err != nil:
			j.rejected = append(j.rejected, d.deadLetter(err))
		case use:
			j.drafts = append(j.drafts, d)
		}
	}
	return more
}

func (d *draft) deadLetter(err error) deadletter.Rejected {
	l := deadletter.Rejected{Record: d.record, Entity: d.entity, Operation: d.operation, Err: err,
		Source: deadletter.Source{Position: d.position, TxID: d.change.TxID}}
	if d.table != nil {
		l.Source.Table = d.table.Spec().Table
	}
	if !d.sourceAt.IsZero() {
		l.Source.TsUs = d.sourceAt.UnixMicro()
	}
	return l
}

// readEnvelope fills in all of d except the row's part. The event is nil where the record asks for
// nothing: a tombstone, which follows a delete, a heartbeat, transaction metadata, a logical
// message.
func (p *planner) readEnvelope(d *draft) (*debezium.Event, error) {
	hole := p.begun && d.record.Offset > p.next
	if hole {
		p.gap = d.record.Offset
	}
	p.begun, p.next, d.gap, d.anew = true, d.record.Offset+1, p.gap, p.anew
	d.entity = unknownEntity
	event, err := p.decodeRecord(d.record)
	d.op, d.operation = event.Op, operations[event.Op]
	d.change = order.Change{TxID: event.Source.TxID, LSN: event.Source.LSN}
	refused := p.findTable(d, event)
	d.db, d.from = event.Source.DB, event.Source.Name
	d.schema, d.name = event.Source.Schema, event.Source.Table
	if event.Tombstone && err == nil {
		return nil, p.readTombstone(d, event, hole)
	}
	// A null record behind a delete asks for nothing, also where the delete is refused.
	if p.ended = p.ended[:0]; event.Op == debezium.Delete || event.Op == "" {
		p.ended = append(p.ended, d.record.Key...)
	}
	if err != nil {
		var format *debezium.FormatError
		if errors.As(err, &format) && format.Other != "" {
			p.metrics.CountIgnored(format.Other)
			return nil, nil
		}
		return nil, fate.Rejectf(fate.RuleUndecodable, "%v", err)
	}
	if event.Op == debezium.Message {
		p.metrics.CountIgnored("message")
		return nil, nil
	}
	if refused != nil {
		return event, refused
	}
	if p.table != d.table {
		p.several = p.several || p.table != nil && p.table.Spec().Table != d.table.Spec().Table
		p.table = d.table
	}
	return event, p.placeInLog(d, event)
}

// findTable fills in the table of an event. The error is a rejection: the topic is of another
// table, or the table is one too many, or MongoDB cannot have the collection.
func (p *planner) findTable(d *draft, event *debezium.Event) error {
	s := &event.Source
	if s.Table == "" {
		return nil
	}
	of := foundTable{d.record.Topic, s.Name, s.Schema, s.Table, p.tables.Version(), p.found.table}
	if of == p.found {
		d.table, d.entity = of.table, of.table.Spec().Entity
		return nil
	}
	if err := p.topics.Check(d.record.Topic, s); err != nil {
		return err
	}
	if n := len(s.Schema) + len(s.Table); n > entity.CollectionMaxBytes {
		return fate.Rejectf(fate.RuleNamespace, "the names of schema and table have %d bytes,"+
			" at most %d", n, entity.CollectionMaxBytes)
	}
	of.table = p.tables.TableWithin(p.tablesMax, s.Schema, s.Table)
	if of.table == nil {
		d.entity = otherEntity
		return fate.Rejectf(fate.RuleTables, "%q.%q is one table too many without a spec: %d are"+
			" served (--tables-max)", s.Schema, s.Table, p.tablesMax)
	}
	d.table, d.entity = of.table, of.table.Spec().Entity
	if fault := of.table.Spec().CollectionFault(); fault != "" {
		return fate.Rejectf(fate.RuleNamespace, "%s", fault)
	}
	p.found = of
	return nil
}

// decodeStreamed returns the change of a row or table in a record, sent by the connector as the
// change came in the log; nil for other records.
func (p *planner) decodeStreamed(r *kgo.Record) (*debezium.Event, order.Change) {
	event, err := p.decodeRecord(r)
	if err != nil || deadletter.HeaderOf(r.Headers, deadletter.HeaderReplayed) != "" {
		return nil, order.Change{}
	}
	switch event.Op {
	case debezium.Create, debezium.Update, debezium.Delete, debezium.Truncate:
		return event, order.Change{TxID: event.Source.TxID, LSN: event.Source.LSN}
	}
	return nil, order.Change{}
}

func (p *planner) decodeRecord(r *kgo.Record) (*debezium.Event, error) {
	p.headers = p.headers[:0]
	for _, h := range r.Headers {
		p.headers = append(p.headers, debezium.Header{Key: h.Key, Value: h.Value})
	}
	return p.decoder.Decode(r.Key, r.Value, p.headers)
}

// placeInLog says where in the log the event is.
func (p *planner) placeInLog(d *draft, event *debezium.Event) error {
	position, err := event.Position()
	if err != nil {
		return fate.Rejectf(fate.RuleUndecodable, "%v", err)
	}
	d.position = p.epoch + string(position[:])
	d.letter = deadletter.HeaderOf(d.record.Headers, deadletter.HeaderReplayed) != ""
	if event.Op == debezium.Read {
		lsn := cmp.Or(event.Source.LSN, event.Source.Sequence[1])
		d.position = order.SnapshotPosition(d.position,
			cmp.Or(lsn, uint64(deadletter.OriginOffset(d.record)+1)))
		// A row of an incremental snapshot was read before the place of the emission.
		if event.Source.Snapshot != debezium.SnapshotIncremental {
			d.readAt = cmp.Or(event.CommitLSN, event.Source.LSN)
		}
	} else {
		if !d.letter {
			if d.below = d.position < p.reached; !d.below {
				p.reached = ""
			}
			d.resent, d.unseen = p.recent.Note(d.change, d.position,
				d.below || d.position < p.top)
		}
		if d.position < p.top {
			p.metrics.CountOutOfOrder(d.entity)
			d.behind = !d.letter // a replayed dead letter is old, and meant to be
		} else {
			p.top = d.position
		}
	}
	d.sourceAt, d.connectorAt = time.UnixMicro(event.Source.TsUs), time.UnixMicro(event.TsUs)
	return nil
}

const (
	unknownEntity = "unknown"
	otherEntity   = "other" // of all tables beyond --tables-max
)

// convertRow makes BSON of the row, and lets the spec's rules judge the row.
func (p *planner) convertRow(d *draft, event *debezium.Event, j *job) error {
	started := time.Now()
	e, err := p.encodeRow(d, event, j)
	if err != nil {
		var large *encode.SizeError
		if errors.As(err, &large) {
			return fate.Rejectf(fate.RuleDocument, "%v", err)
		}
		if len(event.Key) == 0 {
			p.log.logKeylessTable(d, err)
		}
		return fate.Rejectf(fate.RuleKey, "%v", err)
	}
	d.key, d.parent, d.before = e.ID, e.Parent, e.Before
	if !p.noRules {
		d.references, d.states = slices.Clone(e.References), slices.Clone(e.States)
	}
	p.log.schemaChanges(d, e.Changes)
	d.noteOmittedKey(event)
	if err := d.readOtherKey(event); err != nil {
		return err
	}
	if v := d.table.OutOfOrder(); v != nil && d.behind && !p.noRules {
		e.Violations = append(e.Violations, *v)
	}
	err = p.log.rejectionFor(d, e.Violations)
	p.metrics.ObserveValidation(time.Since(started))
	if embed := d.table.Spec().Embed; embed != nil {
		return fate.Both(d.embeddable(embed), err)
	}
	if d.op == debezium.Update && len(d.states) > 0 {
		d.rejected = err // the rules of transitions need the store
		return nil
	}
	return err
}
