package tables

import "github.com/cdclab/cdclab/ledger"

// Mix is the weight of each operation in a random choice.
type Mix struct {
	Insert int `json:"insert"`
	Update int `json:"update"`
	Delete int `json:"delete"`
}

// Entities is the weight of each entity in a random choice.
type Entities struct {
	Customer  int `json:"customer"`
	Address   int `json:"address"`
	Order     int `json:"order"`
	OrderItem int `json:"order_item"`
}

// IsSound is true if a choice can be made by the weights.
func (m Mix) IsSound() bool { return min(m.Insert, m.Update, m.Delete) >= 0 && m.sum() > 0 }

// IsSound is true if a choice can be made by the weights.
func (e Entities) IsSound() bool {
	return min(e.Customer, e.Address, e.Order, e.OrderItem) >= 0 && e.sum() > 0
}

func (m Mix) choose(n int) ledger.Op {
	switch {
	case n < m.Insert:
		return ledger.Insert
	case n < m.Insert+m.Update:
		return ledger.Update
	}
	return ledger.Delete
}

func (m Mix) sum() int { return m.Insert + m.Update + m.Delete }

func (e Entities) choose(n int) Table {
	for i, weight := range []int{e.Customer, e.Address, e.Order} {
		if n < weight {
			return Table(i)
		}
		n -= weight
	}
	return OrderItem
}

func (e Entities) sum() int { return e.Customer + e.Address + e.Order + e.OrderItem }

// SeedSizes shares total out by the entities' weights, with at least one row of every entity that
// later rows will refer to.
func SeedSizes(total int, entities Entities) [Count]int {
	weights := [Count]int{entities.Customer, entities.Address, entities.Order, entities.OrderItem}
	var sizes [Count]int
	if total == 0 {
		return sizes
	}
	for e := Count - 1; e >= 0; e-- {
		if weights[e] > 0 {
			sizes[e] = max(sizes[e], (total*weights[e]+entities.sum()-1)/entities.sum())
		}
		if parent, ok := e.parent(); ok && sizes[e] > 0 {
			sizes[parent] = max(sizes[parent], 1)
		}
	}
	return sizes
}
