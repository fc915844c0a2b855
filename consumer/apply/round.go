package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/deadletter"
	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// round is as much of a job as an unordered bulk may hold, of one table: everything before the next
// draft that must see the store, or such a draft alone.
type round struct {
	drafts []*draft
	built  bool
	writes []write // at most one for each place
	steps  []write // to be applied one by one
}

// nextRound takes the next round off the job; nil at the job's end.
func (j *job) nextRound() *round {
	if len(j.drafts) == 0 {
		return nil
	}
	n := len(j.drafts)
	if j.alone > 0 {
		j.alone, n = j.alone-1, 1
	}
	var lines seenLines
	for i, d := range j.drafts[:n] {
		if d.needsOwnRound() {
			n = max(i, 1)
			break
		}
		if lines.hasBefore(d, j.drafts[:i]) ||
			d.table != j.drafts[0].table || // a look at the store is at the rows of one table
			i > 0 && d.readAt != 0 && j.drafts[i-1].readAt == 0 { // earlier rows are stored first
			n = i
			break
		}
	}
	r := &round{drafts: j.drafts[:n]}
	j.drafts = j.drafts[n:]
	return r
}

// buildRound makes the round's writes, with a look at the store where the events do not say enough,
// so that an error may be the store's, or ErrWaiting.
func (a *Applier) buildRound(ctx context.Context, r *round) error {
	held, err := a.lookAtStore(ctx, r)
	if err != nil {
		return err
	}
	if len(r.drafts) == 0 {
		r.built = true
		return nil
	}
	if only := r.drafts[0]; only.needsOwnRound() {
		err := a.prepareLoneDraft(ctx, only, held)
		switch {
		case err == nil:
		case errors.Is(err, errStale):
			a.metrics.countSettled(only, telemetry.OutcomeStale)
			r.drafts = nil
		case errors.Is(err, errFolded):
			a.metrics.countSettled(only, telemetry.OutcomeFolded)
			r.drafts = nil
		case fate.Of(err) == fate.Reject:
			a.job.rejected = append(a.job.rejected, only.deadLetter(err))
			r.drafts = nil
		default:
			return err
		}
	}
	clear(a.folder.changes)
	changes := a.folder.changes[:0]
	for _, d := range r.drafts {
		if d.op == debezium.Truncate {
			continue // done by prepareLoneDraft
		}
		if err := fate.Both(d.rejected, a.stored.judgeTransitions(d)); err != nil {
			a.job.rejected = append(a.job.rejected, d.deadLetter(err))
			continue
		}
		if !d.judged { // else counted when parked
			a.metrics.Passed.Inc()
		}
		before, parked := a.parkOrRelease(d, held.parents)
		for _, ready := range before {
			changes = ready.appendChanges(changes, held)
		}
		if !parked {
			changes = d.appendChanges(changes, held)
		}
	}
	a.folder.changes = changes
	r.writes, r.built = a.folder.foldByPlace(), true
	for i := range r.writes {
		if w := &r.writes[i]; len(w.missing) > 0 && w.op == debezium.Update && !w.deleted {
			w.noteUnknown(held.rows[w.key])
		}
	}
	for _, c := range a.folder.behind {
		r.steps = append(r.steps, write{change: c})
	}
	for i := range a.folder.refused {
		c := &a.folder.refused[i]
		if err := a.refuseFolded(c, r.writes[a.folder.at[c.Place]]); err != nil {
			a.job.rejected = append(a.job.rejected, c.deadLetter(err))
		} else {
			a.metrics.countSettled(c.draft, telemetry.OutcomeFolded)
		}
	}
	return nil
}

// lookAtStore finds out what the round's events leave open, and takes off the drafts that the
// store's knowledge refuses.
func (a *Applier) lookAtStore(ctx context.Context, r *round) (*held, error) {
	if err := a.settleNames(ctx, r); err != nil {
		return nil, err
	}
	h, err := a.findForRound(ctx, r.drafts)
	if err == nil {
		err = a.refuseOtherSources(ctx, r)
	}
	if err == nil {
		err = a.dropTruncated(r)
	}
	if err == nil {
		err = a.placeSnapshotItems(h, r)
	}
	return h, err
}

