package cdc

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.k6.io/k6/js/modulestest"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"
	"gopkg.in/guregu/null.v3"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// script is one VU's script, with `cdc` imported.
type script struct {
	*modulestest.Runtime
	registry *metrics.Registry
	samples  chan metrics.SampleContainer
}

func newScript(t testing.TB, module *Module, env map[string]string) *script {
	t.Helper()
	s := &script{Runtime: modulestest.NewRuntime(t),
		samples: make(chan metrics.SampleContainer, 100)}
	s.VU.InitEnvField.RuntimeOptions.Env = env
	s.registry = s.VU.InitEnvField.Registry
	s.VU.InitEnvField.BuiltinMetrics = s.BuiltinMetrics
	instance := module.NewModuleInstance(s.VU)
	if err := s.VU.Runtime().Set("cdc", instance.Exports().Default); err != nil {
		t.Fatal(err)
	}
	return s
}

// openedScript has a lab that takes writes, in the first iteration of a scenario.
func openedScript(t testing.TB, scenario string) (*Generator, *script) {
	t.Helper()
	module := New()
	s := newScript(t, module, nil)
	if thrown := s.run(`const lab = cdc.open()`); thrown != "" {
		t.Fatal(thrown)
	}
	module.generator.queue.open()
	s.enter(scenario, time.Now(), 0)
	return module.generator, s
}

// enter puts the VU into iteration n of a scenario of 100 iterations per second.
func (s *script) enter(scenario string, started time.Time, n uint64) {
	state := &lib.State{Samples: s.samples, GetScenarioGlobalVUIter: func() uint64 { return n }}
	state.Tags = lib.NewVUStateTags(s.registry.RootTagSet().With("scenario", scenario))
	config := constantRate(100, time.Second)
	config.PreAllocatedVUs = null.IntFrom(1)
	state.Options.Scenarios = lib.ScenarioConfigs{scenario: config}
	s.MoveToVUContext(state)
	s.VU.CtxField = lib.WithScenarioState(s.VU.CtxField,
		&lib.ScenarioState{Name: scenario, StartTime: started})
}

// run evaluates code and returns the exception's text.
func (s *script) run(code string) string {
	if _, err := s.VU.Runtime().RunString(code); err != nil {
		return err.Error()
	}
	return ""
}

// throws runs each code and wants an exception with the text.
func (s *script) throws(t *testing.T, wants map[string]string) {
	t.Helper()
	for code, want := range wants {
		if got := s.run(code); !strings.Contains(got, want) {
			t.Errorf("%s throws %q, want %q", code, got, want)
		}
	}
}

func TestScriptErrors(t *testing.T) {
	t.Parallel()
	s := newScript(t, New(), nil)
	s.throws(t, map[string]string{
		`cdc.open({postgress: 1})`: `cdc.open(): there is no option "postgress"`,
		`cdc.open({workers: "x"})`: `cdc.open(): option "workers": ` +
			`got a string, want a whole number`,
		`cdc.open({sample: NaN})`: `cdc.open(): option "sample": got NaN, want what JSON can hold`,
		`cdc.open(7)`:             `cdc.open(): want an object of options`,
	})
	if thrown := s.run(`const lab = cdc.open({seed: 5})`); thrown != "" {
		t.Fatal(thrown)
	}
	s.throws(t, map[string]string{
		`cdc.open({seed: 6})`:   `called again with other options`,
		`lab.start()`:           `lab.start() belongs in setup()`,
		`lab.write()`:           `lab.write() cannot be called while the script is loaded`,
		`lab.transaction([{}])`: `lab.transaction() cannot be called while the script is loaded`,
		`lab.mix({insert: 1})`: `lab.mix() cannot be called while the script is loaded: ` +
			`use the option "mix"`,
		`lab.mark("x")`:         `lab.mark() cannot be called while the script is loaded`,
		`lab.has("order", "x")`: `lab.has() cannot be called while the script is loaded`,
		`lab.selftest()`:        `lab.selftest() cannot be called while the script is loaded`,
	})
	s.enter("load", time.Now(), 0)
	s.throws(t, map[string]string{
		`cdc.open()`:  `belongs at the top of the script`,
		`lab.write()`: `the lab was not started`,
		`lab.write("customers")`: `no entity "customers": ` +
			`want one of customer, address, order, order_item`,
		`lab.write("order", "upsert")`: `no operation "upsert"`,
		`lab.write("")`:                `no entity ""`,
		`lab.write(7)`:                 `no entity "7"`,
		`lab.write("order", "")`:       `no operation ""`,
		`lab.write("order", "insert", {sttus: "paid"})`: `cannot set "sttus" of order: ` +
			`want some of status, total_amount`,
		`lab.write(null, "insert", {status: "paid"})`: `fields: want an object, ` +
			`with an entity`,
		`lab.write("customer", "delete", {status: "paid"})`: `not for a delete`,
		`lab.transaction()`:                `lab.transaction(): want an array of 1 to 1000 writes`,
		`lab.transaction([])`:              `lab.transaction(): want an array of 1 to 1000 writes`,
		`lab.transaction([{}, 7])`:         `write 2: want an object {entity, op, fields}, got 7`,
		`lab.transaction([{entity: "x"}])`: `write 1: no entity "x"`,
		`lab.transaction([{table: "x"}])`: `write 1: has no member "table": ` +
			`want entity, op, fields`,
		`lab.transaction([{op: 7}])`: `write 1: op: want a name, got 7`,
		`lab.transaction([{}])`:      `lab.transaction(): the lab was not started`,
		`lab.mix()`:                  `lab.mix(): want weights such as`,
		`lab.mix({inserts: 1})`:      `lab.mix(): option "mix" has no member "inserts"`,
		`lab.mix({insert: 0})`:       `lab.mix(): want weights of at least 0 and one above`,
		`lab.mark()`:                 `lab.mark(): want a label of 1 to 200 bytes`,
		`lab.mark("m")`:              `lab.mark(): the lab was not started`,
		`lab.has("order_item", "x")`: `no documents of "order_item"`,
		`lab.drain()`:                `lab.drain(): the lab was not started`,
		`lab.drain("soon")`:          `lab.drain(): want a length such as "60s", got "soon"`,
		`lab.selftest({writes: 0})`:  `lab.selftest(): want {writes: 1} or more`,
		`lab.selftest({wirtes: 10})`: `lab.selftest(): want {writes: 1} or more`,
		`lab.selftest({rate: 0.5})`:  `and perhaps {rate: 1} or more`,
		`lab.selftest(10)`:           `lab.selftest(): want {writes: 1} or more`,
	})
}

