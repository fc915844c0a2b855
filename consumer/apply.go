package consumer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// fate is what an error means for the record, or for the process.
type fate int

const (
	reject fate = iota // never to be written: a dead letter, alone
	later              // nothing is wrong with the record: back off and try again
	stop               // going on is pointless: end the process
)

// fateOf is the one place that decides. What it does not know is tried again: a partition that
// waits is seen and loses nothing.
func fateOf(err error) fate {
	var rejected *rejection
	var halt *haltError
	switch {
	case errors.As(err, &halt):
		return stop
	case errors.As(err, &rejected):
		return reject
	default:
		return later
	}
}

// rejection is a permanent error of one record. rule is one of the constants below or a rule of
// the entity's spec; it labels metrics. reason has a line for each thing that is wrong.
type rejection struct{ rule, reason string }

func (r *rejection) Error() string { return r.rule + ": " + r.reason }

// The rules a record can break besides those of its entity's spec.
const (
	ruleUndecodable = "undecodable" // not a Debezium envelope
	ruleKey         = "key"         // no usable primary key
	ruleParent      = "parent"      // an embedded row that names no document to live in
	ruleIncomplete  = "incomplete"  // a new place in MongoDB, and a value was left out as unchanged
	ruleReference   = "reference"   // the row it refers to did not come in time
	ruleDocument    = "document"    // MongoDB will not hold it: too large, schema, ...
	ruleUnique      = "unique"      // a unique index other than _id
)

// both is one rejection for two reasons, under the first one's rule. Each may be nil.
func both(first, second error) error {
	if first == nil || second == nil {
		return cmp.Or(first, second)
	}
	var one, other *rejection
	if !errors.As(first, &one) || !errors.As(second, &other) {
		return first
	}
	return &rejection{one.rule, one.reason + "\n" + other.reason}
}

func rejectf(rule, format string, args ...any) error {
	return &rejection{rule, fmt.Sprintf(format, args...)}
}

// haltError wraps an error that trying again cannot cure.
type haltError struct{ err error }

func (h *haltError) Error() string { return h.err.Error() }
func (h *haltError) Unwrap() error { return h.err }

// operations are the values of cdcMetadata.operation, for the operations that change rows.
var operations = map[debezium.Op]string{
	debezium.Create: "INSERT", debezium.Update: "UPDATE", debezium.Delete: "DELETE",
	debezium.Read: "SNAPSHOT", debezium.Truncate: "TRUNCATE",
}

// draft is one event: read, converted and judged by itself, before anything is known of what is
// stored.
type draft struct {
	record    *kgo.Record
	table     *entity.Table
	entity    string
	op        debezium.Op
	operation string
	position  string // the epoch and debezium.Event.Position: commit order
	// key is the document's _id, or the embedded row's key. parent is the document it is embedded in, and
	// before the one it was in; "" where the event does not say.
	key, parent, before string
	members             []byte // BSON elements
	absent, missing     []string
	drifted             []entity.Drifted
	behind              bool // an earlier event of its partition has a later position
	references          []entity.Ref
	states              []entity.State
	rejected            error // by the rules that the event alone decides, where others are to be asked too
	// leaves and comes: the row's primary key changed to another, or to this one. otherID is the id under
	// the other one: the same where the id is of columns that did not change.
	leaves, comes bool
	otherID       string
	readAt        uint64 // the LSN of the snapshot that the row is of, which its position has not
	again         bool   // an embedded row of a snapshot that is newer than what is stored
	txID          uint32

	sourceAt, connectorAt, polled, processedAt time.Time
	deletedAt                                  time.Time // zero: processedAt

	// judged: its references are known to be there, or it has waited long enough; orphan is about those
	// that are not.
	judged  bool
	orphan  []entity.Violation
	waiting time.Time // since when it has been parked, or waiting for the other key's delete
	size    int       // bytes it holds while it is parked
}

func (d *draft) deleted() bool { return d.op == debezium.Delete }

// begins: the event's row has no earlier version at its place.
func (d *draft) begins() bool { return d.op == debezium.Create || d.op == debezium.Read }

