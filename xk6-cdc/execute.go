package cdc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/xk6-cdc/source"
	"github.com/cdclab/cdclab/xk6-cdc/tables"
	"github.com/cdclab/cdclab/xk6-cdc/tracker"
)

// weights are the weights of the operations: the same for all scenarios but those with weights of
// their own.
type weights struct {
	mu  sync.RWMutex
	all tables.Mix
	own map[string]tables.Mix
}

func (w *weights) of(scenario string) tables.Mix {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if own, ok := w.own[scenario]; ok {
		return own
	}
	return w.all
}

// set changes later choices of one scenario or, where scenario is "", of all scenarios without
// weights of their own.
func (w *weights) set(scenario string, mix tables.Mix) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if scenario == "" {
		w.all = mix
		return
	}
	if w.own == nil {
		w.own = map[string]tables.Mix{}
	}
	w.own[scenario] = mix
}

// kinds makes each kind once.
type kinds struct {
	mu    sync.Mutex
	known map[kindKey]*tracker.Kind
}

type kindKey struct {
	tags     *metrics.TagSet
	scenario string
	// asked and made are the request's and the write's.
	asked, made kindOfWrite
}

type kindOfWrite struct {
	entity tables.Table
	op     ledger.Op
}

func (k *kinds) of(r *request, c tables.Choice) *tracker.Kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := kindKey{r.tags, r.scenario, kindOfWrite{c.AskedTable, c.AskedOp},
		kindOfWrite{c.Row.Table, c.Op}}
	found := k.known[key]
	if found != nil {
		return found
	}
	made := &tracker.Kind{Scenario: r.scenario, Entity: c.Row.Table.String(), Op: c.Op,
		Shelf: &tables.Shelves[c.Row.Table]}
	if c.Substituted() {
		made.AskedEntity, made.AskedOp = c.AskedTable.String(), c.AskedOp
	}
	if r.tags != nil {
		made.Tags = r.tags.With("entity", made.Entity).With("operation", string(c.Op))
	}
	if k.known == nil {
		k.known = map[kindKey]*tracker.Kind{}
	}
	k.known[key] = made
	return made
}

// isSampled is true if the ID, alone, puts the write into the tracked share.
func isSampled(id int64, share float64) bool {
	// The finalizer of SplitMix64: neighbouring IDs get unrelated numbers.
	z := uint64(id) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return float64(z>>11)/(1<<53) < share
}

// planned is a write with a chosen row.
type planned struct {
	choice  tables.Choice
	pending *tracker.Pending
	fields  map[string]any
}

// execute sends requests to PostgreSQL: writes in transactions of their own, or all writes of a
// single transaction.
func (g *Generator) execute(ctx context.Context, requests []request) {
	writes := make([]planned, 0, len(requests))
	for i := range requests {
		writes = g.plan(writes, &requests[i])
	}
	if ctx.Err() != nil {
		g.settle(writes, ledger.Failed, errors.New("never sent: the lab was ended before its turn"))
		return
	}
	statements := make([]source.Query, len(writes))
	for i, w := range writes {
		statements[i].SQL, statements[i].Arguments = tables.Statement(w.choice, w.fields)
	}
	sentNs := g.now()
	for _, w := range writes {
		w.pending.SentNs = sentNs
		g.tracker.Expect(w.pending)
	}
	known := func(of []planned, fate ledger.Fate, err error) {
		g.watchSource(err)
		g.settle(of, fate, err)
	}
	switch {
	case len(writes) == 1 && g.isTraced(writes[0].pending.ID):
		fate, err := g.executeTraced(ctx, writes[0], statements[0])
		known(writes, fate, err)
	case len(writes) == 1:
		fate, err := g.source.Execute(ctx, statements[0].SQL, statements[0].Arguments)
		known(writes, fate, err)
	case len(requests) == 1:
		fate, err := g.source.Transact(ctx, statements)
		known(writes, fate, err)
	default:
		g.source.Batch(ctx, statements, func(i int, fate ledger.Fate, err error) {
			known(writes[i:i+1], fate, err)
		})
	}
}

