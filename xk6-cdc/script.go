package cdc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/errext"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
)

// maxTransaction bounds the writes of one transaction, maxLabel the bytes of a mark.
const (
	maxTransaction = 1000
	maxLabel       = 200
)

// write is lab.write(entity?, operation?, fields?).
func (h *handle) write(call sobek.FunctionCall) sobek.Value {
	now := time.Now()
	p, err := readPart(call.Arguments)
	if err != nil {
		err = fmt.Errorf("lab.write(): %w", err)
	} else {
		err = h.enqueue("lab.write()", request{Part: p}, now)
	}
	if err != nil {
		common.Throw(h.vu.Runtime(), err)
	}
	return sobek.Undefined()
}

// Transaction is lab.transaction([{entity, op, fields}]).
func (h *handle) Transaction(writes sobek.Value) error {
	now := time.Now()
	r, err := h.readTransaction(writes)
	if err == nil {
		return h.enqueue("lab.transaction()", r, now)
	}
	return fmt.Errorf("lab.transaction(): %w", err)
}

// enqueue completes a request with the iteration's facts and puts the request into the queue. Where
// the generator has a reason, enqueue aborts the test instead, like test.abort() of k6/execution.
func (h *handle) enqueue(caller string, r request, now time.Time) error {
	state := h.vu.State()
	if state == nil {
		return fmt.Errorf("%s cannot be called while the script is loaded", caller)
	}
	scenario := lib.GetScenarioState(h.vu.Context())
	if scenario == nil {
		return fmt.Errorf("%s belongs in an iteration, not in setup() or teardown()", caller)
	}
	if reason := h.generator.fatal.Load(); reason != nil {
		h.vu.Runtime().Interrupt(&errext.InterruptError{Reason: errext.AbortTest + ": " + *reason})
		return nil
	}
	due := h.generator.origins.intended(state, scenario, now)
	r.intendedNs = due.Sub(h.generator.epoch).Nanoseconds()
	r.enqueuedNs = now.Sub(h.generator.epoch).Nanoseconds()
	r.scenario, r.mix = scenario.Name, h.generator.weights.of(scenario.Name)
	var err error
	if ledger.Measured(scenario.Name) {
		r.tags = state.Tags.GetCurrentValues().Tags
		err = h.generator.markStarted(scenario.StartTime)
	}
	if err = errors.Join(err, h.generator.enqueue(r)); err != nil {
		return fmt.Errorf("%s: %w", caller, err)
	}
	h.countTurn(state, scenario)
	h.push()
	return nil
}

// countTurn counts the iteration, with its first write.
func (h *handle) countTurn(state *lib.State, scenario *lib.ScenarioState) {
	if turn := (turn{scenario.Name, state.Iteration}); h.last != turn {
		h.last = turn
		h.generator.turns.count(scenario.Name, scenario.StartTime.Sub(h.generator.epoch))
	}
}

// readPart reads the arguments of lab.write().
func readPart(named []sobek.Value) (tables.Part, error) {
	given := func(i int) bool { return i < len(named) && !common.IsNullish(named[i]) }
	var names [2]string
	for i, what := range [...]string{"entity", "operation"} {
		if !given(i) {
			continue
		}
		if names[i] = named[i].String(); names[i] == "" { // by mistake: a random choice is left out
			return tables.Part{}, fmt.Errorf("no %s \"\"", what)
		}
	}
	var fields any
	if given(2) {
		fields = named[2].Export()
	}
	return newPart(names[0], names[1], fields)
}

// operations are what a script may ask for.
var operations = []ledger.Op{ledger.Insert, ledger.Update, ledger.Delete}

// newPart checks a script's request: "" and nil mean a random choice.
func newPart(entityName, op string, fields any) (tables.Part, error) {
	p := tables.Part{Table: tables.Any, Op: ledger.Op(op)}
	if entityName != "" {
		var ok bool
		if p.Table, ok = tables.ByName(entityName); !ok {
			return p, fmt.Errorf("no entity %q: want one of %s", entityName,
				strings.Join(tables.Names[:], ", "))
		}
	}
	if op != "" && !slices.Contains(operations, p.Op) {
		return p, fmt.Errorf("no operation %q: want insert, update or delete", op)
	}
	if fields == nil {
		return p, nil
	}
	var ok bool
	p.Fields, ok = fields.(map[string]any)
	if !ok || p.Table == tables.Any || p.Op == ledger.Delete {
		return p, errors.New("fields: want an object, with an entity, and not for a delete")
	}
	writable := tables.WritableColumns(p.Table)
	for column := range p.Fields {
		if !slices.Contains(writable, column) {
			return p, fmt.Errorf("fields: cannot set %q of %s: want some of %s",
				column, p.Table, strings.Join(writable, ", "))
		}
	}
	return p, nil
}

