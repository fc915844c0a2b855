package cdc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grafana/sobek"
	"github.com/sirupsen/logrus"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/js/modules"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/types"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// Module is the part of k6/x/cdc that all VUs share: the one Lab of the process.
type Module struct {
	mu  sync.Mutex
	lab *Lab
}

// New returns a Module without a lab; the first cdc.open() makes it.
func New() *Module { return &Module{} }

// NewModuleInstance is called by k6 once for each VU.
func (m *Module) NewModuleInstance(vu modules.VU) modules.Instance {
	i := &instance{module: m, vu: vu}
	registered, err := register(vu.InitEnv().Registry)
	if err != nil {
		common.Throw(vu.Runtime(), err)
	}
	i.instruments = registered
	return i
}

// open returns the lab. Every VU runs the script's init code and must ask for the same one.
func (m *Module) open(options Options, instruments *instruments, logger logrus.FieldLogger) (*Lab, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lab == nil {
		m.lab = newLab(options, instruments, logger)
	}
	if m.lab.options != options {
		return nil, errors.New("called again with other options: there is one lab for all VUs, so the options " +
			"must not depend on the VU or on chance")
	}
	return m.lab, nil
}

// instance is the module as one VU imports it.
type instance struct {
	module      *Module
	vu          modules.VU
	instruments *instruments
}

func (i *instance) Exports() modules.Exports {
	named := map[string]any{"open": i.open}
	return modules.Exports{Default: named, Named: named}
}

func (i *instance) open(given sobek.Value) (*handle, error) {
	init := i.vu.InitEnv()
	if init == nil {
		return nil, errors.New("cdc.open() belongs at the top of the script, outside of all functions")
	}
	var members any
	if !common.IsNullish(given) {
		members = given.Export()
	}
	options, err := readOptions(members, func(name string) (string, bool) {
		value, ok := init.RuntimeOptions.Env[name]
		return value, ok
	})
	if err != nil {
		return nil, fmt.Errorf("cdc.open(): %w", err)
	}
	lab, err := i.module.open(options, i.instruments, init.Logger)
	if err != nil {
		return nil, fmt.Errorf("cdc.open(): %w", err)
	}
	return &handle{lab: lab, vu: i.vu}, nil
}

// handle is the lab as one VU's script holds it: what cdc.open() returns.
type handle struct {
	lab *Lab
	vu  modules.VU
	// scenario and tags are those of the scenario the VU was last in.
	scenario *lib.ScenarioState
	tags     *metrics.TagSet
}

// Start is lab.start().
func (h *handle) Start() error {
	if h.vu.State() == nil {
		return errors.New("lab.start() belongs in setup()")
	}
	if err := h.lab.Start(h.vu.Context()); err != nil {
		return fmt.Errorf("lab.start(): %w", err)
	}
	return nil
}

// Write is lab.write(entity?, operation?, fields?).
func (h *handle) Write(named ...sobek.Value) error {
	now := time.Now()
	state := h.vu.State()
	if state == nil {
		return errors.New("lab.write() cannot be called while the script is loaded")
	}
	r, err := readRequest(named)
	if err != nil {
		return fmt.Errorf("lab.write(): %w", err)
	}
	scenario := lib.GetScenarioState(h.vu.Context())
	if scenario == nil {
		return errors.New("lab.write() belongs in an iteration, not in setup() or teardown()")
	}
	due := h.lab.origins.intended(state, scenario, now)
	r.intendedNs, r.enqueuedNs = due.Sub(h.lab.epoch).Nanoseconds(), now.Sub(h.lab.epoch).Nanoseconds()
	r.scenario = scenario.Name
	if !unmeasured[scenario.Name] {
		r.tags = h.tagsOf(scenario, state)
		err = h.lab.markStarted(scenario.StartTime)
	}
	if err = errors.Join(err, h.lab.enqueue(r)); err != nil {
		return fmt.Errorf("lab.write(): %w", err)
	}
	h.push()
	return nil
}

