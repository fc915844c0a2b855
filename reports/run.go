// Package reports knows the results of a Run: the versioned JSON of a Run, its Verdict, the limits,
// the comparison of two Runs and the merge of several. Package render shows a Run, gate decides
// between groups of Runs, and archive keeps stored Runs. Package reports measures nothing, talks to
// no network, and reads no file but a stored Run. Start reading at Run, then at Judge.
package reports

import (
	"time"

	"github.com/cdclab/cdclab/reports/histogram"
)

// SchemaVersion is the version of the JSON of a Run, described by run.schema.json. A Run read by
// Decode keeps the version of its file, from oldestVersion on; version 2 had no Histograms.
const (
	SchemaVersion     = 3
	oldestVersion     = 2
	histogramsVersion = 3
)

// Run is the result of one experiment, the content of run.json. Every member is always present, but
// for those with omitempty, which Runs of an older lab lack.
// Latencies are in milliseconds, rates in operations per second, offsets in seconds after
// TestRun.StartTime, shares between 0 and 1, unless the name says otherwise.
type Run struct {
	SchemaVersion int        `json:"schemaVersion"`
	TestRun       TestRun    `json:"testRun"`
	Provenance    Provenance `json:"provenance"`
	Verdict       Verdict    `json:"verdict"`
	Summary       Summary    `json:"summary"`
	Load          Workload   `json:"load,omitempty"`
	Thresholds    Thresholds `json:"thresholds"`
	Stages        []Stage    `json:"stages"`
	Series        []Second   `json:"series"`
	// Histograms hold the latency of each stage, entity, operation and second.
	Histograms  histogram.Set `json:"histograms,omitempty"`
	Consistency Consistency   `json:"consistency"`
	// Letters is empty for a Run without a chaos plan.
	Letters Letters `json:"letters,omitempty"`
	// Faults is empty for a Run without a chaos plan.
	Faults     []FaultWindow `json:"faults"`
	Deliveries Deliveries    `json:"deliveries,omitempty"`
	Floor      Floor         `json:"floor"`
	Tracker    Tracker       `json:"tracker"`
	Generator  Generator     `json:"generator"`
	Lab        Lab           `json:"lab,omitempty"`
	Ledger     Ledger        `json:"ledger"`
	Clock      Clock         `json:"clock"`
	Host       HostUse       `json:"host"`
	Resources  []Resource    `json:"resources"`
	Looks      Looks         `json:"looks"`
	Lag        Lag           `json:"lag"`
	Breakpoint Breakpoint    `json:"breakpoint"`
	// Segments are the merged Runs, empty for a whole Run.
	Segments []Segment `json:"segments,omitempty"`
	// Growths are empty for a load of less than ten minutes.
	Growths []Growth `json:"trends"`
	// Notes help a reader understand the numbers (a stand-in, data on tmpfs).
	Notes []string `json:"notes"`
	// Warnings are troubles that did not touch the verdict.
	Warnings []string `json:"warnings"`
	// LeftOut has a sentence about each member that could not be true, and was left out by Mend.
	LeftOut []string `json:"leftOut,omitempty"`
}

// TestRun identifies the Run.
type TestRun struct {
	ID       string `json:"id"`
	Scenario string `json:"scenario"`
	// Duration is the length of the measured load as a person writes it, "5m"; DurationSeconds is
	// the real length as a number.
	Duration        string  `json:"duration"`
	DurationSeconds float64 `json:"durationSeconds"`
	// StartTime is when the measured load began, after the warmup; EndTime when it ended, before
	// the drain.
	StartTime time.Time `json:"startTime"`
	EndTime   time.Time `json:"endTime"`
	// Partial: the Run was ended before its time, so its thresholds decide nothing and the verdict
	// is at most unknown. EndedBy says why.
	Partial bool   `json:"partial"`
	EndedBy string `json:"endedBy,omitempty"`
}

// At is the moment so many seconds after StartTime.
func (t *TestRun) At(seconds float64) time.Time {
	return t.StartTime.Add(time.Duration(seconds * float64(time.Second)))
}

// Provenance is everything needed to do the Run again, and to find comparable Runs.
type Provenance struct {
	// Commit of the lab's sources, empty outside a checkout; Dirty: the sources had changes on top.
	Commit    string `json:"commit"`
	Dirty     bool   `json:"dirty"`
	GoVersion string `json:"goVersion"`
	Host      Host   `json:"host"`
	// Stack is the kind of stack: embedded, native, compose or external.
	Stack string `json:"stack"`
	// StackVersions is the version of each component by its name.
	StackVersions map[string]string `json:"stackVersions"`
	// MongoKind is the server behind the MongoDB protocol: mongod, a stand-in's name, or given.
	MongoKind string `json:"mongoKind"`
	// Tmpfs: the data was on a memory file system, where a sync costs nothing.
	Tmpfs bool `json:"tmpfs"`
	// Config is the load made by k6 and the lab's settings: "scenario NAME", "option NAME", "env
	// NAME", mix, partitions, plan. Two Runs with different values are not compared.
	Config         map[string]string `json:"config"`
	Seed           int64             `json:"seed" number:"any"`
	ScenarioFile   string            `json:"scenarioFile"`
	ScenarioSHA256 string            `json:"scenarioSHA256"`
	ConsumerSHA256 string            `json:"consumerSHA256"`
	Command        []string          `json:"command"`
}

