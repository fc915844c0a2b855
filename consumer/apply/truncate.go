package apply

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/order"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// truncates remembers, for all partitions of the process, the position of each table's last
// truncate: older rows still on the way are no longer written. Another member of the group learns
// of the truncate with a new partition, so that with several members a truncate is exact only in a
// topic of one partition. Debezium leaves truncates out by default.
type truncates struct {
	mu sync.Mutex
	at map[string]documents.Metadata // by documents.TruncateID; zero where none is known
}

// findPosition looks up a table not known yet.
func (t *truncates) findPosition(ctx context.Context, s documents.Store, spec *entity.Spec) error {
	id := documents.TruncateID(spec)
	if _, known := t.positionOf(id); known {
		return nil
	}
	found, err := s.Find(ctx, documents.KeptCollection, []string{id}, documents.MetadataMember)
	if err != nil {
		return err
	}
	t.remember(id, documents.MetadataOf(found[id]))
	return nil
}

func (t *truncates) positionOf(id string) (last documents.Metadata, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known = t.at[id]
	return last, known
}

func (t *truncates) remember(id string, last documents.Metadata) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = map[string]documents.Metadata{}
	}
	if known, there := t.at[id]; !there || known.Position < last.Position {
		t.at[id] = last
	}
}

// dropTruncated counts the rows ended by an earlier truncate, and takes them off the round. The
// error is about rows of a log that began anew.
func (a *Applier) dropTruncated(r *round) (err error) {
	if len(r.drafts) == 0 {
		return nil
	}
	last, _ := a.truncates.positionOf(documents.TruncateID(r.drafts[0].table.Spec()))
	r.drafts = slices.DeleteFunc(r.drafts, func(d *draft) bool {
		if d.op == debezium.Truncate || d.null || d.position >= last.Position ||
			d.place().WasReadSince(last.Position) {
			return false
		}
		at := d.place()
		if at.Unseen = false; at.Judge(last) == order.Contradictory { // rows may come late
			err = at.Alarm(d.table.Spec().Collection, last)
			return false
		}
		a.metrics.countSettled(d, telemetry.OutcomeStale)
		return true
	})
	return err
}

// endAllRows ends every older row of the table.
func (t *truncates) endAllRows(ctx context.Context, to *writer, d *draft) error {
	const most = 1000
	spec := d.table.Spec()
	id := documents.TruncateID(spec)
	gone := []write{{change: change{Place: documents.Place{Collection: documents.KeptCollection,
		ID: id}, draft: d}}}
	end := func(p documents.Place) {
		gone = append(gone, write{change: change{Place: p, draft: d, deleted: true, aside: true}})
	}
	flush := func() error {
		for _, done := range to.writeRows(ctx, gone) {
			if done.Err != nil {
				return fmt.Errorf("truncate %s: %w", spec.Table, done.Err)
			}
		}
		gone = gone[:0]
		return nil
	}
	if err := flush(); err != nil {
		return err
	}
	t.remember(id, d.metadata())
	err := to.store.All(ctx, spec.Collection, func(document bson.Raw) error {
		if err := documents.VisitLiveRows(document, spec, end); err != nil {
			return err
		}
		if len(gone) < most {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// refuseOtherSources makes dead letters of the drafts of other sources than their table's.
func (a *Applier) refuseOtherSources(ctx context.Context, r *round) error {
	var failed error
	r.drafts = slices.DeleteFunc(r.drafts, func(d *draft) bool {
		at := checkedSource{d.table, d.db, d.from, a.sources.Turns()}
		if failed != nil || at == a.checked || d.db == "" || d.null {
			return false
		}
		spec := d.table.Spec()
		rejection, err := a.sources.Refuse(ctx, a.store, a.planner.epoch, spec.Collection,
			spec.Table, d.db, d.from)
		if err == nil && rejection == nil {
			err = a.sources.NoteTable(ctx, a.store, d.record.Topic, d.schema, d.name)
		}
		switch {
		case err != nil:
			failed = err
		case rejection != nil:
			a.job.rejected = append(a.job.rejected, d.deadLetter(rejection))
		default:
			at.turns = a.sources.Turns()
			a.checked = at
		}
		return rejection != nil
	})
	return failed
}

// checkedSource is the source of the last draft that was not refused.
type checkedSource struct {
	table    *encode.Table
	db, from string
	turns    int64
}
