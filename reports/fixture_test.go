package reports

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports/histogram"
)

// goodRun is a run of a minute at 100/s, without any objection.
func goodRun(t *testing.T) *Run {
	t.Helper()
	r := describedRun()
	r.take(goodRecording())
	r.Consistency = Consistency{Checked: true, Rows: 4310, Documents: 4310,
		Counts: map[RowStatus]int64{OK: 4310}}
	r.Conclude()
	return r
}

// chaosRun is a run with two faults, a lost row and a fault without effect.
func chaosRun(t *testing.T) *Run {
	t.Helper()
	r := describedRun()
	r.TestRun.ID = "consumer-kill-20261122-075547"
	r.Provenance.Config["plan"] = "consumer-kill"
	r.Provenance.Dirty = true
	r.Faults = []FaultWindow{
		{Name: "kill consumer", Target: "consumer", StartSeconds: 20, EndSeconds: 24, Applied: true,
			RecoveredSeconds: 3.4, InsideP50: 2610, OutsideP50: 2.2,
			Detail: "pid 4711, SIGKILL, then " +
				"started again"},
		{Name: "slow MongoDB", Target: "mongo", StartSeconds: 40, EndSeconds: 45,
			RecoveredSeconds: -1, Proxy: "consumer-mongo", Detail: "toxic was refused: <404>"},
	}
	r.Deliveries = Deliveries{Counted: true, Events: 6012, Again: 12}
	r.take(chaosRecording())
	r.Consistency = Consistency{Checked: true, Rows: 4310, Documents: 4309,
		Counts: map[RowStatus]int64{OK: 4309, Lost: 1, Late: 2},
		Examples: []Example{{Lost, "order", "5e9a6a0e-31d5-4a7e-9c51-b0f6c7f3a001",
			`version 812 was committed; no document <script>alert("x")</script>`, nil}}}
	r.Tracker.Errors = 1
	r.Conclude()
	return r
}

func describedRun() *Run {
	start := time.Date(2026, 11, 22, 7, 55, 47, 0, time.UTC)
	return &Run{
		SchemaVersion: SchemaVersion,
		TestRun: TestRun{ID: "baseline-20261122-075547", Scenario: "baseline", Duration: "1m0s",
			DurationSeconds: 60, StartTime: start, EndTime: start.Add(time.Minute)},
		Provenance: Provenance{
			Commit: "0123456789abcdef0123456789abcdef01234567", GoVersion: "go1.26.8",
			Host: Host{Fingerprint: "5f2b6c01aa30", OS: "linux", Arch: "amd64",
				CPUModel: "Example CPU @ 2.8 GHz",
				Cores:    2, MemoryBytes: 8 << 30, Kernel: "6.1.0"},
			Stack: "embedded", MongoKind: "secantusd-rs", Tmpfs: true, Seed: 1,
			StackVersions: map[string]string{"postgres": "17.2", "kafka": "kfake",
				"mongo": "7.0 (stand-in)"},
			Config: map[string]string{"rate": "100", "duration": "1m0s", "warmup": "5s",
				"mix": "70/20/10", "partitions": "4"},
			ScenarioFile:   "experiments/scenarios/baseline.js",
			ScenarioSHA256: "aa11bb22cc33dd44ee55", ConsumerSHA256: "ff00ee11dd22cc33bb44",
			Command: []string{"cdclab", "bench", "baseline"},
		},
		Load: Workload{Model: "open", PlannedSeconds: 60,
			Asked: map[string]string{"seed": "1", "mix": "70/20/10"},
			Scenarios: []ScenarioLoad{
				{Name: "warmup", Schedule: "constant-arrival-rate 100/s 5s", Open: true,
					PlannedSeconds: 5, Planned: 500, Iterations: 500, Writes: 500},
				{Name: "load", Schedule: "constant-arrival-rate 100/s 1m0s after 5s",
					Measured: true, Open: true, PlannedSeconds: 60, Planned: seconds * rate,
					Iterations: seconds * rate, Writes: seconds * rate},
			},
			Operations:      Operations{4201, 1199, 600},
			AskedOperations: Operations{4199, 1201, 600}},
		Floor:     Floor{P50: 0.9, P95: 1.4, P99: 2.2, Writes: 300, Tracker: "changestream"},
		Tracker:   Tracker{Kind: "changestream", TrackedShare: 1, AskedShare: 1},
		Generator: Generator{LateTicksP99Ms: 0.8, QueueMax: 3},
		Ledger:    Ledger{Path: "ledger.jsonl", Writes: 6500},
		Host:      HostUse{CPUBusyPercent: 41, CPUStealPercent: 0.3},
		Resources: []Resource{{"consumer", 9.4, 61 << 20}, {"lab", 14.2, 180 << 20},
			{"mongo", 7.7, 95 << 20}, {"postgres", 6.1, 240 << 20}},
		Notes: []string{"MongoDB is the stand-in secantusd-rs.", "The data is on tmpfs."},
		Looks: describedLooks(),
	}
}

