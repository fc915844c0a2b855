package consumer

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/debezium"
)

// A snapshot that is taken anew (snapshot.mode=always, a lost slot) has rows that changed while nobody
// read the log. Their own position comes before everything streamed, as it must in a first snapshot:
// the first transaction after one may have lower LSNs than the snapshot says. What tells that such a
// row is newer than what is stored is the partition: a connector reads it after what it had streamed
// was committed, so that it is newer than what came before it there.

// readAgain writes those stale rows of a snapshot that follow in their partition what is stored. It
// returns the outcomes with what became of them.
func (s *settler) readAgain(ctx context.Context, writes []write, outcomes []outcome) []outcome {
	var ids []string
	var stale []int
	for i, done := range outcomes {
		if w := &writes[i]; done.stale && w.readAt != 0 && !w.embedded() {
			ids, stale = append(ids, w.id), append(stale, i)
		}
	}
	if len(ids) == 0 {
		return outcomes
	}
	outcomes = slices.Clone(outcomes) // they are the store's until the next apply
	found, err := s.store.find(ctx, writes[stale[0]].collection, ids, metadataMember)
	var again []write
	var places []int
	for _, i := range stale {
		w := &writes[i]
		if err != nil {
			outcomes[i] = outcome{err: fmt.Errorf("look at a row that a snapshot read again: %w", err)}
		} else if position := w.readAfter(found[w.id]); position != "" {
			w.position = position
			again, places = append(again, *w), append(places, i)
		}
	}
	if len(again) > 0 {
		for i, done := range s.store.apply(ctx, again) {
			outcomes[places[i]] = done
		}
	}
	return outcomes
}

// readAfter is the position right after what is stored, if the draft is newer; else "". What is
// streamed later is of a later commit.
func (d *draft) readAfter(stored bson.Raw) string {
	own, _ := stored.Lookup(metadataMember).DocumentOK()
	topic, _ := own.Lookup("kafkaTopic").StringValueOK()
	partition, _ := own.Lookup("kafkaPartition").AsInt64OK()
	offset, _ := own.Lookup("kafkaOffset").AsInt64OK()
	operation, _ := own.Lookup("operation").StringValueOK()
	before := metadataOf(stored).position
	follows := topic == d.record.Topic && partition == int64(d.record.Partition) && offset < originOffset(d.record)
	if operation == operations[debezium.Truncate] { // of any partition
		follows = d.readSince(before)
	}
	if !follows || !d.sameEpoch(before) {
		return ""
	}
	if after := d.rightAfter(before); after > before {
		return after
	}
	return ""
}

func (d *draft) rightAfter(position string) string {
	epoch, first, _ := parts(position)
	return epoch + first + d.readLSN()
}

// readAgain is the same for embedded rows, before they are written: of where they lived no copy is to
// stay. What is stored of them does not tell its place in the partition, so that the LSN must: it does
// of the snapshot that a connector begins with, and not against a row of the first transaction after
// one, (LSN, 0), or of another snapshot, (0, offset).
func (h *held) readAgain(drafts []*draft) {
	none := fmt.Sprintf("%0*x", lsnDigits, 0)
	for _, d := range drafts {
		before := metadataOf(h.rows[d.key]).position
		_, first, second := parts(before)
		if d.table.Spec().Embed != nil && d.readSince(before) && first != none && second != none {
			d.position, d.again = d.rightAfter(before), true
		}
	}
}

// readSince: the snapshot was taken after both places in the log that the position has. Of a truncate
// that is all: it has the table for itself until its commit.
func (d *draft) readSince(position string) bool {
	if d.readAt == 0 || !d.sameEpoch(position) {
		return false
	}
	_, first, second := parts(position)
	return max(first, second) < d.readLSN()
}

func (d *draft) sameEpoch(position string) bool {
	epoch, _, _ := parts(d.position)
	other, _, _ := parts(position)
	return epoch == other
}

const lsnDigits = 16

// parts are a position's epoch and its two places in the log, "" where there is none.
func parts(position string) (epoch, first, second string) {
	if len(position) != epochDigits+2*lsnDigits {
		return "", "", ""
	}
	return position[:epochDigits], position[epochDigits : epochDigits+lsnDigits], position[epochDigits+lsnDigits:]
}

func (d *draft) readLSN() string { return fmt.Sprintf("%0*x", lsnDigits, d.readAt) }
