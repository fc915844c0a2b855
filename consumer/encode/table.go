package encode

import (
	"sync"
	"sync/atomic"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/encode/names"
	"github.com/cdclab/cdclab/consumer/encode/value"
	"github.com/cdclab/cdclab/consumer/entity"
)

// Table is a Spec at work: the Fields ready to be applied, and the shapes of the table's events so
// far. All partitions share the Table; it is safe for concurrent use.
type Table struct {
	spec     *entity.Spec
	fields   map[string]*field // by column
	taken    map[string]bool   // members not free for columns without a Field
	severity map[string]entity.Severity
	members  map[string]*field // the fields with transitions

	mu      sync.Mutex
	plans   []*plan // the last first
	current *plan
	since   int64 // the commit that first showed current, microseconds
	// stored has the widest type so far of each column without a Field.
	stored map[string]sight
	// declared has the first types of the Spec's columns.
	declared map[string]*debezium.Type
	reported map[SchemaChange]bool
	names    *names.Book
	earlier  map[string]int // scratch of compareColumns: places by column

	// unkept is true if names may not be in the store, and renamed counts how often the store's
	// names replaced names given.
	unkept  atomic.Bool
	renamed atomic.Uint64
}

// field is a Field with everything derived from it once.
type field struct {
	entity.Field
	member string
	rules  *rules
	refs   []Ref // without the ID
}

// Spec returns the table's Spec, which is not to be changed.
func (t *Table) Spec() *entity.Spec { return t.spec }

// newTable readies a Spec. r has the Specs that spec refers to.
func newTable(spec *entity.Spec, r *entity.Registry) *Table {
	t := &Table{spec: spec, fields: map[string]*field{}, taken: map[string]bool{},
		members: map[string]*field{}, severity: spec.Severities(), stored: map[string]sight{},
		declared: map[string]*debezium.Type{}, reported: map[SchemaChange]bool{},
		earlier: map[string]int{}}
	for _, member := range spec.OwnMembers() {
		t.taken[member] = true
	}
	for _, other := range r.All() {
		if other.Embed != nil && other.Embed.Into == spec.Entity {
			t.taken[other.Embed.Field] = true
		}
	}
	for _, f := range spec.Fields {
		ready := &field{Field: f, member: f.Member(), rules: newRules(&f)}
		t.fields[f.Column] = ready
		t.taken[ready.member] = true
		if f.HasExact() {
			t.taken[ready.member+entity.ExactSuffix] = true
		}
		if len(f.Transitions) > 0 {
			t.members[ready.member] = ready
		}
	}
	own := map[string]string{}
	for column, f := range t.fields {
		own[column] = f.member
	}
	t.names = names.New(own, t.taken, columnsMax)
	for _, ref := range spec.References {
		target, _ := r.ByEntity(ref.Entity)
		inside := spec.Embed != nil && spec.Embed.Into == ref.Entity &&
			spec.Embed.Parent == ref.Column
		if inside || target.Embed != nil {
			continue // a shell stands in; embedded rows cannot be found by their key
		}
		f := t.fields[ref.Column]
		f.refs = append(f.refs, Ref{Collection: target.Collection, Column: ref.Column,
			Missing: ref.Missing, Grace: ref.Grace})
	}
	return t
}

// Transition judges that a member's value follows another; nil where the value may follow. The
// consumer passes the stored value as from.
func (t *Table) Transition(member, from, to string) *entity.Violation {
	f := t.members[member]
	if f == nil || f.rules.allowsTransition(from, to) {
		return nil
	}
	v := &entity.Violation{Rule: entity.RuleTransition, Field: f.Column,
		Severity: t.severity[entity.RuleTransition], Reason: "may not follow the stored value"}
	if !f.Secret {
		v.Value = value.Shorten(from + " -> " + to)
	}
	return v
}

// HasUnkeptNames returns true if members have names that may not be in the store.
func (t *Table) HasUnkeptNames() bool { return t.unkept.Load() }

// NamesVersion changes when names given before are replaced by the store's: rows with the old names
// must be encoded again.
func (t *Table) NamesVersion() uint64 { return t.renamed.Load() }

// UnkeptNames returns the members that are not in the store yet, and the number of entries
// read of the store's log of names.
func (t *Table) UnkeptNames() (all []names.Entry, entries int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.names.Lacking()
}

// TakeNames takes the next entry of the store's log of names.
func (t *Table) TakeNames(all []names.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := t.names.TakeEntry(all)
	t.unkept.Store(t.names.IsOpen())
	if !changed {
		return
	}
	t.plans = nil
	if was := t.current; was != nil {
		t.current = t.compilePlan(was.sights, was.keyed, was.late)
		t.rememberPlan(t.current)
	}
	t.renamed.Add(1)
}
