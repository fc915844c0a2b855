// Package ledger is the raw result of a Run: one line for every Write asked of the generator, with
// the fate and the time stamps of the Write. Package ledger defines the line and reads and writes
// the file, but computes nothing. Everything a report says about latency is a function of this
// file. Start reading at Write.
//
// The file is JSON lines: a Header, any number of Writes, an End. Between them may stand lines of
// other kinds, named in a member "kind", such as a Mark; a reader passes over every kind unknown to
// the reader. A file without an End comes from a generator that did not finish, and no verdict may
// be built on such a file.
package ledger

import (
	"fmt"
	"slices"
)

// Version of the file format; a reader refuses any other.
const Version = 1

// Fate says how a Write ended in PostgreSQL, as far as known.
type Fate string

// The three fates. Indeterminate: the connection broke or the statement timed out after it was
// sent, so only a look into PostgreSQL can tell whether the write was committed.
const (
	Acked         Fate = "acked"
	Failed        Fate = "failed"
	Indeterminate Fate = "indeterminate"
)

// Op is the kind of a Write.
type Op string

// The operations of a Write.
const (
	Insert Op = "insert"
	Update Op = "update"
	Delete Op = "delete"
)

// The k6 scenarios without a latency that counts. Their writes are checked row by row like all
// others, but not the writes of Selftest.
const (
	Warmup = "warmup"
	// Seed is the Scenario of the rows made by the generator before the load.
	Seed = "seed"
	// Selftest is the Scenario of direct writes to MongoDB, which are of no entity and go into
	// SelftestCollection.
	Selftest           = "selftest"
	SelftestCollection = "lab_selftest"
)

// Unmeasured lists the scenarios without a latency that counts.
var Unmeasured = []string{Warmup, Seed, Selftest}

// Header is the first line of the file.
type Header struct {
	Version int `json:"version"`
	// StartUnixNs is the wall clock at the ledger's epoch, nanoseconds since 1970. All stamps of
	// the Writes are nanoseconds after the epoch, on the monotonic clock of the generator's
	// process.
	StartUnixNs int64 `json:"startUnixNs"`
	// Tracker says how visibility is watched: "changestream" or "poll".
	Tracker string `json:"tracker"`
	// ResolutionNs is the tracker's own resolution: 0 for a change stream, else the poll interval.
	ResolutionNs int64 `json:"resolutionNs"`
	Seed         int64 `json:"seed"`
	// Overridden names the generator's options that the environment asked for and the script itself
	// set to other values.
	Overridden []string `json:"overridden,omitempty"`
	// Segment is the part of the test that this generator ran, as named by k6 ("1/2:1"); "" for the
	// whole. Generators of one test share no key and no write ID.
	Segment string `json:"segment,omitempty"`
	// Marker is the text of the run's Marker; "" is none.
	Marker string `json:"marker,omitempty"`
}

// markKind is the Kind of a Mark.
const markKind = "mark"

// Mark is a moment to which the script gave a label, a line of its own among the Writes. The lines
// stand in the order of writing, and a Write is written when all is known of the Write: to place a
// Mark among Writes, compare stamps.
type Mark struct {
	// Kind is "mark".
	Kind  string `json:"kind"`
	Label string `json:"label"`
	// AtNs is the stamp of the moment.
	AtNs int64 `json:"atNs"`
	// Scenario is the k6 scenario of the iteration that set the mark, "" for setup() and
	// teardown().
	Scenario string `json:"scenario,omitempty"`
}

// Write is one intended write of one row, with the outcome. A stamp that never happened is 0.
type Write struct {
	// ID is unique in the Run and is stored in the row's lab_version column; of two committed
	// writes of a row, the later has the larger ID, because writes of one row never overlap.
	ID int64 `json:"id"`
	// Scenario is the name of the k6 scenario that asked for the write.
	Scenario string `json:"scenario"`
	// Entity is the name of the entity's Spec: customer, address, order, order_item.
	Entity string `json:"entity"`
	Op     Op     `json:"op"`
	// AskedEntity and AskedOp are the entity and the operation chosen by the script or by the
	// weights, where no row was free for them and the write became another; else "".
	AskedEntity string `json:"askedEntity,omitempty"`
	AskedOp     Op     `json:"askedOp,omitempty"`
	// Key is the primary key as text.
	Key string `json:"key"`
	// IntendedNs is when the schedule wanted the write, EnqueuedNs when k6 called write() (their
	// difference is the generator's own lateness), SentNs when a worker began to execute the write,
	// CommittedNs when PostgreSQL's commit was acknowledged, VisibleNs when the tracker saw the
	// version.
	IntendedNs  int64 `json:"intendedNs"`
	EnqueuedNs  int64 `json:"enqueuedNs"`
	SentNs      int64 `json:"sentNs,omitempty"`
	CommittedNs int64 `json:"committedNs,omitempty"`
	VisibleNs   int64 `json:"visibleNs,omitempty"`
	Fate        Fate  `json:"fate"`
	// Superseded: a later version of the same row was seen instead of this version.
	Superseded bool `json:"superseded,omitempty"`
	// TimedOut: not visible within the tracker's timeout; VisibleNs may still be set (late).
	TimedOut bool `json:"timedOut,omitempty"`
	// Untracked: left out by sampling; visibility was not watched.
	Untracked bool `json:"untracked,omitempty"`
	// Error is the reason of a failed or indeterminate fate.
	Error string `json:"error,omitempty"`
}