// describedLooks are a look every 10 s from the warmup to the drain, at an even load.
func describedLooks() Looks {
	looks := Looks{Seconds: []float64{-3, 7, 17, 27, 37, 47, 57, 67}}
	add := func(component, name, unit string, capacity float64, values ...float64) {
		looks.Gauges = append(looks.Gauges, Gauge{component, name, unit, capacity, values})
	}
	add("host", GaugeCPU, "%", 200, 60, 82, 84, 80, 83, 85, 81, 20)
	add("consumer", GaugeCPU, "%", 200, 12, 15, 16, 15, 17, 15, 16, 1)
	add("consumer", GaugeMemory, "bytes", 8<<30, 40<<20, 55<<20, 58<<20, 60<<20, 61<<20, 60<<20,
		61<<20, 61<<20)
	add("consumer", GaugeConnections, "", 16, 4, 4, 5, 3, 4, -1, 4, 0)
	add("consumer", GaugeLag, "", 0, 31, 52, 47, 66, 50, 58, 49, 0)
	add("consumer", GaugeLag+" cdc.public.customer/0", "", 0, 11, 12, 9, 16, 12, 13, 12, 0)
	add("consumer", GaugeProduced, "/s", 0, 90, 101, 100, 99, 100, 100, 101, 5)
	add("consumer", GaugeConsumed, "/s", 0, 88, 99, 100, 98, 101, 100, 101, 9)
	add("prometheus", GaugeLag, "", 0, -1, 60, 44, 71, 48, 60, 51, 0)
	add("consumer", GaugeHeap, "bytes", 0, 8<<20, 9<<20, 12<<20, 11<<20, 9<<20,
		12<<20, 10<<20, 9<<20)
	add("postgres", GaugeDiskWrite, "bytes/s", 0, -1, 2<<20, 2<<20, 3<<20, 2<<20, 2<<20, 2<<20, 0)
	add("host", GaugeNetworkReceived, "bytes/s", 0, 1<<20, 5<<20, 5<<20, 5<<20, 6<<20,
		5<<20, 5<<20, 0)
	add("postgres", GaugeCPU, "%", 200, 9, 11, 10, 10, 11, 12, 10, 2)
	return looks
}

// lagLooks is the lag of the consumer at eight looks, so that the lag's limit has its samples.
var lagLooks = Gauge{"consumer", GaugeLag, "", 0, []float64{0, 1, 2, 1, 0, 1, 2, 0}}

// addSteady gives a Run with faults writes outside of them, where the Run has none.
func (r *Run) addSteady() {
	if _, has := r.StageOf(E2ESteady, "", ""); !has && len(r.Faults) > 0 {
		r.Stages = append(r.Stages, Stage{Stage: E2ESteady, Count: 10,
			Latency: Latency{1, 2, 3, 4, 1}})
	}
}

// The two recordings are made once, because the recordings are the slow part of a test.
var (
	goodRecording  = sync.OnceValue(func() recording { return recordWrites(nil) })
	chaosRecording = sync.OnceValue(func() recording {
		return recordWrites(&FaultWindow{StartSeconds: 20, EndSeconds: 24, RecoveredSeconds: 3.4})
	})
)

// seconds and rate are the load of the recordings.
const seconds, rate = 60, 100

// recording is the output of a Recorder; tests share the recording and change copies.
type recording struct {
	stages []Stage
	series []Second
	clock  Clock
	blocks histogram.Set
}