// plan chooses the rows of a request.
func (g *Generator) plan(writes []planned, r *request) []planned {
	parts := r.parts()
	for i, c := range g.rows.Take(r.mix, parts...) {
		w := planned{choice: c, pending: g.pend(r, c)}
		if c.Row.Table == parts[i].Table { // else the fields are another table's
			w.fields = parts[i].Fields
		}
		writes = append(writes, w)
	}
	return writes
}

// pend returns the write of a choice.
func (g *Generator) pend(r *request, c tables.Choice) *tracker.Pending {
	p := &tracker.Pending{Kind: g.kinds.of(r, c), Row: c.Row, ID: c.ID, IntendedNs: r.intendedNs,
		EnqueuedNs: r.enqueuedNs}
	p.Untracked = p.Sampled() && !isSampled(c.ID, g.options.Sample)
	return p
}

// settle takes the shared fate of writes.
func (g *Generator) settle(writes []planned, fate ledger.Fate, err error) {
	atNs := g.now()
	var missing *source.NoRowError
	isMissing := errors.As(err, &missing)
	if err != nil {
		g.tell(writes[0].pending, fate, err)
	}
	for i, w := range writes {
		if isMissing && missing.Statement == i {
			// somebody else deleted the row: never write it again
			g.rows.Settle(w.choice, ledger.Indeterminate)
		} else {
			g.rows.Settle(w.choice, fate)
		}
		g.tracker.Settle(w.pending, fate, atNs, err)
	}
}

// tell logs the first write with each answer of PostgreSQL, or without an answer, because the
// script has long gone on.
func (g *Generator) tell(first *tracker.Pending, fate ledger.Fate, err error) {
	said, what := &pgconn.PgError{}, ""
	if errors.As(err, &said) {
		what = said.Code
	}
	if _, told := g.told.LoadOrStore(what, true); !told {
		g.logger.Warnf("cdc: a write (%s of %s) is %s: %v; "+
			"others like it are only counted (cdc_writes), and in the ledger",
			first.Op, first.Entity, fate, err)
	}
}

// watchSource aborts the test if PostgreSQL gives no connection for too long.
func (g *Generator) watchSource(err error) {
	now := g.now()
	if !errors.Is(err, source.ErrNoConnection) {
		g.answeredNs.Store(now)
		return
	}
	away := time.Duration(now - g.answeredNs.Load())
	if away > time.Duration(g.options.AbortAfter) {
		g.giveUp(fmt.Sprintf("PostgreSQL has been away for %v (option %q is %v): %v",
			away.Round(time.Second), "abortAfter", g.options.AbortAfter, err))
	}
}

// giveUp makes the next call of a script abort the test; the first reason stays.
func (g *Generator) giveUp(reason string) { g.fatal.CompareAndSwap(nil, &reason) }

// record is called once for each write, when nothing more will become known.
func (g *Generator) record(p *tracker.Pending) {
	if g.ledger != nil {
		line := p.Line()
		if err := g.ledger.Append(&line); err != nil {
			g.giveUp(fmt.Sprintf("the ledger cannot be written: %v", err))
		}
	}
	if p.Scenario == ledger.Seed && p.Fate != ledger.Acked {
		g.seedMu.Lock()
		defer g.seedMu.Unlock()
		if g.seedFailure == "" {
			g.seedFailure = fmt.Sprintf("insert into %s: %s", p.Entity, p.Reason)
		}
	}
}

// isTraced is true if the ID, alone, puts the write into the traced share. The ID is shifted,
// because the ID also decides whether the write is tracked: the one choice must not decide the
// other.
func (g *Generator) isTraced(id int64) bool { return isSampled(id<<1, g.options.Trace) }

// traceparent is W3C's trace context of a write: always the same of one version of one row, and of
// no other.
func traceparent(key string, id int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", key, id))
	return fmt.Sprintf("00-%x-%x-01", sum[:16], sum[16:24])
}

// executeTraced writes with a trace context, and logs the trace.
func (g *Generator) executeTraced(ctx context.Context, w planned,
	query source.Query) (ledger.Fate, error) {
	parent := traceparent(w.choice.Row.Key, w.pending.ID)
	g.logger.Infof("cdc: trace_id=%s of write %d, %s of %s %s", parent[3:35], w.pending.ID,
		w.pending.Op, w.pending.Entity, w.choice.Row.Key)
	return g.source.Traced(ctx, parent, query)
}