// Measured is true if the write counts in the latencies.
func (w *Write) Measured() bool { return Measured(w.Scenario) }

// Measured is true if the latencies of a k6 scenario's writes count.
func Measured(scenario string) bool { return !slices.Contains(Unmeasured, scenario) }

// Scenario is the part of a k6 scenario in the test.
type Scenario struct {
	Name string `json:"name"`
	// StartNs is the stamp of the scenario's start, which is before the first write.
	StartNs int64 `json:"startNs"`
	// Iterations is the number of iterations that asked for at least one write.
	Iterations int64 `json:"iterations"`
}

// Backward is a document that went back: events showed the version Shown of a row, or the end of
// the row, and a later event shows the version Then.
type Backward struct {
	// Document is the _id, and Key the key of the row, the same but for an embedded row.
	Document string `json:"document"`
	Key      string `json:"key"`
	Shown    int64  `json:"shown"`
	Ended    bool   `json:"ended"`
	Then     int64  `json:"then"`
}

// String says what went back; "" for nil.
func (b *Backward) String() string {
	if b == nil {
		return ""
	}
	shown := fmt.Sprintf("version %d", b.Shown)
	if b.Ended {
		shown = "the end of " + shown
	}
	if b.Key != b.Document {
		shown += " of the row " + b.Key
	}
	return fmt.Sprintf("document %s showed %s, and then version %d", b.Document, shown, b.Then)
}

// End is the last line of the file.
type End struct {
	End bool `json:"end"`
	// Writes is the number of Write lines before the End.
	Writes int64 `json:"writes"`
	// Outstanding is the number of acked writes never seen when the generator gave up.
	Outstanding int64 `json:"outstanding"`
	// QueueMax is the greatest number of writes waiting for a worker at the same time.
	QueueMax int64 `json:"queueMax"`
	// Substituted counts the updates and deletes turned into inserts because no row was free.
	Substituted int64 `json:"substituted"`
	// TrackerErrors are the times the tracker lost its stream or a poll failed; writes done
	// meanwhile have a visibility stamp that may be too late.
	TrackerErrors int64 `json:"trackerErrors"`
	// WentBack counts the change events that showed an older state of a row than an event before,
	// and FirstBack is the first of them. A polling tracker tells of none.
	WentBack  int64     `json:"wentBack,omitempty"`
	FirstBack *Backward `json:"firstBack,omitempty"`
	// SlowestLookNs is the longest time between two looks of a polling tracker while something was
	// waited for: the tracker's real resolution at the worst. 0 for a change stream.
	SlowestLookNs int64 `json:"slowestLookNs,omitempty"`
	// MedianLookNs is the median of the same.
	MedianLookNs int64 `json:"medianLookNs,omitempty"`
	// TrackerOperations are the commands sent to MongoDB by the tracker, ServerOperations all that
	// MongoDB did meanwhile: MongoDB's own count where ServerCounted, else the tracker's operations
	// and one for each acknowledged write.
	TrackerOperations int64 `json:"trackerOperations"`
	ServerOperations  int64 `json:"serverOperations"`
	ServerCounted     bool  `json:"serverCounted"`
	// BudgetAsked is the upper bound for the tracker's share of ServerOperations, BudgetKept the
	// real share. Only a poll can hold its finds back, and never for more than 250 ms: with next to
	// no load BudgetKept can be above BudgetAsked.
	BudgetAsked float64 `json:"budgetAsked"`
	BudgetKept  float64 `json:"budgetKept"`
	// SampleAsked is the share of the writes to be tracked, SampleKept the share of the
	// acknowledged writes really tracked; seed rows and the self-test's writes do not count.
	SampleAsked float64 `json:"sampleAsked"`
	SampleKept  float64 `json:"sampleKept"`
	// GCPauseMaxNs is the longest stop of the generator for its garbage collector,
	// SchedulerDelayP99Ns how long the generator's goroutines waited for a processor at p99.
	GCPauseMaxNs        int64 `json:"gcPauseMaxNs"`
	SchedulerDelayP99Ns int64 `json:"schedulerDelayP99Ns"`
	// Scenarios are those that asked for writes, in the order of their first writes.
	Scenarios []Scenario `json:"scenarios"`
	// DrainNs is the stamp of the call of drain(): the load was over. 0 without a load.
	DrainNs int64 `json:"drainNs"`
	// ClosedNs is the stamp of this line.
	ClosedNs int64 `json:"closedNs"`
}
