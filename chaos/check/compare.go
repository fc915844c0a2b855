package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
)

// record is a row, or the document or item that should copy the row, in comparable texts.
type record struct {
	// parent is an item's order: the row's order, or the document holding the item. Empty for
	// records not embedded.
	parent string
	// version is lab_version; none without the member.
	version int64
	content packed
}

// none is the version of a record without one.
const none = -1

// row is a row of PostgreSQL and the sights of the row in MongoDB so far.
type row struct {
	record
	verdict verdict
}

// verdict is the judgement of the right place in MongoDB; the zero value is nothing found.
type verdict struct {
	status reports.RowStatus
	fields []string
	detail string
}

// sight is one document or item in MongoDB.
type sight struct {
	key string
	record
	// hidden is the reason why readers do not see the sight: "a tombstone", "a shell"; empty for
	// visible sights.
	hidden string
	// malformed is the reason why the sight cannot be read.
	malformed string
}

// id names one key of one entity.
type id struct{ entity, key string }

// finding is a reports.Example with the facts needed for reading the key again.
type finding struct {
	reports.Example
	// row is true if PostgreSQL has the key.
	row bool
	// places are the documents in which the item was seen alive.
	places []string
}

func (f *finding) id() id { return id{f.Entity, f.Key} }

// comparison compares the rows of one entity with their sights in MongoDB. A comparison is pure:
// rows first, then every sight in any order, then findings.
type comparison struct {
	*layout
	rows map[string]*row
	// astray are the live sights in places that no row names, by key.
	astray map[string][]sight
	// only limits the comparison to some keys; nil is all.
	only map[string]bool
	// documents counts the live sights.
	documents int64
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

// judge compares a row with the sight in the row's place.
func (c *comparison) judge(r *record, s *sight) verdict {
	switch {
	case s.hidden != "":
		return verdict{reports.Lost, nil, "only " + s.hidden}
	case s.malformed != "":
		return verdict{reports.Corrupt, nil, s.malformed}
	case r.version != none && s.version == none:
		return verdict{reports.Corrupt, []string{c.version}, "it has no version"}
	case s.version < r.version:
		return verdict{reports.Stale, []string{c.version}, versions(r, s)}
	case s.version > r.version:
		return verdict{reports.Corrupt, []string{c.version}, "ahead of its row: " + versions(r, s)}
	case s.content == r.content:
		return verdict{status: reports.OK}
	}
	fields, reference := c.differences(r.content, s.content)
	if reference {
		return verdict{reports.WrongParent, fields, "another reference at " + versions(r, s)}
	}
	return verdict{reports.Corrupt, fields, "other content at " + versions(r, s)}
}

func versions(r *record, s *sight) string {
	return fmt.Sprintf("version %d, row %d", s.version, r.version)
}

// differences returns the differing members; reference is true if a reference is among the members.
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

// findings returns the keys that are not reports.OK, in no order.
func (c *comparison) findings(fates *fates) []finding {
	var all []finding
	for key, r := range c.rows {
		v, astray := r.verdict, c.astray[key]
		switch {
		case len(astray) > 0:
			v = verdict{reports.WrongParent, v.fields, fmt.Sprintf("alive in %s, its row says %s",
				strings.Join(parents(astray), ", "), r.parent)}
		case v.status == "":
			v = verdict{status: reports.Lost, detail: "nothing is there"}
		}
		if loss := fates.of(c.spec.Entity, key).sourceLoss(&r.record); loss != "" {
			v = verdict{status: reports.SourceLoss, detail: loss}
		}
		if v.status != reports.OK {
			all = append(all, c.finding(key, true, v, astray))
		}
	}
	for key, astray := range c.astray {
		if c.rows[key] != nil {
			continue
		}
		v := verdict{status: reports.Phantom, detail: "alive without a row"}
		fate := fates.of(c.spec.Entity, key)
		if how := fate.deleted(); how != "" {
			v = verdict{status: reports.Resurrected, detail: "alive after " + how}
		}
		if loss := fate.sourceLoss(nil); loss != "" {
			v = verdict{status: reports.SourceLoss, detail: loss}
		}
		all = append(all, c.finding(key, false, v, astray))
	}
	return append(all, c.missing(fates)...)
}

// missing returns the keys known only to the ledger that should have a row.
func (c *comparison) missing(fates *fates) []finding {
	var all []finding
	for key, fate := range fates.byKey[c.spec.Entity] {
		if c.rows[key] != nil || c.astray[key] != nil || c.only != nil && !c.only[key] {
			continue
		}
		if loss := fate.sourceLoss(nil); loss != "" {
			v := verdict{status: reports.SourceLoss, detail: loss}
			all = append(all, c.finding(key, false, v, nil))
		}
	}
	return all
}

func (c *comparison) finding(key string, hasRow bool, v verdict, astray []sight) finding {
	return finding{
		Example: reports.Example{
			Status: v.status, Entity: c.spec.Entity, Key: key, Detail: v.detail, Fields: v.fields,
		},
		row: hasRow, places: parents(astray),
	}
}

// parents returns the documents that hold the sights; none for sights not embedded.
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

// inside returns the comparisons of items in the documents of t.
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
