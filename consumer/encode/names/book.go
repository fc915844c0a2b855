// Package names gives the columns of a table the members of the documents, and remembers the names,
// because a member has one meaning for ever. The package writes nothing: package naming keeps the
// names of a Book in the store. Start reading at Book.
package names

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/consumer/entity"
)

// Name is the member of a column. Exact is true if the member has a companion with the exact text
// of a value.
type Name struct {
	Column, Member string
	Exact          bool
}

// Companion returns the member of the exact text.
func (n Name) Companion() string { return n.Member + entity.ExactSuffix }

// Book holds the names of a table. A Book is not safe for concurrent use.
type Book struct {
	fields map[string]string // members by column, given by the spec
	taken  map[string]bool   // members that the spec does not leave free
	max    int               // columns remembered

	names   map[string]Name   // by column
	members map[string]holder // members and companions
	// kept counts the members in the store, lacking the members that are to be kept there, and
	// entries is the number of entries read of the store's log.
	kept, lacking, entries int
}

// holder is the column that has a member, and the column by the store; "" where the store has none.
type holder struct {
	column, kept string
	lacking      bool // not in the store, and to be kept there
}

// New returns a Book for a spec: the members of the spec's columns, and all members that are not
// free for other columns. At most max columns are remembered.
func New(fields map[string]string, taken map[string]bool, max int) *Book {
	return &Book{fields: fields, taken: taken, max: max, names: map[string]Name{},
		members: map[string]holder{}}
}

// Known returns the name that the column has; zero where the column has none.
func (b *Book) Known(column string) Name { return b.names[column] }

// Name fills in the members of the columns; Exact says which columns may need a companion. A column
// keeps its name, because a member has one meaning for ever. A column whose values once had exact
// texts goes on to claim the companion, so that the old text ends with the next value.
func (b *Book) Name(columns []Name) {
	if len(b.names) > b.max { // the store's log is read again
		clear(b.names)
		clear(b.members)
		b.kept, b.lacking, b.entries = 0, 0, 0
	}
	var fresh []naming
	for i := range columns {
		n := &columns[i]
		known := b.names[n.Column]
		needs := n.Exact && !known.Exact
		n.Member, n.Exact = known.Member, n.Exact || known.Exact
		if n.Member != "" && (!needs || b.members[n.Companion()].column == "") {
			b.Give(*n) // before the fresh names, which must leave the companion free
			continue
		}
		if fresh == nil {
			fresh = make([]naming, 0, len(columns)-i)
		}
		fresh = append(fresh, naming{Name: n})
	}
	nameMembers(fresh, func(member string) bool {
		return b.taken[member] || b.members[member].column != ""
	})
	for _, c := range fresh {
		b.Give(*c.Name)
	}
}

// Give remembers a name. A column of the spec has its member by the spec, and only the companion is
// kept in the store.
func (b *Book) Give(n Name) {
	b.names[n.Column] = n
	if _, declared := b.fields[n.Column]; !declared {
		b.giveMember(n.Member, n.Column)
	}
	if n.Exact {
		b.giveMember(n.Companion(), n.Column)
	}
}

func (b *Book) giveMember(member, column string) {
	h := b.members[member]
	h.column = column
	if h.kept == "" && !h.lacking && b.kept <= b.max {
		h.lacking = true
		b.lacking++
	}
	b.members[member] = h
}

// TakeOver takes over the names given under another spec, as far as this spec leaves the members
// free.
func (b *Book) TakeOver(old *Book) {
	for column, known := range old.names {
		if member, declared := b.fields[column]; declared {
			b.Give(Name{column, member, known.Exact && member == known.Member})
		} else if !b.taken[known.Member] && !(known.Exact && b.taken[known.Companion()]) {
			b.Give(known)
		}
	}
}

// IsOpen returns true if a name is not in the store yet. Beyond max columns nothing is kept.
func (b *Book) IsOpen() bool { return b.lacking > 0 }

// Entry is a member in the store's log of names, and the member's column.
type Entry struct{ Member, Column string }

// Lacking returns the members that are not in the store yet, the present members of columns last,
// and the number of entries read of the store's log.
func (b *Book) Lacking() (all []Entry, entries int) {
	all = make([]Entry, 0, b.lacking)
	for member, h := range b.members {
		if h.lacking {
			all = append(all, Entry{member, h.column})
		}
	}
	slices.SortFunc(all, func(x, y Entry) int {
		return cmp.Or(b.age(x)-b.age(y), strings.Compare(x.Member, y.Member))
	})
	return all, b.entries
}

// age is 1 for the present member of a column, and the companion, 0 for an earlier member.
func (b *Book) age(e Entry) int {
	n := b.names[e.Column]
	if e.Member == n.Member || n.Exact && e.Member == n.Companion() {
		return 1
	}
	return 0
}

// TakeEntry takes the next entry of the store's log of names. changed is true if a column had
// another name. The work is in proportion to the entry.
func (b *Book) TakeEntry(all []Entry) (changed bool) {
	b.entries++
	for _, one := range all { // a companion comes after the member
		before := b.members[one.Member]
		if before.kept != "" {
			continue
		}
		b.supply(one.Member)
		b.kept++
		if other := before.column; other != "" && other != one.Column {
			changed = b.forget(other) || changed
		}
		b.members[one.Member] = holder{column: one.Column, kept: one.Column}
		n := Name{Column: one.Column, Member: one.Member}
		base, is := strings.CutSuffix(one.Member, entity.ExactSuffix)
		if is && (b.members[base].kept == one.Column || b.fields[one.Column] == base) {
			n.Member, n.Exact = base, true
		}
		changed = b.adopt(n) || changed
	}
	if b.kept > b.max {
		for member := range b.members {
			b.supply(member)
		}
	}
	return changed
}

// supply ends the member's lack.
func (b *Book) supply(member string) {
	if h := b.members[member]; h.lacking {
		h.lacking = false
		b.members[member] = h
		b.lacking--
	}
}

// forget takes the name from a column, so that the column is named anew.
func (b *Book) forget(column string) (had bool) {
	n, had := b.names[column]
	if _, declared := b.fields[column]; !had || declared {
		return false
	}
	delete(b.names, column)
	for _, member := range []string{n.Member, n.Companion()} {
		if b.members[member].column == column { // nothing is written under the member
			b.supply(member)
		}
	}
	return true
}

// adopt gives a column the name in the store.
func (b *Book) adopt(n Name) (changed bool) {
	known := b.names[n.Column]
	own, declared := b.fields[n.Column]
	if declared && (!n.Exact || own != n.Member) || !declared && b.taken[n.Member] ||
		known.Member == n.Member && (known.Exact || !n.Exact) {
		return false
	}
	b.forget(n.Column)
	b.Give(n)
	return known.Member != ""
}
