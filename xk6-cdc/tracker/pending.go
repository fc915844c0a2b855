package tracker

import (
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// Kind holds the facts common to many writes; one Kind serves all of them.
type Kind struct {
	Scenario, Entity string
	Op               ledger.Op
	// AskedEntity and AskedOp are as in a ledger.Write.
	AskedEntity string
	AskedOp     ledger.Op
	// Tags are the samples' tags, nil where no samples are wanted. AckedTags are Tags and the fate
	// "acked".
	Tags, AckedTags *metrics.TagSet
	Shelf           *tables.Shelf
}

// Pending is a Write on its way, waiting in either order for the fate in PostgreSQL and for the
// sight in MongoDB. After Tracker.Expect, every field but Seen belongs to the tracker. A Pending is
// small, because there are as many as outstanding writes: TestOutstandingIsSmall.
type Pending struct {
	*Kind
	Row *tables.Row
	ID  int64
	// The stamps of a ledger.Write.
	IntendedNs, EnqueuedNs, SentNs, CommittedNs, VisibleNs int64
	Fate                                                   ledger.Fate
	// Reason is the reason of a fate other than acked.
	Reason string
	// older is the next older waiting write of the same row.
	older *Pending
	// Seen is closed when the write is seen; nil where nobody waits.
	Seen                            chan struct{}
	superseded, TimedOut, Untracked bool
}

// Sampled is true if sampling may leave the writes out: a script's writes, not the lab's own.
func (k *Kind) Sampled() bool { return k.Scenario != ledger.Seed && k.Scenario != ledger.Selftest }

// Line returns the write's line in the ledger.
func (p *Pending) Line() ledger.Write {
	return ledger.Write{
		ID: p.ID, Scenario: p.Scenario, Entity: p.Entity, Op: p.Op, Key: p.Row.Key,
		AskedEntity: p.AskedEntity, AskedOp: p.AskedOp,
		IntendedNs: p.IntendedNs, EnqueuedNs: p.EnqueuedNs, SentNs: p.SentNs,
		CommittedNs: p.CommittedNs, VisibleNs: p.VisibleNs, Fate: p.Fate,
		Superseded: p.superseded, TimedOut: p.TimedOut, Untracked: p.Untracked, Error: p.Reason,
	}
}
