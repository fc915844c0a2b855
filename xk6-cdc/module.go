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

	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// Module is the part of k6/x/cdc shared by all VUs: the one Generator of the process.
type Module struct {
	mu        sync.Mutex
	generator *Generator
}

// New returns a Module without a generator; the first cdc.open() makes the generator.
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

// open returns the generator. Every VU runs the script's init code and must ask for the same
// generator.
func (m *Module) open(options Options, instruments *instruments,
	init *common.InitEnvironment) (*Generator, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generator == nil {
		if options.Trends < 1 {
			if err := forgetIterations(init.BuiltinMetrics); err != nil {
				return nil, err
			}
		}
		m.generator = newGenerator(options, instruments, init.Logger)
	}
	if m.generator.options != options {
		return nil, errors.New("called again with other options: there is one lab for all VUs, " +
			"so the options must not depend on the VU or on chance")
	}
	return m.generator, nil
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
		return nil, errors.New(
			"cdc.open() belongs at the top of the script, outside of all functions")
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
	g, err := i.module.open(options, i.instruments, init)
	if err != nil {
		return nil, fmt.Errorf("cdc.open(): %w", err)
	}
	return (&handle{generator: g, vu: i.vu, last: turn{number: -1}}).object()
}

// handle is the generator in one VU's script: the result of cdc.open().
type handle struct {
	generator *Generator
	vu        modules.VU
	// last is the last iteration that asked for a write.
	last turn
	// asked is the last look of has().
	asked asked
}

// object returns the handle for the script. The methods are plain members, because members are
// looked up faster than methods of a Go value.
func (h *handle) object() (*sobek.Object, error) {
	o := h.vu.Runtime().NewObject()
	for name, method := range h.methods() {
		if err := o.Set(name, method); err != nil {
			return nil, fmt.Errorf("cdc.open(): %w", err)
		}
	}
	return o, nil
}

// methods are the methods described by index.d.ts. write() takes raw arguments, because write() is
// called most.
func (h *handle) methods() map[string]any {
	return map[string]any{
		"start": h.Start, "write": h.write, "transaction": h.Transaction, "mix": h.Mix,
		"mark": h.Mark, "drain": h.Drain, "stats": h.Stats, "selftest": h.Selftest, "has": h.Has,
		"startOwn": h.StartOwn, "newRow": h.NewRow, "wrote": h.Wrote,
	}
}

// Start is lab.start().
func (h *handle) Start() error {
	state := h.vu.State()
	if state == nil {
		return errors.New("lab.start() belongs in setup()")
	}
	if err := h.generator.Start(h.vu.Context(), &state.Options); err != nil {
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
	err := h.generator.Drain(h.vu.Context(), length)
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
			return nil, fmt.Errorf("lab.selftest(): want {writes: 1} or more, "+
				"and perhaps {rate: 1} or more, got %v", options.Export())
		}
	}
	state := h.vu.State()
	if state == nil {
		return nil, errors.New("lab.selftest() cannot be called while the script is loaded")
	}
	if err := h.generator.Selftest(h.vu.Context(), plan, &state.Options); err != nil {
		return nil, fmt.Errorf("lab.%w", err)
	}
	return h.Stats(), nil
}

// Stats is lab.stats().
func (h *handle) Stats() map[string]any {
	waiting, executing, longest := h.generator.queue.depth()
	live, substituted := h.generator.rows.Counts()
	c, t := h.generator.tracker.Counts(), h.generator.tracker.Cost()
	wentBack, _ := h.generator.tracker.Backward()
	rows := map[string]any{}
	for e, n := range live {
		rows[tables.Table(e).String()] = n
	}
	return map[string]any{
		"queued": waiting, "executing": executing, "queueMax": longest, "rows": rows,
		"substituted": substituted, "acked": c.Acked, "failed": c.Failed,
		"indeterminate": c.Indeterminate, "visible": c.Visible, "outstanding": c.Outstanding,
		"wentBack": wentBack, "superseded": c.Superseded, "timedOut": c.TimedOut,
		"sampleAsked": h.generator.options.Sample, "sampleKept": c.SampleKept(),
		"trackerErrors": h.generator.tracker.Errors(), "trackerOperations": t.Operations,
		"serverOperations": t.Server, "budgetAsked": t.Asked, "budgetKept": t.Kept,
		"lookMedianMs": milliseconds(t.RoundMedianNs), "lookMaxMs": milliseconds(t.RoundMaxNs),
	}
}
