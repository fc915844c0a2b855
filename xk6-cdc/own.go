package cdc

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/types"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// looks are the looks of a script that asks for its own rows.
type looks struct {
	// every is the script's own interval, slowestNs the longest time between two looks for a row.
	every     time.Duration
	slowestNs atomic.Int64
}

// asked is the last look of a VU: for which key, and when.
type asked struct {
	key string
	at  time.Time
}

// add counts a look for the key after the VU's last look.
func (l *looks) add(last *asked, key string) {
	now := time.Now()
	if gap := now.Sub(last.at).Nanoseconds(); last.key == key {
		for slowest := l.slowestNs.Load(); gap > slowest; slowest = l.slowestNs.Load() {
			l.slowestNs.CompareAndSwap(slowest, gap)
		}
	}
	*last = asked{key, now}
}

// StartOwn creates the ledger for a script that writes, and looks for its rows, by itself. Nothing
// is connected, seeded or watched.
func (g *Generator) StartOwn(every time.Duration, test *lib.Options) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.phase.is(opened) {
		return errors.New("the lab was started before: call startOwn() once, in setup()")
	}
	var err error
	if g.stripe, err = tables.ReadStripe(test); err != nil {
		return err
	}
	g.rows.BeIn(g.stripe)
	g.looks.every = every
	if err := g.createLedger(&tracker.Watch{Kind: "poll", Resolution: every}); err != nil {
		return err
	}
	g.phase.value.Store(started)
	return nil
}

// StartOwn is lab.startOwn(every).
func (h *handle) StartOwn(every sobek.Value) error {
	state := h.vu.State()
	if state == nil {
		return errors.New("lab.startOwn() belongs in setup()")
	}
	var length time.Duration
	var err error
	if !common.IsNullish(every) {
		length, err = types.GetDurationValue(every.Export())
	}
	if err != nil || length <= 0 {
		return fmt.Errorf("lab.startOwn(): want the time between two looks, such as 100, got %v",
			every)
	}
	if err := h.generator.StartOwn(length, &state.Options); err != nil {
		return fmt.Errorf("lab.startOwn(): %w", err)
	}
	return nil
}

// NewRow is lab.newRow().
func (h *handle) NewRow() (map[string]any, error) {
	if h.vu.State() == nil {
		return nil, errors.New("lab.newRow() cannot be called while the script is loaded")
	}
	version, id := h.generator.rows.Outside()
	return map[string]any{"id": id, "version": version}, nil
}

// ownWrite is the argument of lab.wrote(); the stamps are milliseconds since 1970, 0 for never.
type ownWrite struct {
	entity, id, failure      string
	op                       ledger.Op
	version                  int64
	started, committed, seen float64
}

// Wrote is lab.wrote({entity, op, id, version, started, committed, seen, error}).
func (h *handle) Wrote(given sobek.Value) error {
	now := time.Now()
	state, scenario := h.vu.State(), lib.GetScenarioState(h.vu.Context())
	if state == nil || scenario == nil {
		return errors.New("lab.wrote() belongs in an iteration")
	}
	w, err := readOwnWrite(given)
	if err != nil {
		return fmt.Errorf("lab.wrote(): %w", err)
	}
	g := h.generator
	if !g.phase.is(started) {
		return errors.New("lab.wrote(): call startOwn() in setup(), and drain() in teardown()")
	}
	if ledger.Measured(scenario.Name) {
		if err := g.markStarted(scenario.StartTime); err != nil {
			return fmt.Errorf("lab.wrote(): %w", err)
		}
	}
	h.countTurn(state, scenario)
	if g.ledger == nil {
		return nil
	}
	// The stamps are of the wall clock, assumed not to have been set since: the ledger's stamp lies
	// as long before now.
	stamp := func(ms float64) int64 {
		if ms == 0 {
			return 0
		}
		ago := float64(now.UnixNano())/1e6 - ms
		return max(1, now.Sub(g.epoch).Nanoseconds()-int64(ago*1e6))
	}
	began := stamp(w.started)
	line := ledger.Write{ID: w.version, Scenario: scenario.Name, Entity: w.entity, Op: w.op,
		Key: w.id, IntendedNs: began, SentNs: began, EnqueuedNs: began,
		CommittedNs: stamp(w.committed), VisibleNs: stamp(w.seen),
		Fate: ledger.Acked, TimedOut: w.committed > 0 && w.seen == 0, Error: w.failure}
	if w.committed == 0 {
		line.Fate = ledger.Indeterminate // only PostgreSQL knows
	}
	if err := g.ledger.Append(&line); err != nil {
		return fmt.Errorf("lab.wrote(): the ledger cannot be written: %w", err)
	}
	return nil
}

func readOwnWrite(given sobek.Value) (w ownWrite, err error) {
	var members map[string]any
	if !common.IsNullish(given) {
		members, _ = given.Export().(map[string]any)
	}
	number := func(name string) float64 {
		switch value := members[name].(type) {
		case int64:
			return float64(value)
		case float64:
			return value
		case nil:
		default:
			err = fmt.Errorf("%s: want a number, got %v", name, value)
		}
		return 0
	}
	text := func(name string) string {
		value, _ := members[name].(string)
		return value
	}
	w = ownWrite{entity: text("entity"), op: ledger.Op(text("op")), id: text("id"),
		version: int64(number("version")), started: number("started"),
		committed: number("committed"), seen: number("seen"), failure: text("error")}
	switch {
	case err != nil:
	case !slices.Contains(tables.Names[:], w.entity):
		err = fmt.Errorf("no entity %q", w.entity)
	case !slices.Contains(operations, w.op):
		err = fmt.Errorf("no operation %q", w.op)
	case w.id == "" || w.version <= 0:
		err = errors.New("want the id and the version of newRow()")
	case w.started <= 0 || w.committed > 0 && w.committed < w.started ||
		w.seen > 0 && w.seen < w.committed:
		err = fmt.Errorf("want 0 < started <= committed <= seen, got %v, %v, %v", w.started,
			w.committed, w.seen)
	}
	return w, err
}
