// Package reports is what is known after a Run and how it is shown: the versioned JSON of a Run,
// its Verdict, the text and the HTML report, the comparison of two Runs and the stored baselines.
// It measures nothing, talks to no network, and reads no file but a stored Run. Start reading at
// Run, then at Judge.
package reports

import "time"

// SchemaVersion is the version of the JSON of a Run; Decode refuses any other.
const SchemaVersion = 2

// Run is the result of one experiment, the content of run.json. Every member is always present.
// Latencies are in milliseconds, rates in operations per second, offsets in seconds after
// TestRun.StartTime, shares between 0 and 1, unless the name says otherwise.
type Run struct {
	SchemaVersion int         `json:"schemaVersion"`
	TestRun       TestRun     `json:"testRun"`
	Provenance    Provenance  `json:"provenance"`
	Verdict       Verdict     `json:"verdict"`
	Summary       Summary     `json:"summary"`
	Thresholds    Thresholds  `json:"thresholds"`
	Stages        []Stage     `json:"stages"`
	Series        []Second    `json:"series"`
	Consistency   Consistency `json:"consistency"`
	// Faults is empty for a Run without a chaos plan.
	Faults     []FaultWindow `json:"faults"`
	Floor      Floor         `json:"floor"`
	Tracker    Tracker       `json:"tracker"`
	Generator  Generator     `json:"generator"`
	Ledger     Ledger        `json:"ledger"`
	Clock      Clock         `json:"clock"`
	Host       HostUse       `json:"host"`
	Resources  []Resource    `json:"resources"`
	Looks      Looks         `json:"looks"`
	Lag        Lag           `json:"lag"`
	Breakpoint Breakpoint    `json:"breakpoint"`
	// Trends are empty for a load of less than ten minutes.
	Trends []Trend `json:"trends"`
	// Notes are what a reader must know to understand the numbers (a stand-in, data on tmpfs).
	Notes []string `json:"notes"`
	// Warnings are what went wrong without touching the verdict.
	Warnings []string `json:"warnings"`
}

// TestRun says which Run this is.
type TestRun struct {
	ID       string `json:"id"`
	Scenario string `json:"scenario"`
	// Duration is the length of the measured load as a person writes it, "5m"; DurationSeconds is
	// the same as a number, as it really was.
	Duration        string  `json:"duration"`
	DurationSeconds float64 `json:"durationSeconds"`
	// StartTime is when the measured load began, after the warmup; EndTime when it ended, before
	// the drain.
	StartTime time.Time `json:"startTime"`
	EndTime   time.Time `json:"endTime"`
	// Partial: the Run was ended before its time, so its thresholds decide nothing and its verdict is at most unknown.
	Partial bool `json:"partial"`
}

