package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// record is a row, or a document or item that should be its copy, in texts that compare.
type record struct {
	// parent is, of an item, the order it belongs to: as the row has it, or the document that
	// holds it. Empty of what is not embedded.
	parent string
	// version is lab_version; none when there is no such member.
	version int64
	content packed
}

// none is the version of a record without one.
const none = -1

// row is a row of PostgreSQL and what was seen of it in MongoDB so far.
type row struct {
	record
	verdict verdict
}

// verdict is what one look at the right place in MongoDB says; the zero value is that nothing was
// found there.
type verdict struct {
	status Status
	fields []string
	detail string
}

// sight is one document or item in MongoDB.
type sight struct {
	key string
	record
	// hidden says why readers do not see it: "a tombstone", "a shell"; empty when they do.
	hidden string
	// malformed says what cannot be read of it.
	malformed string
}

// id names one key of one entity.
type id struct{ entity, key string }

// finding is an Example with what is needed to look again.
type finding struct {
	Example
	// row: PostgreSQL has the key.
	row bool
	// places are the documents in which the item was seen alive.
	places []string
}

func (f *finding) id() id { return id{f.Entity, f.Key} }

// comparison compares the rows of one entity with what is seen of it in MongoDB. It is pure: rows
// first, then every sight in any order, then findings.
type comparison struct {
	*layout
	rows map[string]*row
	// astray are the live sights where no row says they should be, by key.
	astray map[string][]sight
	// only limits the comparison to some keys; nil is all.
	only map[string]bool
	// documents counts the live sights.
	documents int
}

func newComparison(l *layout) *comparison {
	return &comparison{layout: l, rows: map[string]*row{}, astray: map[string][]sight{}}
}

func (c *comparison) addRow(key string, r record) { c.rows[key] = &row{record: r} }

func (c *comparison) see(s sight) {
	if c.only != nil && !c.only[s.key] {
		return
	}
	if s.hidden == "" {
		c.documents++
	}
	r := c.rows[s.key]
	switch {
	case r != nil && r.parent == s.parent:
		r.verdict = c.judge(&r.record, &s)
	case s.hidden == "":
		c.astray[s.key] = append(c.astray[s.key], s)
	}
}

// judge compares a row with what is in its place.
func (c *comparison) judge(r *record, s *sight) verdict {
	switch {
	case s.hidden != "":
		return verdict{Lost, nil, "only " + s.hidden}
	case s.malformed != "":
		return verdict{Corrupt, nil, s.malformed}
	case r.version != none && s.version == none:
		return verdict{Corrupt, []string{c.version}, "it has no version"}
	case s.version < r.version:
		return verdict{Stale, []string{c.version}, versions(r, s)}
	case s.version > r.version:
		return verdict{Corrupt, []string{c.version}, "ahead of its row: " + versions(r, s)}
	case s.content == r.content:
		return verdict{status: OK}
	}
	fields, reference := c.differences(r.content, s.content)
	if reference {
		return verdict{WrongParent, fields, "another reference at " + versions(r, s)}
	}
	return verdict{Corrupt, fields, "other content at " + versions(r, s)}
}

func versions(r *record, s *sight) string {
	return fmt.Sprintf("version %d, row %d", s.version, r.version)
}

// differences names the members that differ and says whether a reference is among them.
func (c *comparison) differences(a, b packed) (fields []string, reference bool) {
	left, right := a.unpack(), b.unpack()
	for n, member := range c.members {
		if !equal(left[n], right[n]) {
			fields = append(fields, member)
			reference = reference || c.reference[n]
		}
	}
	return fields, reference
}

func equal(a, b *string) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// findings are the keys that are not OK, in no order.
func (c *comparison) findings(fates *fates) []finding {
	var all []finding
	for key, r := range c.rows {
		v, astray := r.verdict, c.astray[key]
		switch {
		case len(astray) > 0:
			v = verdict{WrongParent, v.fields, fmt.Sprintf("alive in %s, its row says %s",
				strings.Join(parents(astray), ", "), r.parent)}
		case v.status == "":
			v = verdict{status: Lost, detail: "nothing is there"}
		}
		if loss := fates.of(c.spec.Entity, key).sourceLoss(&r.record); loss != "" {
			v = verdict{status: SourceLoss, detail: loss}
		}
		if v.status != OK {
			all = append(all, c.finding(key, true, v, astray))
		}
	}
	for key, astray := range c.astray {
		if c.rows[key] != nil {
			continue
		}
		v := verdict{status: Phantom, detail: "alive without a row"}
		fate := fates.of(c.spec.Entity, key)
		if how := fate.deleted(); how != "" {
			v = verdict{status: Resurrected, detail: "alive after " + how}
		}
		if loss := fate.sourceLoss(nil); loss != "" {
			v = verdict{status: SourceLoss, detail: loss}
		}
		all = append(all, c.finding(key, false, v, astray))
	}
	return append(all, c.missing(fates)...)
}

// missing are the keys that only the ledger knows and that should have a row.
func (c *comparison) missing(fates *fates) []finding {
	var all []finding
	for key, fate := range fates.byKey[c.spec.Entity] {
		if c.rows[key] != nil || c.astray[key] != nil || c.only != nil && !c.only[key] {
			continue
		}
		if loss := fate.sourceLoss(nil); loss != "" {
			all = append(all, c.finding(key, false, verdict{status: SourceLoss, detail: loss}, nil))
		}
	}
	return all
}

func (c *comparison) finding(key string, hasRow bool, v verdict, astray []sight) finding {
	return finding{
		Example: Example{c.spec.Entity, key, v.status, v.fields, v.detail},
		row:     hasRow, places: parents(astray),
	}
}

// parents are the documents that hold the sights; none for what is not embedded.
func parents(sights []sight) []string {
	set := map[string]bool{}
	for _, s := range sights {
		if s.parent != "" {
			set[s.parent] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// tables are the comparisons of all entities, in the order of the Registry.
type tables []*comparison

// inside are those whose items live in the documents of t.
func (ts tables) inside(t *comparison) tables {
	return slices.DeleteFunc(slices.Clone(ts), func(other *comparison) bool {
		return other.spec.Embed == nil || other.spec.Embed.Into != t.spec.Entity
	})
}

func (ts tables) findings(fates *fates) []finding {
	var all []finding
	for _, t := range ts {
		all = append(all, t.findings(fates)...)
	}
	return all
}
