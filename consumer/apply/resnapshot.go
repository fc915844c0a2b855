package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/order"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// place returns the draft's place, for a judgement beside a stored row.
func (d *draft) place() *order.Event {
	return &order.Event{Position: d.position, TxID: d.change.TxID, SourceAt: d.sourceAt,
		Topic: d.record.Topic, Partition: d.record.Partition,
		Offset: deadletter.OriginOffset(d.record), Gap: d.gap, ReadAt: d.readAt,
		Incarnation: d.anew,
		Resent:      d.resent, Unseen: d.unseen, Letter: d.letter, Comes: d.comes,
		Unmet:    !d.resent && !d.unseen,
		Embedded: d.table.Spec().Embed != nil, Read: d.op == debezium.Read}
}

// metadata returns what the store would say of the draft.
func (d *draft) metadata() documents.Metadata {
	return documents.Metadata{Position: d.position, TxID: d.change.TxID, Operation: d.operation,
		SourceTimestamp: d.sourceAt.UnixMilli(), Topic: d.record.Topic,
		Incarnation: d.anew, Partition: d.record.Partition,
		Offset: deadletter.OriginOffset(d.record), Deleted: d.endsTheRow()}
}

// staleBeside returns errStale for an event that is older than a stored row, and an alarm for an
// event of a log that began anew.
func (d *draft) staleBeside(s documents.Metadata) error {
	if at := d.place(); at.Judge(s) == order.Contradictory {
		return at.Alarm(d.table.Spec().Collection, s)
	}
	return errStale
}

// settleStale looks at the stored rows that made writes stale, and writes the newer rows of a
// snapshot. The returned outcomes include the second writes, and errors about rows of another log
// or with another row's key.
func (a *Applier) settleStale(ctx context.Context, writes []write,
	outcomes []documents.Outcome) []documents.Outcome {
	var ids []string
	var stale []int
	for i, done := range outcomes {
		if w := &writes[i]; done.Stale && w.mustBeLookedAt() {
			ids, stale = append(ids, w.ID), append(stale, i)
		}
	}
	if len(stale) == 0 {
		return outcomes
	}
	outcomes = slices.Clone(outcomes) // the store's until the next apply
	members := []string{documents.MetadataMember}
	at := writes[stale[0]].Place // a round is of one table
	if at.Embedded() {
		members = append(members, at.Field)
	}
	found, err := a.store.Find(ctx, at.Collection, ids, members...)
	if fate.Of(err) == fate.Reject {
		return outcomes // stale, by what the store said first
	}
	if err != nil {
		for _, i := range stale {
			outcomes[i].Err = fmt.Errorf("look at a row that is newer: %w", err)
		}
		return outcomes
	}
	var again []write
	var indexes []int
	for _, i := range stale {
		w := &writes[i]
		row := found[w.ID]
		if w.Embedded() {
			row, _ = row.Lookup(w.Field, w.Item).DocumentOK()
		}
		second, mark, err := a.settleStaleWrite(w, row)
		if mark != nil {
			if done := a.writer.writeRows(ctx, []write{*mark}); done[0].Err != nil {
				err = done[0].Err
			}
		}
		if outcomes[i].Err = err; second {
			again, indexes = append(again, *w), append(indexes, i)
		}
	}
	if len(again) > 0 {
		for i, done := range a.writer.writeRows(ctx, again) {
			outcomes[indexes[i]] = done
		}
	}
	return outcomes
}

// mustBeLookedAt returns true unless all changes of the write are known to be older.
func (w *write) mustBeLookedAt() (must bool) {
	must = w.fresh != nil
	w.eachChange(func(c *change) { must = must || c.mayBeNewer() })
	return must
}

// mayBeNewer returns true if the draft may be newer than a row of a higher position.
func (c *change) mayBeNewer() bool {
	return !c.resent && !c.letter && (c.op != debezium.Read || c.readAt != 0)
}

