package apply

import (
	"cmp"
	"slices"
	"time"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// Reading is the content of a record, the same at every delivery. ReadAhead makes a Reading and
// JudgeInCommitOrder completes the Reading.
type Reading struct {
	draft
	by  *planner
	use bool  // false if the record asks for nothing
	err error // a rejection
}

// ReadAhead reads a record of the Applier's partition ahead of delivery. processedAt is for
// cdcMetadata; a deletedAt other than zero replaces processedAt in tombstones.
func (a *Applier) ReadAhead(arrival telemetry.Arrival, processedAt, deletedAt time.Time) *Reading {
	r := &Reading{by: &a.planner, draft: draft{record: arrival.Record, polled: arrival.Polled,
		processedAt: processedAt, deletedAt: deletedAt}}
	var event *debezium.Event
	event, r.err = a.planner.readEnvelope(&r.draft)
	r.use = event != nil || r.null
	return r
}

// JudgeInCommitOrder converts and judges the readings of all partitions in the order of commits,
// because the storing of a value depends on the earlier values of the column, and must not depend
// on the first partition to come. readings are in the order of writing.
func JudgeInCommitOrder(readings []*Reading) {
	var rows []*Reading
	for _, r := range readings {
		if r.use && r.err == nil && r.op != debezium.Truncate && !r.null {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b *Reading) int {
		return cmp.Compare(a.position, b.position)
	})
	var memory job
	for _, r := range rows {
		var event *debezium.Event
		if event, r.err = r.by.decodeRecord(r.record); r.err == nil {
			r.err = r.by.convertRow(&r.draft, event, &memory)
		}
	}
}

// Offset returns the record's offset.
func (r *Reading) Offset() int64 { return r.record.Offset }

// TakeReadings is Take for records read and judged ahead.
func (a *Applier) TakeReadings(readings []*Reading) {
	a.job = job{last: readings[len(readings)-1].record}
	for _, r := range readings {
		switch d := r.draft; {
		case r.err != nil:
			a.job.rejected = append(a.job.rejected, d.deadLetter(r.err))
		case r.use:
			a.job.drafts = append(a.job.drafts, &d)
		}
	}
}