// Provenance is everything needed to do the Run again, and to see what may be compared with it.
type Provenance struct {
	// Commit of the lab's sources, empty outside a checkout; Dirty: they had changes on top of it.
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
	// Config is what the Run was asked for: rate, duration, warmup, mix, partitions, plan. Two Runs
	// with different values are not compared.
	Config         map[string]string `json:"config"`
	Seed           int64             `json:"seed"`
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
	// TotalOperations is the number of writes that the schedule wanted.
	TotalOperations int64      `json:"totalOperations"`
	Throughput      Throughput `json:"throughput"`
	// Latency is that of stage e2e: from the intended time until seen in MongoDB.
	Latency Latency `json:"latency"`
	Errors  Errors  `json:"errors"`
	// DroppedIterations is how often k6 had no free VU for an iteration that was due; -1: not known.
	DroppedIterations int64 `json:"droppedIterations"`
	// Timeouts are acked writes that were not visible within the tracker's timeout; Late is how
	// many of them were seen after it.
	Timeouts int64 `json:"timeouts"`
	Late     int64 `json:"late"`
	// Indeterminate are writes of which only PostgreSQL knows whether they were committed.
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

// Thresholds are the limits that the Run crossed.
type Thresholds struct {
	Passed     bool        `json:"passed"`
	Violations []Violation `json:"violations"`
}

// Violation is one crossed limit, for example name "e2e p95 (ms)", limit "< 2000", value 2140.
type Violation struct {
	Name  string  `json:"name"`
	Limit string  `json:"limit"`
	Value float64 `json:"value"`
}

// The stages of a write. E2E = ScheduleDelay + Commit + Pipeline for each single write; the four
// below Pipeline are the consumer's own, taken from other clocks, and only attribute.
const (
	// ScheduleDelay is from the intended time until a worker sent the statement.
	ScheduleDelay = "scheduleDelay"
	// Commit is from sent until PostgreSQL's commit was acknowledged.
	Commit = "commit"
	// Pipeline is from the acknowledged commit until the tracker saw the version in MongoDB.
	Pipeline = "pipeline"
	// E2E is from the intended time until seen.
	E2E = "e2e"
	// E2ESteady is E2E of the writes intended outside every fault and its recovery. Only a Run with
	// faults has it; the latency limits, which are for normal load, are then applied to it.
	E2ESteady = "e2eSteady"
	// SourceToConnector is from source.ts_us until the envelope's ts_us.
	SourceToConnector = "sourceToConnector"
	// ConnectorToKafka is from the envelope's ts_us until the record's own time, which its producer or
	// the broker set: what the connector held it back.
	ConnectorToKafka = "connectorToKafka"
	// KafkaToConsumer is from there until the consumer polled the record.
	KafkaToConsumer = "kafkaToConsumer"
	// ConsumerToApplied is from polled until MongoDB acknowledged the write.
	ConsumerToApplied = "consumerToApplied"
)

// Stage is the latency of one stage, of one entity and operation; an empty Entity or Operation
// means all. Percentiles are in milliseconds.
type Stage struct {
	Stage     string `json:"stage"`
	Entity    string `json:"entity"`
	Operation string `json:"operation"`
	Count     int64  `json:"count"`
	Latency
	// Histogram is an HdrHistogram of microseconds, V2 compressed in base64, so that Runs can be
	// merged. Only rows that were recorded sample by sample have it.
	Histogram string `json:"histogram,omitempty"`
}

// Second is one second of the Run. Percentiles are of the E2E, in milliseconds, of the writes
// INTENDED in this second, all 0 if none of them was seen.
type Second struct {
	// Second is the offset from TestRun.StartTime.
	Second int `json:"second"`
	// Offered, Committed and Visible count the writes that were intended, acknowledged by
	// PostgreSQL and seen in MongoDB in this second.
	Offered   int64   `json:"offered"`
	Committed int64   `json:"committed"`
	Visible   int64   `json:"visible"`
	P50       float64 `json:"p50"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
	// Outstanding writes were committed and not yet visible at the end of this second.
	Outstanding int64 `json:"outstanding"`
	// Histogram is that of the E2E of the writes intended in this second, as in Stage.
	Histogram string `json:"histogram,omitempty"`
}

// FaultWindow is one fault of the chaos plan as it really happened.
type FaultWindow struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	// StartSeconds and EndSeconds are offsets of the first moment of the fault and of its removal.
	StartSeconds float64 `json:"startSeconds"`
	EndSeconds   float64 `json:"endSeconds"`
	// Applied: the injection succeeded and its effect was observed.
	Applied bool `json:"applied"`
	// RecoveredSeconds is the time from the removal until the steady state held again; -1: unknown.
	RecoveredSeconds float64 `json:"recoveredSeconds"`
	// RecoveryLimitSeconds is how long the plan allows for that; 0 is the specification's 60.
	RecoveryLimitSeconds float64 `json:"recoveryLimitSeconds"`
	// Proxy is the name of the proxy that carried the fault, empty for a fault without one;
	// ProxyBytes is what went through it in both directions during the Run.
	Proxy      string `json:"proxy"`
	ProxyBytes int64  `json:"proxyBytes"`
	// InsideP50 and OutsideP50 are the E2E p50 in milliseconds of writes intended inside and
	// outside the window; 0: no samples.
	InsideP50  float64 `json:"insideP50"`
	OutsideP50 float64 `json:"outsideP50"`
	Detail     string  `json:"detail"`
}

// Floor is the smallest latency that could have been measured: direct writes to MongoDB until
// seen by the same tracker. Percentiles in milliseconds. Writes is 0 if it was not measured.
type Floor struct {
	P50    float64 `json:"p50"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Writes int64   `json:"writes"`
	// Tracker is its kind; ResolutionMs is its poll interval in milliseconds, 0 for a change stream.
	Tracker      string  `json:"tracker"`
	ResolutionMs float64 `json:"resolutionMs"`
}

// Tracker is how visibility was watched.
type Tracker struct {
	// Kind is "changestream" or "poll".
	Kind string `json:"kind"`
	// TrackedShare of the writes was watched; AskedShare is what the sampling was set to.
	TrackedShare float64 `json:"trackedShare"`
	AskedShare   float64 `json:"askedShare"`
	// Errors is how often the stream was lost or a poll failed.
	Errors int64 `json:"errors"`
	// MedianLookMs and SlowestLookMs are between two looks of a polling tracker while something was waited
	// for, in milliseconds: its resolution. 0 for a change stream.
	MedianLookMs  float64 `json:"medianLookMs"`
	SlowestLookMs float64 `json:"slowestLookMs"`
	// Operations are the tracker's own of all ServerOperations that MongoDB did; they had a share of
	// BudgetKept and were to stay under BudgetAsked.
	Operations       int64   `json:"operations"`
	ServerOperations int64   `json:"serverOperations"`
	BudgetAsked      float64 `json:"budgetAsked"`
	BudgetKept       float64 `json:"budgetKept"`
}

// Generator is how well k6 kept its own schedule.
type Generator struct {
	// LateTicksP99Ms is the p99 of the time between a write's intended time and k6's call of
	// write(), which never blocks: lateness that no database can cause.
	LateTicksP99Ms float64 `json:"lateTicksP99Ms"`
	// QueueMax is the greatest number of writes that waited for a worker; a stalled database makes
	// it grow, so it says nothing against the generator.
	QueueMax int64 `json:"queueMax"`
	// Substituted updates and deletes became inserts because no row was free.
	Substituted int64 `json:"substituted"`
	// GCPauseMaxMs is the longest stop for k6's garbage collector, SchedulerDelayP99Ms what its goroutines
	// waited for a processor at p99, since it began.
	GCPauseMaxMs        float64 `json:"gcPauseMaxMs"`
	SchedulerDelayP99Ms float64 `json:"schedulerDelayP99Ms"`
}

// Ledger is the raw result that the Run was computed from.
type Ledger struct {
	// Path is relative to run.json.
	Path   string `json:"path"`
	Writes int64  `json:"writes"`
	// Truncated: it has no end, so writes may be missing.
	Truncated bool `json:"truncated"`
}

// Clock is what is known against the clocks.
type Clock struct {
	// NegativeSpans are stages that ended before they began.
	NegativeSpans int64 `json:"negativeSpans"`
	// ClampedSpans lasted longer than the longest recorded latency, ten minutes.
	ClampedSpans int64 `json:"clampedSpans"`
	// Offsets are those of the clocks that stamp the stages below Pipeline. End to end is measured by one
	// clock and needs none of them.
	Offsets []ClockOffset `json:"offsets"`
	// NotMeasured says of which clocks there is no offset, and why.
	NotMeasured string `json:"notMeasured,omitempty"`
}

// ClockOffset is by how many milliseconds a component's clock was ahead of the lab's before the load, give
// or take UncertaintyMs.
type ClockOffset struct {
	Component     string  `json:"component"`
	OffsetMs      float64 `json:"offsetMs"`
	UncertaintyMs float64 `json:"uncertaintyMs"`
}

// HostUse is how busy the machine was during the measured load, in per cent of all cores.
type HostUse struct {
	CPUStealPercent float64 `json:"cpuStealPercent"`
	CPUBusyPercent  float64 `json:"cpuBusyPercent"`
}

// Resource is what the processes of one component used during the measured load.
type Resource struct {
	Component   string  `json:"component"`
	CPUSeconds  float64 `json:"cpuSeconds"`
	MaxRSSBytes int64   `json:"maxRSSBytes"`
}

// StageOf returns the row of a stage for an entity and operation; empty ones mean all. ok is false
// if there is no such row, or if it has no samples.
func (r *Run) StageOf(stage, entity, operation string) (row Stage, ok bool) {
	for _, s := range r.Stages {
		if s.Stage == stage && s.Entity == entity && s.Operation == operation {
			return s, s.Count > 0
		}
	}
	return Stage{}, false
}
