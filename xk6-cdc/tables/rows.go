package tables

import (
	"math/rand/v2"
	"sync"

	"github.com/cdclab/cdclab/ledger"
)

// mostLive bounds the live rows of an entity in the generator's memory: enough that a row is seldom
// written twice in a row, and no more memory after hours than after minutes. Beyond the bound, a
// random row is never written again. The row stays in PostgreSQL, and the check compares the row.
const mostLive = 10_000

// deleteCandidates bounds the random rows looked at in search of a row without children.
const deleteCandidates = 32

// mostEnded bounds the keys of deleted rows that wait for another row.
const mostEnded = 1000

// Row is one row of PostgreSQL as far as the generator knows.
type Row struct {
	Key   string
	Table Table
	// text is the length of the free text in bytes, 0 for a few words; isLarge is true if the text
	// lies out of line.
	isLarge bool
	text    int32
	Parent  *Row
	// status is the status given by the last acknowledged write, where the entity has one.
	status string
	// children counts the rows that refer to this row. Rows with an outstanding insert or an
	// unknown fate count too, because each of these rows could make a delete fail.
	children int
	// at is the index among the live rows, or one of the two values below.
	at int
}

// Values of row.at for a row that is not among the live ones.
const (
	outstanding = -1 // a write is under way
	gone        = -2 // for good: deleted, forgotten, or nobody knows
)

// Rows is the model of the live rows. Rows lends a row to at most one write at a time, so that the
// order of a row's write IDs is the order of the commits. A parent with children is never lent for
// deletion, so that every statement can succeed.
type Rows struct {
	mu          sync.Mutex
	random      *rand.Rand
	keys        *rand.Rand
	seed, salt  int64
	marker      ledger.Marker
	stripe      Stripe
	shape       Shape
	entities    Entities
	live        [Count][]*Row
	ranks       [Count]ranking
	ended       [Count][]string // keys of rows that are deleted in MongoDB, too
	lastID      int64
	substituted int64
}

// NewRows returns an empty model. seed decides every choice; salt makes the keys of two runs with
// one seed differ.
func NewRows(entities Entities, s Shape, seed, salt int64) *Rows {
	r := &Rows{entities: entities, shape: s, seed: seed, salt: salt}
	r.BeIn(Stripe{})
	return r
}

// Mark gives a run's marker to all keys to come.
func (r *Rows) Mark(m ledger.Marker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marker = m
}

// BeIn begins the random choices, keys and IDs of a segment of the test, before anything is taken.
func (r *Rows) BeIn(s Stripe) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stripe, r.lastID = s, s.firstID()-1
	r.random = rand.New(rand.NewPCG(uint64(r.seed), 1+uint64(s.number)))
	r.keys = rand.New(rand.NewPCG(uint64(r.seed), uint64(r.salt)))
}

// Part is one requested write: entity and operation, or Any and "" for a random choice, and the
// columns fixed by the script.
type Part struct {
	Table  Table
	Op     ledger.Op
	Fields map[string]any
}

// Choice is a row taken out for one write.
type Choice struct {
	ID  int64
	Op  ledger.Op
	Row *Row
	// values is the seed of the row's new values.
	values int64
	// status is the row's new status, where the entity has one.
	status string
	// AskedTable and AskedOp are the request's, filled in by chance where the request leaves them
	// open.
	AskedTable Table
	AskedOp    ledger.Op
}

// Substituted is true if the write differs from the request, because no row was free.
func (c *Choice) Substituted() bool { return c.Op != c.AskedOp || c.Row.Table != c.AskedTable }

// Take fills in the open choices of one transaction's writes, in order, and takes each write's row
// out of the live rows, or makes a row. A row made below another row of the same transaction refers
// to that row. The caller must give each choice back with Settle.
func (r *Rows) Take(mix Mix, parts ...Part) []Choice {
	r.mu.Lock()
	defer r.mu.Unlock()
	var made [Count]*Row
	choices := make([]Choice, len(parts))
	for i, p := range parts {
		c := r.choose(mix, p.Table, p.Op, &made)
		if c.Op == ledger.Insert {
			made[c.Row.Table] = c.Row
		}
		choices[i] = c
	}
	return choices
}

func (r *Rows) choose(mix Mix, e Table, op ledger.Op, made *[Count]*Row) Choice {
	if e == Any {
		e = r.entities.choose(r.random.IntN(r.entities.sum()))
	}
	if op == "" {
		op = mix.choose(r.random.IntN(mix.sum()))
	}
	r.lastID++
	c := Choice{ID: r.lastID, Op: op, values: r.random.Int64(), AskedTable: e, AskedOp: op}
	switch op {
	case ledger.Update:
		c.Row = r.favourite(e)
	case ledger.Delete:
		c.Row = r.childless(e)
	}
	if c.Row != nil {
		r.takeOut(c.Row)
		c.status = c.Row.nextStatus(op, r.random)
		return c
	}
	c.Op = ledger.Insert
	c.Row = r.fresh(e, made)
	c.status = c.Row.nextStatus(c.Op, r.random)
	if c.Substituted() {
		r.substituted++
	}
	return c
}

