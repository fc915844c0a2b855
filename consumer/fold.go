package consumer

import (
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/entity"
)

// operations are the values of cdcMetadata.operation, for the operations that change one row.
var operations = map[debezium.Op]string{
	debezium.Create: "INSERT", debezium.Update: "UPDATE", debezium.Delete: "DELETE",
	debezium.Read: "SNAPSHOT",
}

// place is where a row lives: a document, or the member field.item of one.
type place struct{ collection, id, field, item string }

func (p place) embedded() bool { return p.field != "" }

// field is a member to set, or (absent) to remove.
type field struct {
	name   string
	value  any
	absent bool
}

// change is what one event does at one place.
type change struct {
	place
	record            *kgo.Record
	entity, operation string
	position          string // debezium.Event.Position: commit order
	fields            []field
	deleted           bool
	aside             bool // the place an item moved away from
	processedAt       time.Time

	sourceAt, connectorAt, polled time.Time
}

// describe takes from the event what is the same for every entity.
func (c *change) describe(event *debezium.Event) error {
	var known bool
	if c.operation, known = operations[event.Op]; !known {
		return rejectf(ruleOperation, "operation %q changes no single row", event.Op)
	}
	var err error
	if c.position, err = event.Position(); err != nil {
		return rejectf(ruleUndecodable, "%v", err)
	}
	if event.Op == debezium.Read {
		c.position = snapshotPosition(c.position, c.record.Offset)
	}
	c.deleted = event.Op == debezium.Delete
	c.sourceAt, c.connectorAt = time.UnixMicro(event.Source.TsUs), time.UnixMicro(event.TsUs)
	return nil
}

// snapshotPosition: rows of a snapshot that carry no position come before everything streamed, and
// among themselves in the order of their offsets, so that a snapshot which began anew wins.
// Offsets stay below the LSNs of streamed events: a row takes more than one byte of WAL.
func snapshotPosition(position string, offset int64) string {
	if strings.Trim(position, "0") != "" {
		return position
	}
	return fmt.Sprintf("%016x%016x", 0, offset+1)
}

// inside places an item in its order. One that moved leaves a tombstone where it was.
func (c change) inside(spec *entity.Spec, id string, event *debezium.Event) ([]change, error) {
	if strings.ContainsAny(id, ".$\x00") {
		return nil, rejectf(ruleKey, "%q cannot be the name of a member", id)
	}
	at := func(row debezium.Row, which string) (place, error) {
		value, there := row[spec.Embed.Parent]
		if !there || value == nil || value == "" {
			return place{}, rejectf(ruleParent, "%s of the %s holds no %s: it needs REPLICA IDENTITY FULL",
				which, spec.Entity, spec.Embed.Parent)
		}
		parent, err := columnText(spec, spec.Embed.Parent, value, ruleParent)
		return place{spec.Collection, parent, spec.Embed.Field, id}, err
	}
	var before place
	var err error
	if c.deleted || event.Op == debezium.Update {
		if before, err = at(event.Before, "before"); err != nil {
			return nil, err
		}
	}
	if c.deleted {
		c.place = before
		return []change{c}, nil
	}
	if c.place, err = at(event.After, "after"); err != nil {
		return nil, err
	}
	op := event.Op
	changes := []change{c}
	if op == debezium.Update && before != c.place {
		op = debezium.Create
		left := c
		left.place, left.fields, left.deleted, left.aside = before, nil, true, true
		changes = append(changes, left)
	}
	return changes, completeWhereNew(op, event.After)
}

// columnText is a key as the text that documents hold, under the rule it breaks when it is none.
func columnText(spec *entity.Spec, column string, value any, rule string) (string, error) {
	for _, f := range spec.Fields {
		if f.Column != column {
			continue
		}
		stored, _, err := f.BSON(value)
		if err != nil {
			return "", rejectf(rule, "column %s: %v", column, err)
		}
		value = stored
	}
	text := fmt.Sprint(value)
	if value == nil || text == "" {
		return "", rejectf(rule, "column %s is empty", column)
	}
	return text, nil
}

// write is the changes of one batch at one place, folded into one: the last position's, and for
// the fields that one left out, those of the change before it.
type write struct {
	change
	from []change // in the order of the log
}

// fold keeps the order in which places were first met. A replayed older event adds nothing, not
// even a field: what it holds may have changed since.
func fold(changes []change) []write {
	writes := make([]write, 0, len(changes))
	at := make(map[place]int, len(changes))
	for _, c := range changes {
		i, seen := at[c.place]
		if !seen {
			at[c.place] = len(writes)
			writes = append(writes, write{c, []change{c}})
			continue
		}
		w := &writes[i]
		w.from = append(w.from, c)
		if c.position > w.position {
			c.fields = overlay(w.fields, c.fields)
			w.change = c
		}
	}
	return writes
}

func overlay(under, over []field) []field {
	both := over[:len(over):len(over)]
	for _, u := range under {
		covered := false
		for _, o := range over {
			covered = covered || o.name == u.name
		}
		if !covered {
			both = append(both, u)
		}
	}
	return both
}
