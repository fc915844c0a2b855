package tables

import (
	"maps"
	"testing"
)

func TestWeights(t *testing.T) {
	t.Parallel()
	entities := Entities{Customer: 2, Address: 0, Order: 1, OrderItem: 3}
	chosen := map[Table]int{}
	for n := range entities.sum() {
		chosen[entities.choose(n)]++
	}
	if !maps.Equal(chosen, map[Table]int{Customer: 2, Order: 1, OrderItem: 3}) {
		t.Errorf("got %v", chosen)
	}
	mix, operations := Mix{Insert: 1, Update: 0, Delete: 2}, map[string]int{}
	for n := range mix.sum() {
		operations[string(mix.choose(n))]++
	}
	if !maps.Equal(operations, map[string]int{"insert": 1, "delete": 2}) {
		t.Errorf("got %v", operations)
	}
}

func TestSeedSizes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		total    int
		entities Entities
		want     [Count]int
	}{
		{200, Entities{40, 20, 20, 20}, [Count]int{80, 40, 40, 40}},
		{0, Entities{40, 20, 20, 20}, [Count]int{}},
		{10, Entities{Customer: 1}, [Count]int{10}},
		{10, Entities{OrderItem: 1}, [Count]int{1, 0, 1, 10}},
	} {
		if got := SeedSizes(test.total, test.entities); got != test.want {
			t.Errorf("%d of %+v: got %v, want %v", test.total, test.entities, got, test.want)
		}
	}
}