// Host is the machine. Fingerprint is equal for machines whose numbers may be compared.
type Host struct {
	Fingerprint string `json:"fingerprint"`
	OS          string `json:"os"`
	Arch        string `json:"arch"`
	CPUModel    string `json:"cpuModel"`
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memoryBytes"`
	Kernel      string `json:"kernel"`
}

// Summary is the Run in a few numbers, over the measured load only.
type Summary struct {
	// TotalOperations is the number of writes in the schedule.
	TotalOperations int64      `json:"totalOperations"`
	Throughput      Throughput `json:"throughput"`
	// Latency is the latency of stage e2e: from the intended time until seen in MongoDB.
	Latency Latency `json:"latency"`
	Errors  Errors  `json:"errors"`
	// DroppedIterations is how often k6 had no free VU for a due iteration; -1: not known.
	DroppedIterations int64 `json:"droppedIterations" number:"-1"`
	// Timeouts are acked writes not visible within the tracker's timeout; Late is how many of these
	// writes were seen after the timeout.
	Timeouts int64 `json:"timeouts"`
	Late     int64 `json:"late"`
	// Indeterminate are writes of an unknown fate: only PostgreSQL knows whether the write was
	// committed.
	Indeterminate int64 `json:"indeterminate"`
}

// Throughput is in operations per second: Offered by the schedule, Mean and Max of the seconds'
// acknowledged commits.
type Throughput struct {
	Offered float64 `json:"offered"`
	Mean    float64 `json:"mean"`
	Max     float64 `json:"max"`
}

// Latency is a distribution in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
}

// Errors are failed writes; Rate is their share of all operations, between 0 and 1.
type Errors struct {
	Total int64   `json:"total"`
	Rate  float64 `json:"rate"`
}

// Thresholds are the limits crossed by the Run.
type Thresholds struct {
	Passed     bool        `json:"passed"`
	Violations []Violation `json:"violations"`
	// Unmeasured names the script's thresholds that k6 kept without a sample.
	Unmeasured []string `json:"unmeasured,omitempty"`
}

// Violation is one crossed limit, for example name "e2e p95 (ms)", limit "< 2000", value 2140.
type Violation struct {
	Name  string  `json:"name"`
	Limit string  `json:"limit"`
	Value float64 `json:"value" number:"any"`
}

// Stage is the latency of a stage, of an entity and operation; an empty Entity or Operation means
// all. Percentiles are in milliseconds.
type Stage struct {
	Stage     string `json:"stage"`
	Entity    string `json:"entity"`
	Operation string `json:"operation"`
	Count     int64  `json:"count"`
	Latency
	// Histogram is an HdrHistogram of microseconds, V2 compressed in base64, so that Runs can be
	// merged. Only rows recorded sample by sample have a Histogram.
	Histogram string `json:"histogram,omitempty"`
}

// Second is one second of the Run. Percentiles are of the E2E, in milliseconds, of the writes
// INTENDED in this second, all 0 if none of the writes was seen.
type Second struct {
	// Second is the offset from TestRun.StartTime.
	Second int `json:"second"`
	// Offered, Committed and Visible count the writes intended, acknowledged by PostgreSQL and seen
	// in MongoDB in this second.
	Offered   int64   `json:"offered"`
	Committed int64   `json:"committed"`
	Visible   int64   `json:"visible"`
	P50       float64 `json:"p50"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
	// Outstanding writes were committed and not yet visible at the end of this second.
	Outstanding int64 `json:"outstanding"`
	// Histogram is the E2E of the writes intended in this second, as in Stage, of a Run that is a
	// segment and will be merged.
	Histogram string `json:"histogram,omitempty"`
}

// Floor is the smallest measurable latency: direct writes to MongoDB until seen by the same
// tracker. Percentiles in milliseconds. Writes is 0 if the floor was not measured.
type Floor struct {
	P50    float64 `json:"p50"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Writes int64   `json:"writes"`
	// Tracker is the kind; ResolutionMs is the poll interval in milliseconds, 0 for a change
	// stream.
	Tracker      string  `json:"tracker"`
	ResolutionMs float64 `json:"resolutionMs"`
}