// readRequest reads the arguments of lab.write().
func readRequest(named []sobek.Value) (request, error) {
	r := request{entity: anyEntity}
	given := func(i int) bool { return i < len(named) && !common.IsNullish(named[i]) }
	if given(0) {
		var ok bool
		if r.entity, ok = entityByName(named[0].String()); !ok {
			return r, fmt.Errorf("no entity %q: want one of %s", named[0], strings.Join(entityNames[:], ", "))
		}
	}
	if given(1) {
		r.op = ledger.Op(named[1].String())
		if !slices.Contains([]ledger.Op{ledger.Insert, ledger.Update, ledger.Delete}, r.op) {
			return r, fmt.Errorf("no operation %q: want insert, update or delete", r.op)
		}
	}
	if !given(2) {
		return r, nil
	}
	fields, ok := named[2].Export().(map[string]any)
	if !ok || r.entity == anyEntity || r.op == ledger.Delete {
		return r, errors.New("fields: want an object, with an entity, and not for a delete")
	}
	writable := writableColumns(r.entity)
	for column := range fields {
		if !slices.Contains(writable, column) {
			return r, fmt.Errorf("fields: cannot set %q of %s: want some of %s",
				column, r.entity, strings.Join(writable, ", "))
		}
	}
	r.fields = fields
	return r, nil
}

// Drain is lab.drain(limit?); it returns lab.stats().
func (h *handle) Drain(limit sobek.Value) (map[string]any, error) {
	length := time.Minute
	if !common.IsNullish(limit) {
		var err error
		if length, err = types.GetDurationValue(limit.Export()); err != nil || length < 0 {
			return nil, fmt.Errorf("lab.drain(): want a length such as \"60s\", got %q", limit)
		}
	}
	err := h.lab.Drain(h.vu.Context(), length)
	h.push()
	if err != nil {
		return nil, fmt.Errorf("lab.%w", err)
	}
	return h.Stats(), nil
}

// Selftest is lab.selftest({writes}); it returns lab.stats().
func (h *handle) Selftest(options sobek.Value) (map[string]any, error) {
	writes := int64(defaultSelftestWrites)
	if !common.IsNullish(options) {
		members, _ := options.Export().(map[string]any)
		given, ok := members["writes"].(int64)
		if len(members) != 1 || !ok || given < 1 {
			return nil, fmt.Errorf("lab.selftest(): want {writes: 1} or more, got %v", options.Export())
		}
		writes = given
	}
	if h.vu.State() == nil {
		return nil, errors.New("lab.selftest() cannot be called while the script is loaded")
	}
	if err := h.lab.Selftest(h.vu.Context(), int(writes)); err != nil {
		return nil, fmt.Errorf("lab.%w", err)
	}
	return h.Stats(), nil
}

// Stats is lab.stats().
func (h *handle) Stats() map[string]any {
	waiting, executing, longest := h.lab.queue.depth()
	live, substituted := h.lab.rows.counts()
	c := h.lab.tracker.snapshot()
	rows := map[string]any{}
	for e, n := range live {
		rows[entity(e).String()] = n
	}
	return map[string]any{
		"queued": waiting, "executing": executing, "queueMax": longest, "rows": rows, "substituted": substituted,
		"acked": c.acked, "failed": c.failed, "indeterminate": c.indeterminate, "visible": c.visible,
		"outstanding": c.outstanding, "superseded": c.superseded, "timedOut": c.timedOut,
		"trackerErrors": h.lab.tracker.errors.Load(),
	}
}

// tagsOf are the VU's tags in this scenario, for the samples of its writes.
func (h *handle) tagsOf(scenario *lib.ScenarioState, state *lib.State) *metrics.TagSet {
	if h.scenario != scenario {
		h.scenario, h.tags = scenario, state.Tags.GetCurrentValues().Tags
	}
	return h.tags
}

// push hands k6 the samples that were made since the last push, by whichever VU comes by.
func (h *handle) push() {
	taken := h.lab.samples.take()
	if len(taken) > 0 && !metrics.PushIfNotDone(h.vu.Context(), h.vu.State().Samples, taken) {
		h.lab.samples.giveBack(taken)
	}
}
