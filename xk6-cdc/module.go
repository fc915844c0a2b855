package cdc

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/js/modules"
	"go.k6.io/k6/lib/types"
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
func (m *Module) open(options Options, instruments *instruments, init *common.InitEnvironment) (*Lab, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lab == nil {
		if options.Trends < 1 {
			if err := forgetIterations(init.BuiltinMetrics); err != nil {
				return nil, err
			}
		}
		m.lab = newLab(options, instruments, init.Logger)
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

func (i *instance) open(given sobek.Value) (*sobek.Object, error) {
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
	lab, err := i.module.open(options, i.instruments, init)
	if err != nil {
		return nil, fmt.Errorf("cdc.open(): %w", err)
	}
	return (&handle{lab: lab, vu: i.vu}).object()
}

// handle is the lab as one VU's script holds it: what cdc.open() returns.
type handle struct {
	lab *Lab
	vu  modules.VU
}

// object is the handle for the script. Its methods are members like any other, which are looked up
// faster than those of a Go value.
func (h *handle) object() (*sobek.Object, error) {
	o := h.vu.Runtime().NewObject()
	for name, method := range h.methods() {
		if err := o.Set(name, method); err != nil {
			return nil, fmt.Errorf("cdc.open(): %w", err)
		}
	}
	return o, nil
}

// methods are those that index.d.ts describes. write(), which is called most, takes its arguments as they
// are.
func (h *handle) methods() map[string]any {
	return map[string]any{
		"start": h.Start, "write": h.write, "transaction": h.Transaction, "mix": h.Mix, "mark": h.Mark,
		"drain": h.Drain, "stats": h.Stats, "selftest": h.Selftest, "has": h.Has,
	}
}

// Start is lab.start().
func (h *handle) Start() error {
	state := h.vu.State()
	if state == nil {
		return errors.New("lab.start() belongs in setup()")
	}
	if err := h.lab.Start(h.vu.Context(), &state.Options); err != nil {
		return fmt.Errorf("lab.start(): %w", err)
	}
	return nil
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

// Selftest is lab.selftest({writes, rate}); it returns lab.stats().
func (h *handle) Selftest(options sobek.Value) (map[string]any, error) {
	plan := SelftestPlan{Writes: defaultSelftestWrites}
	if !common.IsNullish(options) {
		members, ok := options.Export().(map[string]any)
		for name, value := range members {
			into := map[string]*int{"writes": &plan.Writes, "rate": &plan.Rate}[name]
			given, isWhole := value.(int64)
			if ok = ok && into != nil && isWhole && given >= 1 && given <= maxSelftest; ok {
				*into = int(given)
			}
		}
		if !ok {
			return nil, fmt.Errorf("lab.selftest(): want {writes: 1} or more, and perhaps {rate: 1} or more, got %v",
				options.Export())
		}
	}
	state := h.vu.State()
	if state == nil {
		return nil, errors.New("lab.selftest() cannot be called while the script is loaded")
	}
	if err := h.lab.Selftest(h.vu.Context(), plan, &state.Options); err != nil {
		return nil, fmt.Errorf("lab.%w", err)
	}
	return h.Stats(), nil
}

// Stats is lab.stats().
func (h *handle) Stats() map[string]any {
	waiting, executing, longest := h.lab.queue.depth()
	live, substituted := h.lab.rows.counts()
	c, t := h.lab.tracker.snapshot(), h.lab.use.summary()
	rows := map[string]any{}
	for e, n := range live {
		rows[entity(e).String()] = n
	}
	return map[string]any{
		"queued": waiting, "executing": executing, "queueMax": longest, "rows": rows, "substituted": substituted,
		"acked": c.acked, "failed": c.failed, "indeterminate": c.indeterminate, "visible": c.visible,
		"outstanding": c.outstanding, "superseded": c.superseded, "timedOut": c.timedOut,
		"sampleAsked": h.lab.options.Sample, "sampleKept": c.sampleKept(),
		"trackerErrors": h.lab.tracker.errors.Load(), "trackerOperations": t.Operations, "serverOperations": t.Server,
		"budgetAsked": t.BudgetAsked, "budgetKept": t.BudgetKept,
		"lookMedianMs": milliseconds(t.LookMedianNs), "lookMaxMs": milliseconds(t.LookMaxNs),
	}
}