// Settle gives a choice back with the fate of the write. After a failed write the row is as before.
// After an indeterminate write nothing is known of the row, so the row is never written again.
func (r *Rows) Settle(c Choice, fate ledger.Fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	parent := c.Row.Parent
	switch {
	case fate == ledger.Indeterminate:
		c.Row.at = gone
	case fate == ledger.Acked && c.Op == ledger.Delete,
		fate == ledger.Failed && c.Op == ledger.Insert:
		c.Row.at = gone
		if parent != nil {
			parent.children--
		}
	default:
		if fate == ledger.Acked {
			c.Row.status = c.status
		}
		r.putBack(c.Row)
		if c.Op == ledger.Insert && r.shape.Zipf > 0 {
			r.ranks[c.Row.Table].add(c.Row, len(r.live[c.Row.Table]))
		}
	}
}

// End allows another row under the key of a row whose delete MongoDB shows. Any earlier, a
// tombstone of the first row would be taken for the end of the second.
func (r *Rows) End(deleted *Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shape.Reuse == 0 || len(r.ended[deleted.Table]) == mostEnded {
		return
	}
	r.ended[deleted.Table] = append(r.ended[deleted.Table], deleted.Key)
}

// putBack adds a row to the live rows, and forgets a random row where there are too many.
func (r *Rows) putBack(back *Row) {
	live := r.live[back.Table]
	back.at = len(live)
	r.live[back.Table] = append(live, back)
	if len(live) >= mostLive {
		forgotten := r.any(back.Table)
		r.takeOut(forgotten)
		forgotten.at = gone
	}
}

// Outside returns an ID, and a key, for a write of a row outside the model.
func (r *Rows) Outside() (id int64, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastID++
	return r.lastID, r.newKey()
}

// Counts returns the number of live and free rows of each entity, and of substituted choices.
func (r *Rows) Counts() (live [Count]int, substituted int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.live {
		live[i] = len(r.live[i])
	}
	return live, r.substituted
}

// any returns a random live row of e, nil when there is none.
func (r *Rows) any(e Table) *Row {
	if len(r.live[e]) == 0 {
		return nil
	}
	return r.live[e][r.random.IntN(len(r.live[e]))]
}

// childless returns a random live row of e without children, nil after a few vain tries.
func (r *Rows) childless(e Table) *Row {
	for range deleteCandidates {
		if found := r.any(e); found == nil || found.children == 0 {
			return found
		}
	}
	return nil
}

func (r *Rows) takeOut(taken *Row) {
	live := r.live[taken.Table]
	last := live[len(live)-1]
	live[taken.at], last.at = last, taken.at
	live[len(live)-1] = nil
	r.live[taken.Table] = live[:len(live)-1]
	taken.at = outstanding
}

// favourite returns the live row of e to update, nil when there is none.
func (r *Rows) favourite(e Table) *Row {
	if r.shape.Zipf > 0 {
		return r.ranks[e].choose(r.random, r.shape.Zipf, len(r.live[e]))
	}
	return r.any(e)
}

// fresh returns a new row of e below the row made by the same transaction, else below a random live
// row. Where there is no parent, fresh makes the parent first.
func (r *Rows) fresh(e Table, made *[Count]*Row) *Row {
	var above *Row
	if parent, ok := e.parent(); ok {
		if above = made[parent]; above == nil {
			above = r.any(parent)
		}
		if above == nil {
			return r.fresh(parent, made)
		}
		above.children++
	}
	fresh := &Row{Key: r.keyFor(e), Table: e, Parent: above, at: outstanding}
	if freeText[e] != "" {
		fresh.text, fresh.isLarge = r.shape.choose(r.random)
	}
	return fresh
}

// keyFor returns the key of the last ended row of e, as often as the shape says, else a new key.
func (r *Rows) keyFor(e Table) string {
	last := len(r.ended[e]) - 1
	if last < 0 || r.random.Float64() >= r.shape.Reuse {
		return r.newKey()
	}
	key := r.ended[e][last]
	r.ended[e] = r.ended[e][:last]
	return key
}

// newKey returns a random UUID of version 4 as text, with the run's marker. Where the test has
// several stripes, the last 16 bits are the stripe's number.
func (r *Rows) newKey() string {
	high, low := r.keys.Uint64(), r.keys.Uint64()
	if r.stripe.isPart {
		low = low&^0xffff | uint64(r.stripe.number)
	}
	return r.marker.Key(high, low)
}
