package tables

import (
	"math/rand/v2"
	"slices"
)

// largeText is a length in bytes of random text that PostgreSQL surely stores out of line (TOAST):
// PostgreSQL compresses a row above 2 KiB first, and random text does not shrink.
const largeText = 4096

// Shape describes the rows and the choice of rows to update.
type Shape struct {
	RowBytes   int
	LargeShare float64
	// Zipf is the exponent of the distribution of updates, above 1; 0 for a uniform one.
	Zipf float64
	// Reuse is the share of the new rows that come under the key of a deleted row.
	Reuse float64
}

// choose returns the length of a new row's free text. Only a share above 0 draws a random number,
// so that a seed means the same rows with and without the option.
func (s Shape) choose(random *rand.Rand) (text int32, isLarge bool) {
	if s.LargeShare > 0 && random.Float64() < s.LargeShare {
		return int32(max(s.RowBytes, largeText)), true
	}
	return int32(s.RowBytes), false
}

// ranking holds the rows of an entity in the order of creation. The first are the most popular; a
// row that is gone leaves its rank to the next row.
type ranking struct{ rows []*Row }

// maxGone bounds the gone rows stepped over by one choice, and the gone rows kept beyond the number
// of live rows; beyond the bound, all gone rows are removed.
const maxGone = 8

// add gives a row the last rank. live is the number of live rows.
func (k *ranking) add(r *Row, live int) {
	k.rows = append(k.rows, r)
	k.tidy(0, live)
}

// tidy removes the gone rows, where a choice stepped over too many or too many are held.
func (k *ranking) tidy(steppedOver, live int) {
	if steppedOver > maxGone || len(k.rows) > 2*live+maxGone {
		k.rows = slices.DeleteFunc(k.rows, func(r *Row) bool { return r.at == gone })
	}
}

// choose returns a live row, or the next row in rank where the first choice has an outstanding
// write; nil when there is none. live is the number of live rows.
func (k *ranking) choose(random *rand.Rand, exponent float64, live int) *Row {
	if len(k.rows) == 0 {
		return nil
	}
	from := int(rand.NewZipf(random, exponent, 1, uint64(len(k.rows)-1)).Uint64())
	var found *Row
	left := 0
	for i := 0; i < len(k.rows) && found == nil; i++ {
		switch candidate := k.rows[(from+i)%len(k.rows)]; {
		case candidate.at >= 0:
			found = candidate
		case candidate.at == gone:
			left++
		}
	}
	k.tidy(left, live)
	return found
}