// Tracker is how visibility was watched.
type Tracker struct {
	// Kind is "changestream" or "poll".
	Kind string `json:"kind"`
	// TrackedShare of the writes was watched; AskedShare is the configured share.
	TrackedShare float64 `json:"trackedShare"`
	AskedShare   float64 `json:"askedShare"`
	// Errors is how often the stream was lost or a poll failed.
	Errors int64 `json:"errors"`
	// WentBack counts the change events that showed an older state of a row than an event before,
	// and FirstBack is the first of them in words. A polling tracker tells of none.
	WentBack  int64  `json:"wentBack,omitempty"`
	FirstBack string `json:"firstBack,omitempty"`
	// MedianLookMs and SlowestLookMs are between two looks of a polling tracker while something was
	// waited for, in milliseconds: the tracker's resolution. 0 for a change stream.
	MedianLookMs  float64 `json:"medianLookMs"`
	SlowestLookMs float64 `json:"slowestLookMs"`
	// Operations are the tracker's own of all ServerOperations done by MongoDB, with a real share
	// of BudgetKept and an upper bound of BudgetAsked.
	Operations       int64   `json:"operations"`
	ServerOperations int64   `json:"serverOperations"`
	BudgetAsked      float64 `json:"budgetAsked"`
	BudgetKept       float64 `json:"budgetKept"`
}

// Generator is how well k6 kept its own schedule.
type Generator struct {
	// LateTicksP99Ms is the p99 of the time between a write's intended time and k6's call of
	// write(), which never blocks: no database can cause this lateness.
	LateTicksP99Ms float64 `json:"lateTicksP99Ms"`
	// QueueMax is the greatest number of writes waiting for a worker; a stalled database makes the
	// queue grow, so QueueMax says nothing against the generator.
	QueueMax int64 `json:"queueMax"`
	// Substituted updates and deletes became inserts because no row was free.
	Substituted int64 `json:"substituted"`
	// GCPauseMaxMs is the longest stop for k6's garbage collector, SchedulerDelayP99Ms the wait of
	// its goroutines for a processor at p99, since k6 began.
	GCPauseMaxMs        float64 `json:"gcPauseMaxMs"`
	SchedulerDelayP99Ms float64 `json:"schedulerDelayP99Ms"`
}

// Lab is how steadily the lab's own process ran from the load until the drain: the embedded stack's
// Kafka and connector, the proxies and the chaos plan live there.
type Lab struct {
	// Beats counts the heartbeats; 0 in a Run of a lab without.
	Beats int64 `json:"beats"`
	// LongestStopMs is by how much the latest heartbeat was late, at StoppedAtSecond of the load,
	// by the wall clock where it moved more: a suspended machine stops the other clock.
	LongestStopMs   float64 `json:"longestStopMs"`
	StoppedAtSecond float64 `json:"stoppedAtSecond" number:"any"`
	// ClockStepMs is how far the wall clock jumped between two heartbeats against the steady clock.
	ClockStepMs float64 `json:"clockStepMs" number:"any"`
}

// Segment is the place of a merged Run in the whole.
type Segment struct {
	ID string `json:"id"`
	// StartSeconds is the offset from the whole's TestRun.StartTime.
	StartSeconds    float64 `json:"startSeconds"`
	DurationSeconds float64 `json:"durationSeconds"`
}

// Ledger is the raw result from which the Run was computed.
type Ledger struct {
	// Path is relative to run.json.
	Path   string `json:"path"`
	Writes int64  `json:"writes"`
	// Truncated: the ledger has no end, so writes may be missing.
	Truncated bool `json:"truncated"`
}

// Clock is the evidence against the clocks.
type Clock struct {
	// NegativeSpans are stages with an end before the beginning.
	NegativeSpans int64 `json:"negativeSpans"`
	// ClampedSpans lasted longer than the longest recorded latency, ten minutes.
	ClampedSpans int64 `json:"clampedSpans"`
	// Offsets are the offsets of the clocks that stamp the stages below Pipeline. End to end is
	// measured by a single clock and needs no offset.
	Offsets []ClockOffset `json:"offsets"`
	// NotMeasured names the clocks without an offset, and why.
	NotMeasured string `json:"notMeasured,omitempty"`
}

// ClockOffset is by how many milliseconds a component's clock was ahead of the lab's before the
// load, give or take UncertaintyMs.
type ClockOffset struct {
	Component     string  `json:"component"`
	OffsetMs      float64 `json:"offsetMs" number:"any"`
	UncertaintyMs float64 `json:"uncertaintyMs"`
}

// HostUse is how busy the machine was during the measured load, in per cent of all cores.
type HostUse struct {
	CPUStealPercent float64 `json:"cpuStealPercent"`
	CPUBusyPercent  float64 `json:"cpuBusyPercent"`
}

// Resource is the use by the processes of a component during the measured load.
type Resource struct {
	Component   string  `json:"component"`
	CPUSeconds  float64 `json:"cpuSeconds"`
	MaxRSSBytes int64   `json:"maxRSSBytes"`
}