// alone: the draft needs to see what is stored after everything before it is written.
func (d *draft) alone() bool {
	switch {
	case d.op == debezium.Truncate || d.leaves:
		return true
	case len(d.drifted) > 0:
		return true
	case len(d.missing) == 0 || d.deleted():
		return false
	}
	return d.begins() || d.comes || d.table.Spec().Embed != nil && d.before != d.parent
}

// planner turns the records of one partition into drafts. It talks to no server.
type planner struct {
	registry *entity.Registry
	decoder  debezium.Decoder
	encoder  entity.Encoder
	metrics  *metrics
	log      *ruleLog
	epoch    string // four hexadecimal digits
	noRules  bool
	now      func() time.Time

	headers []debezium.Header
	top     string // the highest streamed position so far
}

// job is what is left to do for a batch; settle empties it.
type job struct {
	drafts   []*draft // not begun yet, in the order of the log
	round    *round   // under way
	rejected []deadLetter
	last     *kgo.Record // nil where all of it was parked before

	arena []byte
	slab  []draft
}

// plan reads and judges a batch. A rejected record does not touch the others. The job is valid
// until the next plan.
func (p *planner) plan(j *job, batch []arrival) {
	clear(j.slab)
	j.slab, j.arena = slices.Grow(j.slab[:0], len(batch)), j.arena[:0]
	j.drafts, j.round, j.rejected = j.drafts[:0], nil, nil
	j.last = batch[len(batch)-1].record
	now := p.now()
	for _, a := range batch {
		j.slab = append(j.slab, draft{record: a.record, polled: a.polled, processedAt: now})
		d := &j.slab[len(j.slab)-1]
		use, err := p.draft(d, j)
		switch {
		case err != nil:
			j.rejected = append(j.rejected, d.letter(err))
		case use:
			j.drafts = append(j.drafts, d)
		}
	}
}

func (d *draft) letter(err error) deadLetter {
	l := deadLetter{record: d.record, entity: d.entity, operation: d.operation, err: err,
		source: letterSource{Position: d.position, TxID: d.txID}}
	if d.table != nil {
		l.source.Table = d.table.Spec().Table
	}
	if !d.sourceAt.IsZero() {
		l.source.TsUs = d.sourceAt.UnixMicro()
	}
	return l
}

// draft fills in d; false where the record asks for nothing. Every error is a rejection.
func (p *planner) draft(d *draft, j *job) (bool, error) {
	event, err := p.read(d)
	if event == nil || err != nil || d.op == debezium.Truncate {
		return event != nil, err
	}
	return true, p.convert(d, event, j)
}

// read fills in all of d but what is made of the row. It is nil where the record asks for nothing: a
// tombstone, which follows a delete, a heartbeat, transaction metadata, a logical message.
func (p *planner) read(d *draft) (*debezium.Event, error) {
	d.entity = unknownEntity
	event, err := p.decode(d.record)
	if event.Source.Table != "" {
		d.table = p.registry.Table(event.Source.Schema, event.Source.Table)
		d.entity = d.table.Spec().Entity
	}
	d.op, d.operation, d.txID = event.Op, operations[event.Op], event.Source.TxID
	if err != nil {
		var format *debezium.FormatError
		if errors.As(err, &format) && format.Other != "" {
			p.metrics.ignored(format.Other)
			return nil, nil
		}
		return nil, rejectf(ruleUndecodable, "%v", err)
	}
	if event.Tombstone {
		return nil, nil
	}
	if event.Op == debezium.Message {
		p.metrics.ignored("message")
		return nil, nil
	}
	return event, p.place(d, event)
}

func (p *planner) decode(r *kgo.Record) (*debezium.Event, error) {
	p.headers = p.headers[:0]
	for _, h := range r.Headers {
		p.headers = append(p.headers, debezium.Header{Key: h.Key, Value: h.Value})
	}
	return p.decoder.Decode(r.Key, r.Value, p.headers)
}

