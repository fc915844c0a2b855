package entity

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

var snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)+$`)

// The time rules of tables without a Spec in YAML.
const (
	genericSkew = 5 * time.Second
	genericLate = time.Hour
)

// LiveSuffix and RelatedSuffix end the names of a collection's views.
const (
	LiveSuffix    = "_live"
	RelatedSuffix = "_related"
)

// ownPrefix begins the names of the consumer's own collections.
const ownPrefix = "cdc_"

func isView(collection string) bool {
	return strings.HasSuffix(collection, LiveSuffix) || strings.HasSuffix(collection, RelatedSuffix)
}

// generic is the Spec of a table that has none. Its collection has the table's name, with the schema
// before it unless that is public; names that MongoDB, the consumer or a Spec uses are avoided, so that no
// two tables share one.
func (s *state) generic(schema, table string) *Spec {
	part := func(name string) string {
		name, _ = escapeName(strings.ReplaceAll(name, "$", "\uff04"))
		return name
	}
	collection := part(table)
	if schema != "public" || s.collections[collection] || strings.HasPrefix(collection, ownPrefix) {
		collection = part(schema) + "." + collection
	}
	if strings.HasPrefix(collection, "system.") {
		collection = "_" + collection
	}
	if isView(strings.TrimRight(collection, "_")) {
		collection += "_"
	}
	for s.collections[collection] {
		collection += "_"
	}
	name := collection
	for s.byEntity[name] != nil {
		name = schema + "." + name
	}
	return &Spec{Entity: name, Table: schema + "." + table, Collection: collection,
		Skew: genericSkew, Late: genericLate}
}

// naming is a column that looks for the name of its member.
type naming struct {
	column string
	exact  bool // it may have an exact text beside it, whose member must be free too
	member string
}

// name gives the columns their members: snake_case becomes camelCase, any other name stays. A column
// whose member another column has, or whose member is taken, keeps its own name; if that is taken
// too, underscores follow it. The names depend on the columns, not on their order.
func name(columns []*naming, taken map[string]bool) {
	claims := map[string]int{}
	for _, c := range columns {
		own, _ := escapeName(c.column)
		claims[own]++
		if snakeCase.MatchString(c.column) {
			claims[camelCase(c.column)]++
		}
	}
	order := slices.Clone(columns)
	slices.SortFunc(order, func(a, b *naming) int {
		if a.exact != b.exact {
			if a.exact {
				return -1
			}
			return 1
		}
		return strings.Compare(a.column, b.column)
	})
	used := maps.Clone(taken)
	for _, c := range order {
		free := func(member string) bool {
			return !used[member] && !(c.exact && used[member+ExactSuffix])
		}
		own, _ := escapeName(c.column)
		camel := camelCase(c.column)
		if snakeCase.MatchString(c.column) && claims[camel] == 1 && free(camel) {
			c.member = camel
		} else {
			for c.member = own; !free(c.member) || c.member != own && claims[c.member] > 0; {
				c.member += "_"
			}
		}
		used[c.member] = true
		if c.exact {
			used[c.member+ExactSuffix] = true
		}
	}
}