// prepareLoneDraft does the work of a lone draft besides the write.
func (a *Applier) prepareLoneDraft(ctx context.Context, d *draft, h *held) error {
	change := keyChange{d, a.store, a.parking, a.now}
	if d.doubtful || d.partly && !d.null {
		if err := a.findDoubtfulRow(ctx, d); err != nil {
			return err
		}
	}
	switch {
	case d.null:
		return change.placeTombstone(ctx)
	case d.op == debezium.Truncate:
		err := a.truncates.endAllRows(ctx, &a.writer, d)
		if err == nil {
			a.metrics.countSettled(d, telemetry.OutcomeApplied)
		}
		return err
	case d.leaves:
		err := change.keepOldState(ctx)
		if err == nil && d.otherID == d.key && !d.otherUnread {
			return errFolded
		}
		return err
	case d.comes:
		return change.takeOldState(ctx)
	case len(d.drifted) > 0:
		return d.addRetypedMembers(ctx, a.store)
	}
	if d.endsTheRow() {
		return nil
	}
	return d.completeFrom(h.rows[d.key])
}

// parkOrRelease parks the draft, or returns the row's drafts parked before. The row's newest state
// decides; a replayed event is not the newest.
func (a *Applier) parkOrRelease(d *draft, found sightings) (before []*draft, parked bool) {
	chain := a.parking.chainOf(d)
	if chain == nil && d.judged {
		return nil, false
	}
	deciding := chain.newestWith(d)
	if !deciding.judged && len(found.missingParents(deciding)) > 0 {
		a.parking.parkDraft(d, a.now())
		a.metrics.countParked(d)
		return nil, true
	}
	if chain == nil {
		return nil, false
	}
	return a.parking.takeChain(d.rowName()), false
}

// findForRound asks the store for everything left open by the round's events.
func (a *Applier) findForRound(ctx context.Context, drafts []*draft) (*held, error) {
	if err := a.truncates.findPosition(ctx, a.store, drafts[0].table.Spec()); err != nil {
		return nil, fmt.Errorf("look for truncates: %w", err)
	}
	var refs []encode.Ref
	var states, items, lacking []string
	a.stored.beginRound(drafts[0].table)
	for _, d := range drafts {
		if !d.judged && !d.endsTheRow() && d.rejected == nil {
			refs = append(refs, d.references...)
		}
		if parked := a.parking.chainOf(d); parked != nil {
			refs = append(refs, parked.newest.references...)
		}
		if a.stored.mustBeFound(d) {
			states = append(states, d.key)
		}
		switch {
		case d.hasUnknownParent():
			items = append(items, d.key)
		case d.table.Spec().Embed == nil && d.op == debezium.Update && len(d.missing) > 0:
			lacking = append(lacking, d.key)
		}
	}
	h := newHeld()
	if len(refs) > 0 {
		var err error
		if h.parents, err = a.parents.findParents(ctx, refs); err != nil {
			return nil, fmt.Errorf("look for referenced rows: %w", err)
		}
	}
	if len(states) > 0 {
		if err := a.stored.findStates(ctx, a.store, drafts[0].table.Spec(), states); err != nil {
			return nil, fmt.Errorf("look for earlier states: %w", err)
		}
	}
	if len(lacking) > 0 {
		found, err := a.store.Find(ctx, drafts[0].table.Spec().Collection, lacking)
		if err != nil {
			return nil, fmt.Errorf("look for values left out as unchanged: %w", err)
		}
		maps.Copy(h.rows, found)
	}
	if len(items) > 0 {
		if err := h.findEmbedded(ctx, a.store, drafts[0].table.Spec(), items); err != nil {
			return nil, fmt.Errorf("look for embedded rows: %w", err)
		}
	}
	return h, nil
}

// hasUnknownParent returns true if the event omits the embedded row's document, present or past.
func (d *draft) hasUnknownParent() bool {
	if d.table.Spec().Embed == nil {
		return false
	}
	switch d.op {
	case debezium.Update:
		return d.before == "" || len(d.missing) > 0
	case debezium.Delete:
		return d.parent == ""
	case debezium.Create:
		return (d.behind || d.below) && !d.resent // the log may have begun anew
	}
	return d.op == debezium.Read
}

func newHeld() *held {
	return &held{places: map[string][]string{}, newest: map[string]string{},
		rows: map[string]bson.Raw{}}
}

