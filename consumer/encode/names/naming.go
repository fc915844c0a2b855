package names

import (
	"slices"
	"strings"

	"github.com/cdclab/cdclab/consumer/entity"
)

// isSnakeCase is true for a name of at least two words of small letters and digits, which begins
// with a letter: order_id.
func isSnakeCase(name string) bool {
	words, within := 0, false // a word
	for i, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' && i > 0:
			if !within {
				words++
			}
			within = true
		case c == '_' && within:
			within = false
		default:
			return false
		}
	}
	return words > 1 && within
}

// naming is a column looking for the name of its member. Exact: the column may have an exact text
// too, and needs a free member for the text.
type naming struct {
	*Name
	own   string // the column's name as a member
	camel string // "" where the name is not in snake_case
}

// nameMembers gives the columns their members: snake_case becomes camelCase, any other name stays.
// A column keeps its own name if its member is taken, or if two columns would have the same member.
// Underscores follow an own name that is taken too. The names depend on the columns, not on their
// order. taken is true for the members of other columns.
func nameMembers(columns []naming, taken func(member string) bool) {
	const used = 1 << 30 // beside the number of columns that would have the member
	claims := make(map[string]int, len(columns))
	anyExact := false
	for i := range columns {
		c := &columns[i]
		anyExact = anyExact || c.Exact
		c.own, _ = entity.EscapeName(c.Column)
		claims[c.own]++
		if isSnakeCase(c.Column) {
			c.camel = entity.CamelCase(c.Column)
			claims[c.camel]++
		}
	}
	var order []*naming
	for i := range columns {
		c := &columns[i]
		if !anyExact && c.camel == "" && claims[c.own] == 1 && !taken(c.own) {
			c.Member = c.own // of no other column, in any order
			continue
		}
		order = append(order, c)
	}
	slices.SortFunc(order, func(a, b *naming) int {
		if a.Exact != b.Exact {
			if a.Exact {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Column, b.Column)
	})
	// The underscores of the last column of the same own name; fewer are not free any more.
	type sameName struct {
		own   string
		exact bool
	}
	underscores := map[sameName]string{}
	for _, c := range order {
		free := func(member string) bool {
			if claims[member] >= used || taken(member) {
				return false
			}
			exact := member + entity.ExactSuffix
			return !c.Exact || claims[exact] < used && !taken(exact)
		}
		if c.camel != "" && claims[c.camel] == 1 && free(c.camel) {
			c.Member = c.camel
		} else {
			same := sameName{c.own, c.Exact}
			for c.Member = c.own + underscores[same]; !free(c.Member) ||
				c.Member != c.own && claims[c.Member] > 0; {
				c.Member += "_"
			}
			if len(c.Member) > len(c.own) {
				underscores[same] = c.Member[len(c.own):]
			}
		}
		claims[c.Member] |= used
		if c.Exact {
			claims[c.Member+entity.ExactSuffix] |= used
		}
	}
}
