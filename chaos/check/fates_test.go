package check

import (
	"testing"

	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/ledger"
)

func TestFates(t *testing.T) {
	t.Parallel()
	insert, update, remove := ledger.Insert, ledger.Update, ledger.Delete
	w := func(id int64, op ledger.Op, fate ledger.Fate) ledger.Write {
		return ledger.Write{ID: id, Entity: "order", Key: "k", Op: op, Fate: fate}
	}
	const acked, failed, perhaps = ledger.Acked, ledger.Failed, ledger.Indeterminate
	for name, c := range map[string]struct {
		writes []ledger.Write
		// row is the version in PostgreSQL, 0 for no row.
		row     int64
		loss    bool
		deleted bool
	}{
		"as acked": {[]ledger.Write{w(1, insert, acked), w(2, update, acked)},
			2, false, false},
		"in any order": {[]ledger.Write{w(2, update, acked), w(1, insert, acked)},
			1, true, false},
		"insert gone": {[]ledger.Write{w(1, insert, acked)}, 0, true, false},
		"update gone": {[]ledger.Write{w(1, insert, acked), w(2, update, acked)},
			1, true, false},
		"failed update": {[]ledger.Write{w(1, insert, acked), w(2, update, failed)},
			1, false, false},
		"failed insert": {[]ledger.Write{w(1, insert, failed)}, 0, false, false},
		"indeterminate, there": {[]ledger.Write{w(1, insert, acked), w(2, update, perhaps)},
			2, false, false},
		"indeterminate, not there": {[]ledger.Write{w(1, insert, acked), w(2, update, perhaps)},
			1, false, false},
		"indeterminate insert": {[]ledger.Write{w(1, insert, perhaps)}, 0, false, false},
		"deleted": {[]ledger.Write{w(1, insert, acked), w(2, remove, acked)},
			0, false, true},
		"not deleted": {[]ledger.Write{w(1, insert, acked), w(2, remove, acked)},
			1, true, true},
		"failed delete": {[]ledger.Write{w(1, insert, acked), w(2, remove, failed)},
			0, true, false},
		"perhaps deleted": {[]ledger.Write{w(1, insert, acked), w(2, remove, perhaps)},
			0, false, true},
		"perhaps not": {[]ledger.Write{w(1, insert, acked), w(2, remove, perhaps)},
			1, false, true},
		"deleted and inserted": {[]ledger.Write{w(2, remove, acked), w(3, insert, acked)},
			3, false, false},
		"inserted again and lost": {[]ledger.Write{w(2, remove, acked), w(3, insert, acked)},
			0, true, false},
		"deleted, perhaps inserted": {[]ledger.Write{w(2, remove, acked), w(3, insert, perhaps)},
			3, false, true},
		"perhaps deleted before update": {
			[]ledger.Write{w(2, remove, perhaps), w(3, update, acked)}, 0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fates{byKey: map[string]map[string]*fate{}}
			for _, w := range c.writes {
				f.add(&w)
			}
			var r *record
			if c.row > 0 {
				r = &record{version: c.row}
			}
			k := f.of("order", "k")
			if loss := k.sourceLoss(r); (loss != "") != c.loss {
				t.Errorf("loss %q, want %t", loss, c.loss)
			}
			if how := k.deleted(); (how != "") != c.deleted {
				t.Errorf("deleted %q, want %t", how, c.deleted)
			}
		})
	}
}

func TestReadFates(t *testing.T) {
	t.Parallel()
	known, err := readFates(writeLedger(t), entity.Default())
	if err != nil {
		t.Fatal(err)
	}
	if known.writes != 4 {
		t.Errorf("%d writes, want 4: those of the selftest are of no row", known.writes)
	}
	if k := known.of("customer", deletedKey); k.deleted() == "" || k.sourceLoss(nil) != "" {
		t.Errorf("%+v, want a delete", k)
	}
	if known, err = readFates("", entity.Default()); err != nil ||
		known.of("customer", deletedKey) != nil {
		t.Errorf("without a ledger: %+v, %v", known, err)
	}
}