func (h *held) findEmbedded(ctx context.Context, s documents.Store, spec *entity.Spec,
	items []string) error {
	field := spec.Embed.Field
	slices.Sort(items)
	holders, err := s.Holders(ctx, spec.Collection, field, slices.Compact(items))
	if err != nil {
		return err
	}
	for _, document := range holders {
		home := documents.MetadataOf(document).ID
		for _, item := range items {
			row, is := document.Lookup(field, item).DocumentOK()
			if !is {
				continue
			}
			m := documents.MetadataOf(row)
			if !m.Deleted && !slices.Contains(h.places[item], home) {
				h.places[item] = append(h.places[item], home)
			}
			// A move leaves a tombstone of the same position behind.
			if m.Position > h.newest[item] || m.Position == h.newest[item] && !m.Deleted {
				h.newest[item], h.rows[item] = m.Position, row
			}
		}
	}
	return nil
}

func (a *Applier) writeBulk(ctx context.Context, r *round) error {
	if len(r.writes) == 0 {
		return nil
	}
	var worst error
	var left []write
	outcomes := a.settleStale(ctx, r.writes, a.writer.writeRows(ctx, r.writes))
	now := time.Now()
	for i, done := range outcomes {
		w := &r.writes[i]
		switch {
		case done.Err == nil || fate.Of(done.Err) == fate.Reject && w.from == nil:
			a.settleWrite(w, done, now)
		case fate.Of(done.Err) == fate.Reject:
			// Only the refused event is a dead letter, not the events folded together with the
			// refused event.
			for _, c := range w.from {
				r.steps = append(r.steps, write{change: c})
			}
		default:
			left = append(left, *w)
			if worst == nil || fate.Of(done.Err) == fate.Stop {
				worst = done.Err
			}
		}
	}
	r.writes = left
	return worst
}

func (a *Applier) settleWrite(w *write, done documents.Outcome, now time.Time) {
	if done.Err != nil {
		a.job.rejected = append(a.job.rejected, w.deadLetter(done.Err))
		return
	}
	result := telemetry.OutcomeApplied
	if w.op == debezium.Update && w.wasMadeByUpdates(done) {
		a.rules.noteUnseenRow(w.draft)
	}
	if done.Stale {
		result = telemetry.OutcomeStale
	} else if !w.Embedded() {
		ended := ""
		if w.deleted {
			ended = w.position
		}
		a.parents.noteSighting(w.Collection, w.ID, ended)
	}
	w.eachChange(func(c *change) {
		switch {
		case c.aside: // counted at the row's present place
			return
		case c.draft == w.draft:
			a.metrics.countSettledAt(c.draft, result, now)
		default:
			a.metrics.countSettledAt(c.draft, telemetry.OutcomeFolded, now)
		}
		if !done.Stale { // a replay raises no alarm
			a.rules.noteBroken(c.draft, c.orphan)
			for _, member := range c.unknown {
				a.rules.noteBroken(c.draft, []entity.Violation{{Rule: fate.RuleUnknown,
					Field: member, Severity: entity.Warn,
					Reason: "was left out as unchanged, and is not stored"}})
			}
		}
	})
}

// sendDeadLetters puts the rejected records into the dead-letter topic, in the order of the log.
func (a *Applier) sendDeadLetters(ctx context.Context) error {
	j := &a.job
	if len(j.rejected) == 0 {
		return nil
	}
	slices.SortStableFunc(j.rejected, func(a, b deadletter.Rejected) int {
		return cmp.Compare(a.Record.Offset, b.Record.Offset)
	})
	j.rejected = slices.CompactFunc(j.rejected, func(a, b deadletter.Rejected) bool {
		return a.Record == b.Record
	})
	if err := a.send(ctx, j.rejected); err != nil {
		return err
	}
	for i := range j.rejected {
		a.metrics.countDeadLetter(&j.rejected[i])
	}
	first := &j.rejected[0]
	a.log.WarnContext(ctx, "dead letters", "count", len(j.rejected), "rule", first.Rule(),
		"reason", first.ReasonForLog(), "entity_type", first.Entity, "operation", first.Operation,
		"kafka_topic", first.Record.Topic,
		"kafka_partition", first.Record.Partition, "kafka_offset", first.Record.Offset)
	j.rejected = nil
	return nil
}