// readTransaction reads the argument of lab.transaction().
func (h *handle) readTransaction(writes sobek.Value) (request, error) {
	var r request
	var list []any
	if !common.IsNullish(writes) {
		list, _ = writes.Export().([]any)
	}
	if len(list) == 0 || len(list) > maxTransaction {
		return r, fmt.Errorf("want an array of 1 to %d writes {entity, op, fields}", maxTransaction)
	}
	for i, one := range list {
		members, ok := one.(map[string]any)
		if !ok {
			return r, fmt.Errorf("write %d: want an object {entity, op, fields}, got %v", i+1, one)
		}
		p, err := readMembers(members)
		if err != nil {
			return r, fmt.Errorf("write %d: %w", i+1, err)
		}
		if i == 0 {
			r.Part = p
			continue
		}
		r.more = append(r.more, p)
	}
	return r, nil
}

func readMembers(members map[string]any) (tables.Part, error) {
	named := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		switch text, isText := value.(string); {
		case name == "fields", value == nil:
		case name != "entity" && name != "op":
			return tables.Part{}, fmt.Errorf("has no member %q: want entity, op, fields", name)
		case !isText || text == "":
			return tables.Part{}, fmt.Errorf("%s: want a name, got %v", name, value)
		default:
			named[name] = text
		}
	}
	return newPart(named["entity"], named["op"], members["fields"])
}

// Mix is lab.mix({insert, update, delete}).
func (h *handle) Mix(given sobek.Value) error {
	if h.vu.State() == nil {
		return errors.New(
			`lab.mix() cannot be called while the script is loaded: use the option "mix"`)
	}
	if common.IsNullish(given) {
		return errors.New("lab.mix(): want weights such as {insert: 70, update: 20, delete: 10}")
	}
	var read Options
	if err := read.overlay(map[string]any{"mix": given.Export()}); err != nil {
		return fmt.Errorf("lab.mix(): %w", err)
	}
	if !read.Mix.IsSound() {
		return fmt.Errorf("lab.mix(): %w, got %+v", errWeights, read.Mix)
	}
	h.generator.weights.set(h.scenarioName(), read.Mix)
	return nil
}

// Mark is lab.mark(label).
func (h *handle) Mark(label sobek.Value) error {
	text := ""
	if !common.IsNullish(label) {
		text = label.String()
	}
	if text == "" || len(text) > maxLabel {
		return fmt.Errorf("lab.mark(): want a label of 1 to %d bytes, got %q", maxLabel, text)
	}
	if h.vu.State() == nil {
		return errors.New("lab.mark() cannot be called while the script is loaded")
	}
	if err := h.generator.Mark(text, h.scenarioName()); err != nil {
		return fmt.Errorf("lab.mark(): %w", err)
	}
	return nil
}

// Has is lab.has(entity, id, version?).
func (h *handle) Has(entityName, id string, version int64) (bool, error) {
	if h.vu.State() == nil {
		return false, errors.New("lab.has() cannot be called while the script is loaded")
	}
	e, ok := tables.ByName(entityName)
	if !ok || tables.Shelves[e].Field != "" {
		return false, fmt.Errorf("lab.has(): no documents of %q: want customer, address or order",
			entityName)
	}
	h.generator.looks.add(&h.asked, id)
	found, err := h.generator.Has(h.vu.Context(), tables.Shelves[e].Collection, id, version)
	if err != nil {
		return false, fmt.Errorf("lab.has(): %w", err)
	}
	return found, nil
}

// scenarioName returns the name of the iteration's scenario, "" outside of iterations.
func (h *handle) scenarioName() string {
	if scenario := lib.GetScenarioState(h.vu.Context()); scenario != nil {
		return scenario.Name
	}
	return ""
}

// push hands k6 the samples made since the last push, by whichever VU comes by.
func (h *handle) push() {
	taken := h.generator.samples.take()
	if len(taken) > 0 && !metrics.PushIfNotDone(h.vu.Context(), h.vu.State().Samples, taken) {
		h.generator.samples.giveBack(taken)
	}
}
