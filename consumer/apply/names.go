package apply

import (
	"context"
	"slices"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/naming"
)

// encodeRow makes BSON of the event's row, lets the rules judge the row, and copies the members
// into the draft.
func (p *planner) encodeRow(d *draft, event *debezium.Event, j *job) (*encode.Encoded, error) {
	e, err := p.encoder.Encode(d.table, event, encode.Facts{Recorded: d.record.Timestamp,
		NoRules: p.noRules, Size: len(d.record.Key) + len(d.record.Value)})
	if err != nil {
		return nil, err
	}
	d.members, d.names = j.keepMembers(e.Elements), e.Names
	d.absent, d.missing, d.drifted = slices.Clone(e.Absent), slices.Clone(e.Missing), e.Drifted
	return e, nil
}

// settleNames keeps the names of the round's members in the store, before anything is written, and
// encodes the drafts again whose names are another process's.
func (a *Applier) settleNames(ctx context.Context, r *round) error {
	table := r.drafts[0].table
	var err error
	if table.HasUnkeptNames() {
		a.naming.Lock()
		err = naming.Settle(ctx, a.store, table)
		a.naming.Unlock()
	}
	for _, d := range r.drafts {
		if err != nil {
			return err
		}
		if d.names == table.NamesVersion() || len(d.members) == 0 {
			continue
		}
		var event *debezium.Event
		if event, err = a.planner.decodeRecord(d.record); err == nil {
			_, err = a.planner.encodeRow(d, event, &a.job)
		}
	}
	return err
}
