// Package ledger is the raw result of a Run: one line for every Write that the generator was asked
// for, with its fate and its time stamps. It defines the line and reads and writes the file; it
// computes nothing. Everything a report says about latency is a function of this file. Start
// reading at Write.
//
// The file is JSON lines: one Header, any number of Writes, one End. Between them may stand lines of
// other kinds, which say so in a member "kind" and which a reader that does not know them passes
// over; a Mark is one. A file without its End comes from a generator that did not finish, and no
// verdict may be built on it.
package ledger

// Version of the file format; a reader refuses any other.
const Version = 1

// Fate is what is known of a Write in PostgreSQL.
type Fate string

// The three fates. Indeterminate: the connection broke or the statement timed out after it was
// sent, so only a look into PostgreSQL can tell whether it was committed.
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

// Header is the first line of the file.
type Header struct {
	Version int `json:"version"`
	// StartUnixNs is the wall clock at the ledger's epoch, nanoseconds since 1970. All stamps of
	// the Writes are nanoseconds after it, on the monotonic clock of the generator's process.
	StartUnixNs int64 `json:"startUnixNs"`
	// Tracker says how visibility is watched: "changestream" or "poll".
	Tracker string `json:"tracker"`
	// ResolutionNs is the tracker's own resolution: 0 for a change stream, else the poll interval.
	ResolutionNs int64 `json:"resolutionNs"`
	Seed         int64 `json:"seed"`
	// Segment is the part of the test that this generator ran, as k6 names it ("1/2:1"); "" for the
	// whole. Generators of one test share no key and no write ID.
	Segment string `json:"segment,omitempty"`
}

// markKind is the Kind of a Mark.
const markKind = "mark"

// Mark is a moment to which the script gave a label, a line of its own among the Writes. The lines
// stand in the order in which they were written, Writes when all is known of them: to place a Mark
// among Writes, compare stamps.
type Mark struct {
	// Kind is "mark".
	Kind  string `json:"kind"`
	Label string `json:"label"`
	// AtNs is the stamp of the moment.
	AtNs int64 `json:"atNs"`
	// Scenario is the k6 scenario whose iteration set it, "" for setup() and teardown().
	Scenario string `json:"scenario,omitempty"`
}

// Write is one intended write of one row and what became of it. A stamp that never happened is 0.
type Write struct {
	// ID is unique in the Run and is stored in the row's lab_version column; for one row, a later
	// committed write has the larger ID, because writes of one row never overlap.
	ID int64 `json:"id"`
	// Scenario is the name of the k6 scenario that asked for it ("warmup" and "seed" are left out
	// of every latency; "selftest" writes go to MongoDB directly).
	Scenario string `json:"scenario"`
	// Entity is the name of the entity's Spec: customer, address, order, order_item.
	Entity string `json:"entity"`
	Op     Op     `json:"op"`
	// Key is the primary key as text.
	Key string `json:"key"`
	// IntendedNs is when the schedule wanted it, EnqueuedNs when k6 called write() (their
	// difference is the generator's own lateness), SentNs when a worker began to execute it,
	// CommittedNs when PostgreSQL's commit was acknowledged, VisibleNs when the tracker saw it.
	IntendedNs  int64 `json:"intendedNs"`
	EnqueuedNs  int64 `json:"enqueuedNs"`
	SentNs      int64 `json:"sentNs,omitempty"`
	CommittedNs int64 `json:"committedNs,omitempty"`
	VisibleNs   int64 `json:"visibleNs,omitempty"`
	Fate        Fate  `json:"fate"`
	// Superseded: not this version but a later one of the same row was seen.
	Superseded bool `json:"superseded,omitempty"`
	// TimedOut: not visible within the tracker's timeout; VisibleNs may still be set (late).
	TimedOut bool `json:"timedOut,omitempty"`
	// Untracked: left out by sampling; visibility was not watched.
	Untracked bool `json:"untracked,omitempty"`
	// Error is the reason of a failed or indeterminate fate.
	Error string `json:"error,omitempty"`
}

// End is the last line of the file.
type End struct {
	End bool `json:"end"`
	// Writes is the number of Write lines before this one.
	Writes int64 `json:"writes"`
	// Outstanding is how many of them were acked and never seen when the generator gave up.
	Outstanding int64 `json:"outstanding"`
	// QueueMax is the greatest number of writes that waited for a worker at one time.
	QueueMax int64 `json:"queueMax"`
	// Substituted counts updates and deletes that became inserts because no row was free.
	Substituted int64 `json:"substituted"`
	// TrackerErrors are the times the tracker lost its stream or a poll failed; what was written
	// meanwhile has a visibility stamp that may be too late.
	TrackerErrors int64 `json:"trackerErrors"`
	// SlowestLookNs is the longest time between two looks of a polling tracker while something was
	// waited for: the resolution it really had at its worst. 0 for a change stream.
	SlowestLookNs int64 `json:"slowestLookNs,omitempty"`
	// MedianLookNs is the median of the same.
	MedianLookNs int64 `json:"medianLookNs,omitempty"`
	// TrackerOperations are the commands that the tracker sent to MongoDB, ServerOperations all that
	// MongoDB did meanwhile: its own count where ServerCounted, else the tracker's operations and one
	// for each acknowledged write.
	TrackerOperations int64 `json:"trackerOperations"`
	ServerOperations  int64 `json:"serverOperations"`
	ServerCounted     bool  `json:"serverCounted"`
	// BudgetAsked is the share of ServerOperations that the tracker's were to stay under, BudgetKept the
	// share that they had. Only a poll can hold its finds back, and never for more than 250 ms: with next
	// to no load the kept one can be above.
	BudgetAsked float64 `json:"budgetAsked"`
	BudgetKept  float64 `json:"budgetKept"`
	// SampleAsked is the share of the writes that was to be tracked, SampleKept the share of the
	// acknowledged ones that was; seed rows and the self-test's writes are not among them.
	SampleAsked float64 `json:"sampleAsked"`
	SampleKept  float64 `json:"sampleKept"`
	// GCPauseMaxNs is the longest time that the generator's garbage collector stopped it,
	// SchedulerDelayP99Ns how long its goroutines waited for a processor at p99.
	GCPauseMaxNs        int64 `json:"gcPauseMaxNs"`
	SchedulerDelayP99Ns int64 `json:"schedulerDelayP99Ns"`
	// ClosedNs is the stamp of this line.
	ClosedNs int64 `json:"closedNs"`
}