func TestScriptsShareOneLab(t *testing.T) {
	t.Parallel()
	module := New()
	env := map[string]string{"CDC_SEED": "9"}
	for range 3 {
		if thrown := newScript(t, module, env).run(`cdc.open({workers: 3})`); thrown != "" {
			t.Fatal(thrown)
		}
	}
	if module.generator.options.Seed != 9 || module.generator.options.Workers != 3 {
		t.Errorf("options %+v", module.generator.options)
	}
}

func TestWriteIsDueBySchedule(t *testing.T) {
	t.Parallel()
	module := New()
	s := newScript(t, module, nil)
	if thrown := s.run(`const lab = cdc.open()`); thrown != "" {
		t.Fatal(thrown)
	}
	module.generator.queue.open()
	began := time.Now().Add(-3 * time.Second)
	s.enter("load", began, 50)
	thrown := s.run(`lab.write(); lab.write("order", "update", {status: "paid"})`)
	if thrown != "" {
		t.Fatal(thrown)
	}
	for _, named := range []bool{false, true} {
		r, _ := popOne(module.generator.queue)
		due := began.Add(500 * time.Millisecond)
		if want := due.Sub(module.generator.epoch).Nanoseconds(); r.intendedNs != want {
			t.Errorf("intended at %d ns, want %d", r.intendedNs, want)
		}
		lateness := time.Duration(r.enqueuedNs - r.intendedNs)
		if lateness < 2500*time.Millisecond {
			t.Errorf("k6 was 2.5 s late, measured %v", lateness)
		}
		if scenario, _ := r.tags.Get("scenario"); r.scenario != "load" || scenario != "load" {
			t.Errorf("scenario %q, tagged %q", r.scenario, scenario)
		}
		if named && (r.Table != tables.Order || r.Op != ledger.Update ||
			r.Fields["status"] != "paid") {
			t.Errorf("got %+v", r)
		}
		if !named && (r.Table != tables.Any || r.Op != "") {
			t.Errorf("got %+v", r)
		}
	}
	thrown = s.run(
		`if (lab.stats().executing !== 2) throw new Error(JSON.stringify(lab.stats()))`)
	if thrown != "" {
		t.Error(thrown)
	}
}

// lab.mix() in an iteration holds for the iteration's scenario, in setup() for the others.
func TestMixOfAScenario(t *testing.T) {
	t.Parallel()
	module := New()
	s := newScript(t, module, nil)
	s.run(`const lab = cdc.open({mix: {insert: 5}})`)
	module.generator.queue.open()
	taken := func() tables.Mix {
		t.Helper()
		if thrown := s.run(`lab.write()`); thrown != "" {
			t.Fatal(thrown)
		}
		r, _ := popOne(module.generator.queue)
		return r.mix
	}
	for _, step := range []struct {
		scenario, code string
		want           tables.Mix
	}{
		{"load", ``, tables.Mix{Insert: 5}},
		{"load", `lab.mix({update: 2, delete: 1})`, tables.Mix{Update: 2, Delete: 1}},
		{"churn", ``, tables.Mix{Insert: 5}},
		{"load", ``, tables.Mix{Update: 2, Delete: 1}},
	} {
		s.enter(step.scenario, time.Now(), 0)
		if thrown := s.run(step.code); thrown != "" {
			t.Fatal(thrown)
		}
		if got := taken(); got != step.want {
			t.Errorf("%s after %q: got %+v, want %+v", step.scenario, step.code, got, step.want)
		}
	}
	module.generator.weights.set("", tables.Mix{Insert: 9})
	for scenario, want := range map[string]tables.Mix{"churn": {Insert: 9},
		"load": {Update: 2, Delete: 1}} {
		if got := module.generator.weights.of(scenario); got != want {
			t.Errorf("%s: got %+v, want %+v", scenario, got, want)
		}
	}
}

