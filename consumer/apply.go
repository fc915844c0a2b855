package consumer

import (
	"errors"
	"fmt"
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
// the entity's spec; it labels metrics.
type rejection struct{ rule, reason string }

func (r *rejection) Error() string { return r.rule + ": " + r.reason }

// The rules a record can break besides those of its entity's spec.
const (
	ruleUndecodable = "undecodable" // not a Debezium envelope
	ruleTable       = "table"       // no spec for its table
	ruleOperation   = "operation"   // not a change of one row
	ruleKey         = "key"         // no usable primary key
	ruleParent      = "parent"      // an item that names no order
	ruleIncomplete  = "incomplete"  // a new place in MongoDB, and a value was left out as unchanged
	ruleDocument    = "document"    // MongoDB will not hold it: too large, schema, ...
	ruleUnique      = "unique"      // a unique index other than _id
)

func rejectf(rule, format string, args ...any) error {
	return &rejection{rule, fmt.Sprintf(format, args...)}
}

// haltError wraps an error that trying again cannot cure.
type haltError struct{ err error }

func (h *haltError) Error() string { return h.err.Error() }
func (h *haltError) Unwrap() error { return h.err }

// planner turns records into writes. It talks to no server.
type planner struct {
	registry *entity.Registry
	metrics  *metrics
	now      func() time.Time
}

// plan is what is left to do for a batch of one partition; settle empties it.
type plan struct {
	writes   []write // at most one for each place: safe in an unordered bulk
	steps    []write // to be applied one after the other
	rejected []deadLetter
	last     *kgo.Record
}

// plan decodes, checks and folds a batch. A rejected record does not touch the others.
func (p *planner) plan(batch []arrival) *plan {
	var changes []change
	done := &plan{last: batch[len(batch)-1].record}
	for _, a := range batch {
		event, made, err := p.changes(a)
		if err != nil {
			done.rejected = append(done.rejected, p.deadLetter(a.record, &event, err))
			continue
		}
		changes = append(changes, made...)
	}
	done.writes = fold(changes)
	return done
}

// changes are what one record asks for: none (Debezium's tombstone after a delete), one, or two
// (an item that moved to another order). The event is set as far as it could be read. Every error
// is a rejection.
func (p *planner) changes(a arrival) (debezium.Event, []change, error) {
	r := a.record
	headers := make([]debezium.Header, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = debezium.Header{Key: h.Key, Value: h.Value}
	}
	event, err := debezium.Decode(r.Key, r.Value, headers)
	if err != nil {
		return event, nil, rejectf(ruleUndecodable, "%v", err)
	}
	if event.Tombstone {
		return event, nil, nil
	}
	c := change{record: r, polled: a.polled, processedAt: p.now()}
	if err := c.describe(&event); err != nil {
		return event, nil, err
	}
	table := event.Source.Schema + "." + event.Source.Table
	spec, known := p.registry.ByTable(table)
	if !known {
		return event, nil, rejectf(ruleTable, "there is no spec for %s", table)
	}
	c.entity = spec.Entity
	if !c.deleted {
		if err := p.check(spec, event.After); err != nil {
			return event, nil, err
		}
		if c.fields, err = fields(spec, event.After); err != nil {
			return event, nil, err
		}
	}
	id, err := keyText(spec, event)
	if err != nil {
		return event, nil, err
	}
	if spec.Embed != nil {
		made, err := c.inside(spec, id, &event)
		return event, made, err
	}
	c.place = place{collection: spec.Collection, id: id}
	return event, []change{c}, completeWhereNew(event.Op, event.After)
}

func (p *planner) deadLetter(r *kgo.Record, event *debezium.Event, err error) deadLetter {
	letter := deadLetter{record: r, entity: "unknown", operation: operations[event.Op], err: err}
	if spec, known := p.registry.ByTable(event.Source.Schema + "." + event.Source.Table); known {
		letter.entity = spec.Entity
	}
	return letter
}

// check runs the spec's rules. A value that Debezium left out as unchanged was checked when it
// came.
func (p *planner) check(spec *entity.Spec, row debezium.Row) error {
	if row == nil {
		return rejectf(ruleUndecodable, "the event has no row in after")
	}
	started := time.Now()
	violations := spec.Check(row)
	p.metrics.validation.Observe(time.Since(started).Seconds())
	var first string
	var reasons []string
	for _, v := range violations {
		if debezium.IsUnavailable(row[v.Field]) {
			continue
		}
		if first == "" {
			first = v.Rule
		}
		p.metrics.failed.WithLabelValues(v.Rule).Inc()
		reasons = append(reasons, fmt.Sprintf("column %s %s", v.Field, v.Reason))
	}
	if first != "" {
		return &rejection{first, strings.Join(reasons, "; ")}
	}
	p.metrics.passed.Inc()
	return nil
}

// fields are the row's values as the document has them. Left out: columns that are not in the row
// or not in the spec, and unchanged values that Debezium did not have.
func fields(spec *entity.Spec, row debezium.Row) ([]field, error) {
	made := make([]field, 0, len(spec.Fields)+2)
	for _, f := range spec.Fields {
		value, there := row[f.Column]
		if !there || f.Column == spec.Key || debezium.IsUnavailable(value) {
			continue
		}
		stored, exact, err := f.BSON(value)
		if err != nil {
			return nil, rejectf(ruleUndecodable, "column %s: %v", f.Column, err)
		}
		made = append(made, field{name: f.Member(), value: stored})
		if f.Kind == entity.Timestamp {
			made = append(made,
				field{name: f.Member() + entity.ExactSuffix, value: exact, absent: exact == ""})
		}
	}
	return made, nil
}

// completeWhereNew rejects a row that begins a document without all its values: after a change of
// its primary key Debezium may not have an unchanged large value, and it is nowhere under the new
// key.
func completeWhereNew(op debezium.Op, row debezium.Row) error {
	if op != debezium.Create && op != debezium.Read {
		return nil
	}
	for column, value := range row {
		if debezium.IsUnavailable(value) {
			return rejectf(ruleIncomplete, "column %s of a new row was left out as unchanged",
				column)
		}
	}
	return nil
}

// keyText is the _id: from the record's key, else from the row. Under the default replica identity
// a delete's before has made-up values in every other column.
func keyText(spec *entity.Spec, event debezium.Event) (string, error) {
	for _, row := range []debezium.Row{event.Key, event.After, event.Before} {
		if value, there := row[spec.Key]; there {
			return columnText(spec, spec.Key, value, ruleKey)
		}
	}
	return "", rejectf(ruleKey, "neither the key nor the row has the column %s", spec.Key)
}
