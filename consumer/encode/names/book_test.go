package names

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestMembersAreOfOneColumn: several Books share a log of names, as the processes of a group do.
// Whatever columns come, and whenever the Books read the log, a member or companion that is in the
// log is of one column, and all Books agree after reading.
func TestMembersAreOfOneColumn(t *testing.T) {
	t.Parallel()
	columns := []string{"first_name", "firstName", "first_name_exact", "firstNameExact",
		"first__name", "a.b", "_id", "cdcMetadata", "own", "declared", "declared_exact"}
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 3))
		var log [][]Entry
		books := make([]*Book, 1+random.IntN(3))
		start := func() *Book {
			return New(map[string]string{"declared": "declared"},
				map[string]bool{"declared": true, "_id": true, "cdcMetadata": true}, 100)
		}
		for i := range books {
			books[i] = start()
		}
		owner := map[string]string{}
		own := func(n Name) {
			members := []string{n.Member}
			if n.Exact {
				members = append(members, n.Companion())
			}
			for _, member := range members {
				if was := owner[member]; was != "" && was != n.Column {
					t.Fatalf("seed %d: %s is of %s and of %s\n%v", seed, member, was, n.Column, log)
				}
				owner[member] = n.Column
			}
		}
		for range 12 {
			i := random.IntN(len(books))
			if random.IntN(6) == 0 {
				books[i] = start() // a restart
			}
			b := books[i]
			var asked []Name
			for _, column := range columns {
				if column != "declared" && random.IntN(3) == 0 {
					asked = append(asked, Name{Column: column, Exact: random.IntN(3) == 0})
				}
			}
			name := func() []Name {
				named := slices.Clone(asked)
				b.Name(named)
				return named
			}
			name()
			if random.IntN(3) == 0 {
				b.Give(Name{"declared", "declared", true})
			}
			for b.IsOpen() { // as package naming does
				lacking, entries := b.Lacking()
				if len(lacking) == 0 {
					break
				}
				if entries == len(log) {
					log = append(log, lacking)
				}
				if b.TakeEntry(log[entries]) {
					name()
				}
			}
			for j, n := range name() {
				if n.Column != asked[j].Column || n.Member == "" || asked[j].Exact && !n.Exact {
					t.Fatalf("seed %d: %+v of %+v", seed, n, asked[j])
				}
				own(n)
			}
		}
	}
}