func TestTransactionIsOneRequest(t *testing.T) {
	t.Parallel()
	g, s := openedScript(t, "load")
	thrown := s.run(`lab.transaction([{entity: "order", op: "insert", fields: {status: "paid"}}, ` +
		`{entity: "order_item", op: null}, {}])`)
	if thrown != "" {
		t.Fatal(thrown)
	}
	r, _ := popOne(g.queue)
	want := []tables.Part{{Table: tables.Order, Op: ledger.Insert,
		Fields: map[string]any{"status": "paid"}}, {Table: tables.OrderItem}, {Table: tables.Any}}
	if diff := cmp.Diff(want, r.parts(), cmp.AllowUnexported(tables.Part{})); diff != "" {
		t.Error(diff)
	}
}

// The samples of a write have the VU's tags of the moment, like the samples of k6's own metrics.
func TestWritesHaveTheTagsOfTheMoment(t *testing.T) {
	t.Parallel()
	g, s := openedScript(t, "load")
	for _, phase := range []string{"calm", "busy"} {
		s.VU.State().Tags.Modify(func(now *metrics.TagsAndMeta) { now.SetTag("phase", phase) })
		if thrown := s.run(`lab.write()`); thrown != "" {
			t.Fatal(thrown)
		}
		r, _ := popOne(g.queue)
		if got, _ := r.tags.Get("phase"); got != phase {
			t.Errorf("tagged %q, want %q", got, phase)
		}
	}
}

func TestWarmupHasNoSamples(t *testing.T) {
	t.Parallel()
	g, s := openedScript(t, "warmup")
	if thrown := s.run(`lab.write()`); thrown != "" {
		t.Fatal(thrown)
	}
	if r, _ := popOne(g.queue); r.tags != nil || r.scenario != "warmup" {
		t.Errorf("got %+v", r)
	}
}

// Samples of background goroutines go out with the next write() of any VU, and wait where the VU's
// time is over: a push into a closed channel would end k6.
func TestSamplesArePushedByVUs(t *testing.T) {
	t.Parallel()
	g, s := openedScript(t, "load")
	tags := s.registry.RootTagSet().With("scenario", "load").With("entity", "order")
	g.samples.visible(&tracker.Pending{Kind: &tracker.Kind{Tags: tags}, IntendedNs: 1e6,
		CommittedNs: 3e6, VisibleNs: 5e6})
	g.samples.unseen(&tracker.Pending{Kind: &tracker.Kind{Tags: tags}, Fate: ledger.Acked})
	g.samples.settled(&tracker.Pending{Kind: &tracker.Kind{Tags: tags}, Fate: ledger.Acked,
		IntendedNs: 1e6, SentNs: 2e6, CommittedNs: 5e6})
	if thrown := s.run(`lab.write()`); thrown != "" {
		t.Fatal(thrown)
	}
	got := map[string][]float64{}
	for _, sample := range (<-s.samples).GetSamples() {
		got[sample.Metric.Name] = append(got[sample.Metric.Name], sample.Value)
	}
	for name, want := range map[string]float64{
		MetricLatency: 4, MetricPipeline: 2, MetricDelay: 1, MetricCommit: 3, MetricQuery: 3,
		MetricWrites: 1,
	} {
		if len(got[name]) != 1 || got[name][0] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if len(got[MetricSuccess]) != 2 || got[MetricSuccess][0] != 1 || got[MetricSuccess][1] != 0 {
		t.Errorf("%s: got %v, want [1 0]", MetricSuccess, got[MetricSuccess])
	}
	g.samples.unseen(&tracker.Pending{Kind: &tracker.Kind{Tags: tags}})
	s.CancelContext()
	s.run(`lab.write()`)
	if len(s.samples) != 0 || len(g.samples.take()) != 1 {
		t.Error("a sample was pushed after the end, or lost")
	}
}

func TestStartedIsMarkedOnce(t *testing.T) {
	t.Parallel()
	options := DefaultOptions()
	options.Started = t.TempDir() + "/started"
	g := newGenerator(options, nil, nil)
	for _, second := range []int64{7, 8} {
		if err := g.markStarted(time.Unix(second, 0)); err != nil {
			t.Fatal(err)
		}
	}
	start, err := ledger.ReadStart(options.Started)
	if err != nil || start.UnixNs/1e9 != 7 || start.AgeNs < int64(time.Hour) {
		t.Errorf("got %+v, %v, want second 7, long ago", start, err)
	}
	options.Started = t.TempDir() + "/no/such/folder"
	if err := newGenerator(options, nil, nil).markStarted(time.Now()); err == nil ||
		!strings.Contains(err.Error(), `"started"`) {
		t.Errorf("got %v", err)
	}
}