// settleStaleWrite returns true if the write, changed, is to be written again. An error about
// another row with the key comes with the mark of the key, to be written.
func (a *Applier) settleStaleWrite(w *write, row bson.Raw) (again bool, mark *write, err error) {
	s := documents.MetadataOf(row)
	w.eachChange(func(c *change) {
		if stale := c.staleBeside(s); err == nil && !errors.Is(stale, errStale) {
			err = stale
		}
	})
	if err != nil {
		return false, nil, err
	}
	if claim := w.fresh; claim != nil && s.Position < w.position {
		w.fresh = nil
		if s.Position >= claim.position { // the claim is a replay, what follows is not
			return true, nil, nil
		}
		switch claim.place().JudgeClaim(s) {
		case order.Displaced:
			if w.position == claim.position {
				w.shared = claim.position
			}
		case order.Occupied:
			w.fresh = claim
			mark := write{change: change{Place: w.Place, draft: claim, shared: claim.position}}
			return false, &mark, claim.occupiedError(s)
		}
		return true, nil, nil
	}
	switch w.place().Judge(s) {
	case order.Newer:
		if w.Embedded() { // placed by placeSnapshotItems
			return false, nil, nil
		}
		w.position, w.fresh = w.place().AfterStored(s.Position), nil
		return true, nil, nil
	case order.Occupied:
		if !order.IsRaised(s.Position) && a.endsAnotherRow(&w.change, row) {
			return false, nil, nil
		}
		return false, nil, w.occupiedError(s)
	}
	return false, nil, nil
}

func (d *draft) occupiedError(s documents.Metadata) error {
	return fate.Rejectf(fate.RuleKey, "another row of %s has the key since offset %d, and no"+
		" delete came between: the Kafka key does not name one row (no primary key,"+
		" message.key.columns, a partial or deferrable index), so that the key's events are"+
		" refused from here on; name a column that does in a spec's key or in"+
		" message.key.columns. Where the other row is gone in the source (a TRUNCATE or DROP"+
		" that was not sent), delete its document and replay this letter",
		d.table.Spec().Table, s.Offset)
}

// seenLines are the keys of a round's embedded rows, once a row that may live elsewhere comes.
type seenLines map[string]bool

// hasBefore returns true for a row of a snapshot, or of a log begun anew, whose row an earlier
// draft of the round has: the row's document is looked up, so that the earlier draft must be stored
// first.
func (l *seenLines) hasBefore(d *draft, earlier []*draft) bool {
	looked := (d.op == debezium.Read || d.op == debezium.Create) && d.hasUnknownParent()
	if d.table.Spec().Embed == nil || !looked && *l == nil {
		return false
	}
	if *l == nil {
		*l = seenLines{}
		for _, one := range earlier {
			(*l)[one.key] = true
		}
	}
	before := looked && (*l)[d.key]
	(*l)[d.key] = true
	return before
}

// placeSnapshotItems places the embedded rows of a snapshot that are newer than the stored rows,
// before the write, because no copy may stay in the old documents. An older row gets no copy in
// another document either. The error is about rows of another log, also of a row made anew.
func (a *Applier) placeSnapshotItems(h *held, r *round) (err error) {
	r.drafts = slices.DeleteFunc(r.drafts, func(d *draft) bool {
		stored := h.rows[d.key]
		if d.table.Spec().Embed == nil || stored == nil ||
			d.op != debezium.Read && d.op != debezium.Create {
			return false
		}
		before := documents.MetadataOf(stored)
		if d.op == debezium.Create {
			if d.position < before.Position && !errors.Is(d.staleBeside(before), errStale) {
				err = d.staleBeside(before)
			}
			return false
		}
		if d.again = d.position > before.Position; d.again {
			return false
		}
		if at := d.place(); at.Judge(before) == order.Newer {
			d.position, d.again = at.AfterStored(before.Position), true
			return false
		}
		if stale := d.staleBeside(before); !errors.Is(stale, errStale) {
			err = stale
			return false
		}
		a.metrics.countSettled(d, telemetry.OutcomeStale)
		return true
	})
	return err
}
