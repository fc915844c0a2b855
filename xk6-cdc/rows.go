package cdc

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// mostLive is how many live rows of an entity the generator remembers: enough that a row is seldom written
// twice in a row, and the same memory after hours as after minutes. Beyond it a random one is never
// written again; it stays in PostgreSQL, and the check compares it.
const mostLive = 10_000

// deleteCandidates is how many random rows are looked at for one that has no children.
const deleteCandidates = 32

// row is one row of PostgreSQL as far as the generator knows.
type row struct {
	key    string
	entity entity
	// text is how many bytes of free text it has, 0 for a few words; isLarge: they are out of line.
	isLarge bool
	text    int32
	parent  *row
	// status is what the last acknowledged write gave it, where its entity has one.
	status string
	// children counts the rows that refer to this one, with those whose insert is outstanding and
	// those of which it is not known whether they exist: while there is one, a delete could fail.
	children int
	// at is its place among the live rows, or one of the two below.
	at int
}

// Values of row.at for a row that is not among the live ones.
const (
	outstanding = -1 // a write on it is
	gone        = -2 // for good: deleted, forgotten, or nobody knows
)

// rows is the model of the live rows. It hands a row out to at most one write at a time, so that
// for every row the order of its writes' IDs is the order of their commits, and never hands out a
// parent for deletion that has children, so that every statement can succeed.
type rows struct {
	mu          sync.Mutex
	random      *rand.Rand
	keys        *rand.Rand
	seed, salt  int64
	stripe      stripe
	shape       shape
	entities    Entities
	live        [entityCount][]*row
	ranks       [entityCount]ranking
	lastID      int64
	substituted int64
}

// newRows: seed decides every choice; salt makes the keys of two runs with one seed differ.
func newRows(entities Entities, s shape, seed, salt int64) *rows {
	r := &rows{entities: entities, shape: s, seed: seed, salt: salt}
	r.beIn(stripe{})
	return r
}

// beIn begins the random choices, keys and IDs of a segment of the test; nothing was taken before.
func (r *rows) beIn(s stripe) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stripe, r.lastID = s, s.firstID()-1
	r.random = rand.New(rand.NewPCG(uint64(r.seed), 1+uint64(s.number)))
	r.keys = rand.New(rand.NewPCG(uint64(r.seed), uint64(r.salt)))
}

// part is one write that is asked for: its entity and operation, or anyEntity and "" to leave them
// to chance, and the columns that the script fixed.
type part struct {
	entity entity
	op     ledger.Op
	fields map[string]any
}

// choice is a row taken out for one write.
type choice struct {
	id  int64
	op  ledger.Op
	row *row
	// values is the seed of the row's new values.
	values int64
	// status is the row's from then on, where its entity has one.
	status string
	// substituted: the write is not what was asked for, because no row was free for that.
	substituted bool
}

// take chooses what was left open, for each write of one transaction in order, and takes its row
// out of the live ones (or makes one). A row made below another that the transaction makes belongs
// to that one. Each choice must be given back with settle.
func (r *rows) take(mix Mix, parts ...part) []choice {
	r.mu.Lock()
	defer r.mu.Unlock()
	var made [entityCount]*row
	choices := make([]choice, len(parts))
	for i, p := range parts {
		c := r.choose(mix, p.entity, p.op, &made)
		if c.op == ledger.Insert {
			made[c.row.entity] = c.row
		}
		choices[i] = c
	}
	return choices
}

func (r *rows) choose(mix Mix, e entity, op ledger.Op, made *[entityCount]*row) choice {
	if e == anyEntity {
		e = r.entities.choose(r.random.IntN(r.entities.sum()))
	}
	if op == "" {
		op = mix.choose(r.random.IntN(mix.sum()))
	}
	r.lastID++
	c := choice{id: r.lastID, op: op, values: r.random.Int64()}
	switch op {
	case ledger.Update:
		c.row = r.favourite(e)
	case ledger.Delete:
		c.row = r.childless(e)
	}
	if c.row != nil {
		r.takeOut(c.row)
		c.status = c.row.nextStatus(op, r.random)
		return c
	}
	c.op = ledger.Insert
	c.row = r.fresh(e, made)
	c.status = c.row.nextStatus(c.op, r.random)
	if c.substituted = op != ledger.Insert || c.row.entity != e; c.substituted {
		r.substituted++
	}
	return c
}