// take fills in the results of the recorded writes.
func (r *Run) take(from recording) {
	r.Stages, r.Series, r.Clock = slices.Clone(from.stages), slices.Clone(from.series), from.clock
	r.Histograms = from.blocks
	r.Clock.Offsets = []ClockOffset{{"postgres", -0.012, 0.06}, {"consumer", 0.2, 0.4}}
	r.Clock.NotMeasured = "connector and kafka, because they cannot be asked"
	r.Summary.TotalOperations = seconds * rate
	r.Summary.Throughput = Throughput{Offered: rate, Mean: rate, Max: rate + 2}
}

// recordWrites makes up writes with log-normal latencies, the same every time; writes intended in
// the fault are seen when the pipeline has recovered.
func recordWrites(fault *FaultWindow) recording {
	random := rand.New(rand.NewPCG(1, 2))
	recorder := NewRecorder()
	sample := func(medianMs, sigma float64) time.Duration {
		ms := medianMs * math.Exp(sigma*random.NormFloat64())
		return time.Duration(ms * float64(time.Millisecond))
	}
	operations := []string{"insert", "insert", "insert", "update", "delete"}
	entities := []string{"customer", "address", "order", "order_item"}
	for i := range seconds * rate {
		intended := float64(i) / float64(rate)
		entity, op := entities[random.IntN(4)], operations[random.IntN(5)]
		delay, commit := sample(0.06, 0.6), sample(0.6, 0.4)
		stages := []time.Duration{sample(0.35, 0.3), sample(0.1, 0.5), sample(0.2, 0.5),
			sample(0.55, 0.4)}
		pipeline := stages[0] + stages[1] + stages[2] + stages[3] + sample(0.2, 0.3)
		steady := true
		if fault != nil && intended > fault.StartSeconds-0.2 &&
			intended < fault.EndSeconds+fault.RecoveredSeconds {
			steady = false
			back := fault.EndSeconds + (intended-fault.StartSeconds)*0.4 - intended
			pipeline += time.Duration(max(0, back) * float64(time.Second))
		}
		second := int(intended)
		e2e := delay + commit + pipeline
		recorder.Add(ScheduleDelay, entity, op, second, delay)
		recorder.Add(Commit, entity, op, second, commit)
		recorder.Add(Pipeline, entity, op, second, pipeline)
		recorder.Add(E2E, entity, op, second, e2e)
		for s, name := range []string{SourceToConnector, ConnectorToKafka, KafkaToConsumer,
			ConsumerToApplied} {
			recorder.Add(name, "", "", second, stages[s])
		}
		if fault != nil && steady {
			recorder.Add(E2ESteady, entity, op, second, e2e)
		}
		recorder.Offered(second)
		recorder.Committed(int(intended + (delay + commit).Seconds()))
		recorder.Visible(int(intended + e2e.Seconds()))
	}
	return recording{recorder.Stages(), recorder.Seconds(), recorder.Clock(),
		recorder.Histograms()}
}

// unmeasuredRun holds only the members required by Validate.
func unmeasuredRun(*testing.T) *Run {
	d := describedRun()
	r := &Run{SchemaVersion: SchemaVersion, TestRun: d.TestRun}
	r.Provenance.Stack = "external"
	r.Tracker.AskedShare = 1
	r.Conclude()
	return r
}

// extremeRun has the smallest and the greatest numbers accepted by Validate.
func extremeRun(*testing.T) *Run {
	extreme := unmeasuredRun(nil)
	far := Latency{P50: 1e-300, P95: 1e-300, P99: maxLatencyMs, Max: maxLatencyMs}
	extreme.Summary.TotalOperations = maxNumber
	extreme.Stages = []Stage{{Stage: E2E, Count: 1, Latency: far}, {Stage: Commit, Count: 1},
		{Stage: E2E, Entity: "order", Count: 1, Latency: far}}
	extreme.Series = []Second{{Offered: maxNumber}, {Second: MaxSecond, P99: 1e-300,
		Max: maxLatencyMs}}
	extreme.Faults = []FaultWindow{{Name: "x", StartSeconds: 5, EndSeconds: maxNumber,
		Applied:          true,
		RecoveredSeconds: maxNumber}}
	extreme.Summary.DroppedIterations = -1
	extreme.Conclude()
	return extreme
}
