package apply

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/order"
)

// Some records end a row without saying which, or where in the log: a null record whose delete a
// compaction left out, and a delete whose Kafka key PostgreSQL did not send.

// readTombstone fills in a null record that follows a hole in the offsets instead of its delete. A
// compacted topic loses the delete, and then the null record ends the row. Of the topic's table is
// known what earlier records told, or the topic's name.
func (p *planner) readTombstone(d *draft, event *debezium.Event, hole bool) error {
	follows := string(p.ended) == string(d.record.Key)
	if p.ended = p.ended[:0]; follows || !hole || len(event.Key) == 0 {
		return nil
	}
	if p.several || p.topics.MayHoldSeveral(d.record.Topic) {
		return fate.Rejectf(fate.RuleIncomplete, "a null record without its delete, in a topic of"+
			" several tables, ends a row of one of them: delete the document by hand")
	}
	if d.table = p.table; d.table == nil {
		parts := strings.Split(d.record.Topic, ".")
		if len(parts) < 2 {
			return nil
		}
		d.table = p.tables.TableWithin(p.tablesMax, parts[len(parts)-2], parts[len(parts)-1])
		if d.table == nil {
			return nil
		}
	}
	d.entity = d.table.Spec().Entity
	key, err := d.table.KeyText(event.Key, nil)
	if err != nil {
		return fate.Rejectf(fate.RuleKey, "%v", err)
	}
	d.key, d.null, d.op, d.operation = key, true, debezium.Delete, documents.OperationTombstone
	_, named := d.table.OmittedParts(event.Key)
	d.partly = named > 0
	d.sourceAt, d.connectorAt = d.record.Timestamp, d.record.Timestamp
	return nil
}

// placeTombstone places a null record right after the row's state, if the record follows the state
// in the partition. The error is errStale where the row has ended or is newer.
func (k *keyChange) placeTombstone(ctx context.Context) error {
	_, s, err := k.newestState(ctx)
	if err != nil {
		return err
	}
	after, there := k.place().FollowsStored(s)
	switch {
	case there && !after && s.Position != "":
		return errStale
	case k.partly:
		return fate.Rejectf(fate.RuleIncomplete, "a null record without its delete, whose key is"+
			" zero or empty in part or whole: PostgreSQL may not have sent that part"+
			" (message.key.columns beyond the replica identity), and then another row ended;"+
			" delete the document of the row that is gone in the source, if there is one, and"+
			" drop this letter")
	case s.Position == "" || s.Deleted || s.Shell:
		return errStale
	case !there:
		return fate.Rejectf(fate.RuleIncomplete, "a null record without its delete ends a row that"+
			" came by %s, partition %d: nobody can tell which is newer; delete the document or"+
			" replay this letter", cmp.Or(s.Topic, k.record.Topic), s.Partition)
	}
	if k.position, err = order.Next(s.Position); err != nil {
		return errStale
	}
	return nil
}

// rowBefore returns the members of an ended row that the event tells: neither null nor the value
// that stands for a column PostgreSQL did not send. sure is false if a column's default may be
// among the members.
func (p *planner) rowBefore(d *draft) (members []byte, sure bool, err error) {
	event, err := p.decodeRecord(d.record)
	if err != nil {
		return nil, false, err
	}
	sure = encode.KnowsDefaults(event)
	told := *event
	told.Op, told.After, told.Before = debezium.Read, encode.ToldColumns(event), nil
	e, err := p.encoder.Encode(d.table, &told, encode.Facts{NoRules: true})
	if err != nil {
		return nil, false, err
	}
	return slices.Clone(e.Elements), sure, nil
}