// settle gives a choice back with what became of it. After a failed write the row is as it was;
// after an indeterminate one nothing is known of it, so it is never written again.
func (r *rows) settle(c choice, fate ledger.Fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	parent := c.row.parent
	switch {
	case fate == ledger.Indeterminate:
		c.row.at = gone
	case fate == ledger.Acked && c.op == ledger.Delete, fate == ledger.Failed && c.op == ledger.Insert:
		c.row.at = gone
		if parent != nil {
			parent.children--
		}
	default:
		if fate == ledger.Acked {
			c.row.status = c.status
		}
		r.putBack(c.row)
		if c.op == ledger.Insert && r.shape.zipf > 0 {
			r.ranks[c.row.entity].add(c.row, len(r.live[c.row.entity]))
		}
	}
}

// putBack adds a row to the live ones, and forgets one where they are too many.
func (r *rows) putBack(back *row) {
	live := r.live[back.entity]
	back.at = len(live)
	r.live[back.entity] = append(live, back)
	if len(live) >= mostLive {
		forgotten := r.any(back.entity)
		r.takeOut(forgotten)
		forgotten.at = gone
	}
}

// outside is an ID, and a key, for a write of a row that is not in the model.
func (r *rows) outside() (id int64, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastID++
	return r.lastID, r.newKey()
}

// counts is how many rows of each entity are live and free, and how often a choice was substituted.
func (r *rows) counts() (live [entityCount]int, substituted int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.live {
		live[i] = len(r.live[i])
	}
	return live, r.substituted
}

// any is a random live row of e, nil when there is none.
func (r *rows) any(e entity) *row {
	if len(r.live[e]) == 0 {
		return nil
	}
	return r.live[e][r.random.IntN(len(r.live[e]))]
}

// childless is a random live row of e without children, nil when none is found in a few tries.
func (r *rows) childless(e entity) *row {
	for range deleteCandidates {
		if found := r.any(e); found == nil || found.children == 0 {
			return found
		}
	}
	return nil
}

func (r *rows) takeOut(taken *row) {
	live := r.live[taken.entity]
	last := live[len(live)-1]
	live[taken.at], last.at = last, taken.at
	live[len(live)-1] = nil
	r.live[taken.entity] = live[:len(live)-1]
	taken.at = outstanding
}

// favourite is the live row of e that an update gets, nil when there is none.
func (r *rows) favourite(e entity) *row {
	if r.shape.zipf > 0 {
		return r.ranks[e].choose(r.random, r.shape.zipf, len(r.live[e]))
	}
	return r.any(e)
}

// fresh is a new row of e below the row that its transaction makes, else below a random live one.
// Where there is no parent, the parent is what has to be made first.
func (r *rows) fresh(e entity, made *[entityCount]*row) *row {
	var above *row
	if parent, ok := e.parent(); ok {
		if above = made[parent]; above == nil {
			above = r.any(parent)
		}
		if above == nil {
			return r.fresh(parent, made)
		}
		above.children++
	}
	fresh := &row{key: r.newKey(), entity: e, parent: above, at: outstanding}
	if freeText[e] != "" {
		fresh.text, fresh.isLarge = r.shape.choose(r.random)
	}
	return fresh
}

// newKey is a random UUID of version 4 as text; its last 16 bits are the stripe's number where the
// test has several.
func (r *rows) newKey() string {
	high, low := r.keys.Uint64(), r.keys.Uint64()
	if r.stripe.isPart {
		low = low&^0xffff | uint64(r.stripe.number)
	}
	high = high&^0xf000 | 0x4000
	low = low&^(0xc<<60) | 0x8<<60
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x",
		high>>32, high>>16&0xffff, high&0xffff, low>>48, low&(1<<48-1))
}