// place says where in the log the event is.
func (p *planner) place(d *draft, event *debezium.Event) error {
	position, err := event.Position()
	if err != nil {
		return rejectf(ruleUndecodable, "%v", err)
	}
	d.position = p.epoch + string(position[:])
	if event.Op == debezium.Read {
		read := snapshotPosition(d.position, originOffset(d.record))
		if read != d.position && (d.table.Spec().Embed == nil || event.Source.Sequence[0] == 0) {
			d.readAt = event.Source.LSN
		}
		d.position = read
	} else if d.position < p.top {
		p.metrics.outOfOrder(d.entity)
		// A dead letter that is replayed is old, and meant to be.
		d.behind = header(d.record.Headers, HeaderReplayed) == ""
	} else {
		p.top = d.position
	}
	d.sourceAt, d.connectorAt = time.UnixMicro(event.Source.TsUs), time.UnixMicro(event.TsUs)
	return nil
}

// snapshotPosition: rows of a snapshot that carry no position come before everything streamed, and
// among themselves in the order of their offsets, so that a snapshot which began anew wins.
// Offsets stay below the LSNs of streamed events: a row takes more than one byte of WAL.
func snapshotPosition(position string, offset int64) string {
	if strings.Trim(position[epochDigits:], "0") != "" {
		return position
	}
	return fmt.Sprintf("%s%016x%016x", position[:epochDigits], 0, offset+1)
}

const (
	epochDigits   = 4
	unknownEntity = "unknown"
)

// convert makes BSON of the row, and lets the rules of its spec judge it.
func (p *planner) convert(d *draft, event *debezium.Event, j *job) error {
	started := time.Now()
	e, err := p.encoder.Encode(d.table, event,
		entity.Facts{Recorded: d.record.Timestamp, NoRules: p.noRules})
	if err != nil {
		if len(event.Key) == 0 {
			p.log.keyless(d, err)
		}
		return rejectf(ruleKey, "%v", err)
	}
	d.key, d.parent, d.before = e.ID, e.Parent, e.Before
	from := len(j.arena)
	j.arena = append(j.arena, e.Elements...)
	d.members = j.arena[from:len(j.arena):len(j.arena)]
	d.absent, d.missing, d.drifted = slices.Clone(e.Absent), slices.Clone(e.Missing), e.Drifted
	if !p.noRules {
		d.references, d.states = slices.Clone(e.References), slices.Clone(e.States)
	}
	for _, change := range e.Changes {
		p.log.schemaChange(d, &change)
	}
	if err := d.otherKey(event); err != nil {
		return err
	}
	if v := d.table.OutOfOrder(); v != nil && d.behind && !p.noRules {
		e.Violations = append(e.Violations, *v)
	}
	err = p.log.judge(d, e.Violations)
	p.metrics.validated(time.Since(started))
	if embed := d.table.Spec().Embed; embed != nil {
		return both(d.embeddable(embed), err)
	}
	if d.op == debezium.Update && len(d.states) > 0 {
		d.rejected = err // those about transitions need the store
		return nil
	}
	return err
}

// otherKey reads what a change of the primary key has in its header. One that leaves the id as it is
// changes a row.
func (d *draft) otherKey(event *debezium.Event) (err error) {
	key := event.OldKey
	if d.comes = len(key) > 0; !d.comes {
		key = event.NewKey
		if d.leaves = len(key) > 0; !d.leaves {
			return nil
		}
	}
	if d.otherID, err = d.table.KeyText(key, event.Key); err != nil {
		return rejectf(ruleKey, "the other key: %v", err)
	}
	if d.comes && d.otherID == d.key {
		d.op, d.operation = debezium.Update, operations[debezium.Update]
	}
	return nil
}

func (d *draft) embeddable(embed *entity.Embed) error {
	if d.key == "" || strings.ContainsAny(d.key, ".\x00") || d.key[0] == '$' {
		return rejectf(ruleKey, "the key cannot be the name of a member")
	}
	if d.parent == "" && !d.deleted() {
		return rejectf(ruleParent, "the row's %s is empty: it names no document to live in",
			embed.Parent)
	}
	return nil
}