// findDoubtfulRow finds the ended row by the columns of the replica identity, where PostgreSQL did
// not send the columns of the Kafka key.
func (a *Applier) findDoubtfulRow(ctx context.Context, d *draft) error {
	if d.partly {
		return a.judgePartlyKnownRow(ctx, d)
	}
	id := d.keptDocumentID()
	found, err := a.store.Find(ctx, documents.KeptCollection, []string{id})
	if err != nil {
		return fmt.Errorf("look for the row put aside: %w", err)
	}
	switch kept, there := found[id].Lookup("row").DocumentOK(); {
	case there && d.leaves: // by an earlier delivery
		return errStale
	case there:
		if documents.MetadataOf(kept).ID == d.key { // the change kept the key
			d.op, d.operation = debezium.Update, operations[debezium.Update]
		}
		return nil
	case d.comes && d.mayWait(a.now()):
		return ErrWaiting
	case d.comes:
		return nil
	}
	told, sure, err := a.planner.rowBefore(d)
	if err != nil {
		return fate.Rejectf(fate.RuleKey, "the row before cannot be read: %v", err)
	}
	own, err := a.store.Find(ctx, d.table.Spec().Collection, []string{d.key},
		documents.MetadataMember)
	if err != nil {
		return fmt.Errorf("look for the row of the key: %w", err)
	}
	rows, err := a.store.Matching(ctx, d.table.Spec().Collection, told, 10)
	if err != nil {
		return fmt.Errorf("look for the row by its replica identity: %w", err)
	}
	atKey := documents.MetadataOf(own[d.key])
	if atKey.Position == d.position { // by an earlier delivery
		return errStale
	}
	living, ended, here := d.sortMatching(rows)
	if here {
		return nil
	}
	switch {
	case !sure && atKey.Position != "" && !atKey.Deleted && !atKey.Shell:
		return fate.Rejectf(fate.RuleKey, "the Kafka key is empty or zero: the event ends the row"+
			" of that key, whose values have changed, or a row whose key was not sent by"+
			" PostgreSQL (the replica identity is another index): use REPLICA IDENTITY FULL, or"+
			" switch schemas on, which tell the columns' defaults")
	case len(living) == 1:
		d.key = living[0]
		return nil
	case len(living) > 1:
		return fate.Rejectf(fate.RuleKey, "the Kafka key was not sent by PostgreSQL (the replica"+
			" identity is another index), and several rows have the values that were: use"+
			" REPLICA IDENTITY FULL, or name the identity's column in a spec's key and"+
			" message.key.columns")
	case ended != nil:
		return ended
	}
	if d.mayWait(a.now()) {
		return ErrWaiting
	}
	return fate.Rejectf(fate.RuleKey, "the Kafka key was not sent by PostgreSQL (the replica"+
		" identity is another index), and no row with the values that were came within %s:"+
		" replay this letter when it has come", keyChangeBound)
}

// noteOmittedKey notes that the key may not be the row's. Embedded rows cannot be looked up by
// values, so that an embedded row with a key not sent is judged as a row with a part of the key. An
// embedded row that may have kept the key is looked up, because the row may leave a document.
func (d *draft) noteOmittedKey(event *debezium.Event) {
	d.doubtful, d.partly = d.table.OmittedKey(event)
	if d.table.Spec().Embed == nil {
		return
	}
	d.doubtful, d.partly = false, event.Op == debezium.Delete && (d.doubtful || d.partly)
	if _, named := d.table.OmittedParts(event.OldKey); event.Comes && named > 0 {
		d.op, d.operation = debezium.Update, operations[debezium.Update]
	}
}

// judgePartlyKnownRow judges a delete whose key PostgreSQL may have sent in part. The row of the
// key ends if the row has the values before the event; an embedded row may have kept the new key.
// No other row ends, because a table may have rows with another value in the omitted part alone.
func (a *Applier) judgePartlyKnownRow(ctx context.Context, d *draft) error {
	told, _, err := a.planner.rowBefore(d)
	if err != nil {
		return fate.Rejectf(fate.RuleKey, "the row before cannot be read: %v", err)
	}
	keys := []string{d.key}
	if d.leaves && !d.otherUnread && d.table.Spec().Embed != nil {
		keys = append(keys, d.otherID)
	}
	change := keyChange{d, a.store, a.parking, a.now}
	for _, d.key = range keys {
		row, s, err := change.newestState(ctx)
		switch {
		case err != nil:
			d.key = keys[0]
			return err
		case s.Position >= d.position:
			return d.staleBeside(s)
		case s.Position != "" && !s.Deleted && !s.Shell && documents.HasMembers(row, told):
			return nil
		}
	}
	d.key = keys[0]
	return fate.Rejectf(fate.RuleKey, "the Kafka key is empty or zero in part or whole, and no"+
		" living row of that key has the values that were: either the row was never seen, or"+
		" PostgreSQL did not send the key (the replica identity is another index) or a part"+
		" (message.key.columns beyond the replica identity) and the event ends another row: delete"+
		" the document of the row that is gone in the source, if there is one, and use REPLICA"+
		" IDENTITY FULL, or the identity's columns alone in message.key.columns")
}

// newestState returns the newest state of the draft's row: as stored, with the parked events that
// are older than the draft laid over.
func (k *keyChange) newestState(ctx context.Context) (bson.Raw, documents.Metadata, error) {
	row, _, err := k.storedState(ctx, k.key)
	s := documents.MetadataOf(row)
	parked := k.parking.chains[k.rowName()]
	if err != nil || parked == nil {
		return row, s, err
	}
	if parked.newest.position > s.Position {
		s = parked.newest.metadata()
	}
	return k.withParkedOver(row, parked.drafts), s, nil
}

// sortMatching returns the living rows before the event among the rows with the values that were,
// and a verdict on the event where another row is newer. here is true if the row of the event's key
// is among the rows.
func (d *draft) sortMatching(rows []bson.Raw) (living []string, ended error, here bool) {
	for _, row := range rows {
		m := documents.MetadataOf(row)
		switch {
		case m.ID == d.key && !m.Deleted:
			return nil, nil, true
		case m.Position >= d.position && m.Shared == "":
			ended = d.staleBeside(m)
		case !m.Deleted:
			living = append(living, m.ID)
		}
	}
	return living, ended, false
}
