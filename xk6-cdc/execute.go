package cdc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.k6.io/k6/metrics"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// weights are how often each operation is chosen: the same for all scenarios but those that set
// their own.
type weights struct {
	mu  sync.RWMutex
	all Mix
	own map[string]Mix
}

func (w *weights) of(scenario string) Mix {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if own, ok := w.own[scenario]; ok {
		return own
	}
	return w.all
}

// set holds from then on, for one scenario or, where it is "", for all that have not set their own.
func (w *weights) set(scenario string, mix Mix) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if scenario == "" {
		w.all = mix
		return
	}
	if w.own == nil {
		w.own = map[string]Mix{}
	}
	w.own[scenario] = mix
}

// kinds makes each kind once.
type kinds struct {
	mu    sync.Mutex
	known map[kindKey]*kind
}

type kindKey struct {
	tags     *metrics.TagSet
	scenario string
	entity   entity
	op       ledger.Op
}

func (k *kinds) of(r *request, c choice) *kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := kindKey{r.tags, r.scenario, c.row.entity, c.op}
	found := k.known[key]
	if found != nil {
		return found
	}
	made := &kind{scenario: r.scenario, entity: c.row.entity.String(), op: c.op, shelf: &shelves[c.row.entity]}
	if r.tags != nil {
		made.tags = r.tags.With("entity", made.entity).With("operation", string(c.op))
	}
	if k.known == nil {
		k.known = map[kindKey]*kind{}
	}
	k.known[key] = made
	return made
}

// isSampled says, by its ID alone, whether a write is among the share of those that are tracked.
func isSampled(id int64, share float64) bool {
	// The finalizer of SplitMix64: neighbouring IDs get numbers that have nothing in common.
	z := uint64(id) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return float64(z>>11)/(1<<53) < share
}

// planned is a write whose row is chosen.
type planned struct {
	choice  choice
	pending *pending
	fields  map[string]any
}

// execute is the way of requests through PostgreSQL: one write or several, each in a transaction of its
// own, or the writes of one transaction.
func (l *Lab) execute(ctx context.Context, requests []request) {
	writes := make([]planned, 0, len(requests))
	for i := range requests {
		writes = l.plan(writes, &requests[i])
	}
	if ctx.Err() != nil {
		l.settle(writes, ledger.Failed, errors.New("never sent: the lab was ended before its turn"))
		return
	}
	statements := make([]query, len(writes))
	for i, w := range writes {
		statements[i].sql, statements[i].arguments = statement(w.choice, w.fields)
	}
	sentNs := l.now()
	for _, w := range writes {
		w.pending.sentNs = sentNs
		l.tracker.expect(w.pending)
	}
	known := func(of []planned, fate ledger.Fate, err error) {
		l.watchSource(err)
		l.settle(of, fate, err)
	}
	switch {
	case len(writes) == 1:
		fate, err := l.source.execute(ctx, statements[0].sql, statements[0].arguments)
		known(writes, fate, err)
	case len(requests) == 1:
		fate, err := l.source.transact(ctx, statements)
		known(writes, fate, err)
	default:
		l.source.pipeline(ctx, statements, func(i int, fate ledger.Fate, err error) { known(writes[i:i+1], fate, err) })
	}
}

// plan chooses the rows of a request.
func (l *Lab) plan(writes []planned, r *request) []planned {
	parts := r.parts()
	for i, c := range l.rows.take(r.mix, parts...) {
		w := planned{choice: c, pending: l.pend(r, c)}
		if c.row.entity == parts[i].entity { // else the fields are another table's
			w.fields = parts[i].fields
		}
		writes = append(writes, w)
	}
	return writes
}

// pend is the write of a choice.
func (l *Lab) pend(r *request, c choice) *pending {
	p := &pending{kind: l.kinds.of(r, c), row: c.row, id: c.id, intendedNs: r.intendedNs, enqueuedNs: r.enqueuedNs}
	p.untracked = p.sampled() && !isSampled(c.id, l.options.Sample)
	return p
}

// settle says what became of writes that share it.
func (l *Lab) settle(writes []planned, fate ledger.Fate, err error) {
	atNs := l.now()
	var missing *noRowError
	isMissing := errors.As(err, &missing)
	if err != nil {
		l.tell(writes[0].pending, fate, err)
	}
	for i, w := range writes {
		if isMissing && missing.statement == i {
			l.rows.settle(w.choice, ledger.Indeterminate) // somebody else deleted it: never write it again
		} else {
			l.rows.settle(w.choice, fate)
		}
		l.tracker.settle(w.pending, fate, atNs, err)
	}
}

// tell logs the first write of which PostgreSQL said this, or said nothing: a script has long gone on.
func (l *Lab) tell(first *pending, fate ledger.Fate, err error) {
	said, what := &pgconn.PgError{}, ""
	if errors.As(err, &said) {
		what = said.Code
	}
	if _, told := l.told.LoadOrStore(what, true); !told {
		l.logger.Warnf("cdc: a write (%s of %s) is %s: %v; others like it are only counted (cdc_writes), and in the ledger",
			first.op, first.entity, fate, err)
	}
}

// watchSource makes it a reason to abort the test that PostgreSQL gave no connection for too long.
func (l *Lab) watchSource(err error) {
	now := l.now()
	if !errors.Is(err, errNoConnection) {
		l.answeredNs.Store(now)
		return
	}
	away := time.Duration(now - l.answeredNs.Load())
	if away > time.Duration(l.options.AbortAfter) {
		l.giveUp(fmt.Sprintf("PostgreSQL has been away for %v (option %q is %v): %v", away.Round(time.Second),
			"abortAfter", l.options.AbortAfter, err))
	}
}

// giveUp makes the next call of a script abort the test; the first reason stays.
func (l *Lab) giveUp(reason string) { l.fatal.CompareAndSwap(nil, &reason) }

// record is called once for each write, when nothing more will be known of it.
func (l *Lab) record(p *pending) {
	if l.ledger != nil {
		line := p.write()
		if err := l.ledger.Append(&line); err != nil {
			l.giveUp(fmt.Sprintf("the ledger cannot be written: %v", err))
		}
	}
	if p.scenario == seedScenario && p.fate != ledger.Acked {
		l.seedMu.Lock()
		defer l.seedMu.Unlock()
		if l.seedFailure == "" {
			l.seedFailure = fmt.Sprintf("insert into %s: %s", p.entity, p.reason)
		}
	}
}
