package cdc

import (
	"math/rand/v2"
	"slices"
)

// largeText is how many bytes of random text PostgreSQL surely stores out of line (TOAST): it
// compresses a row above 2 KiB first, which does not help with random text.
const largeText = 4096

// shape is what the rows are like and which of them are written again.
type shape struct {
	rowBytes   int
	largeShare float64
	// zipf is the exponent of the distribution of updates, above 1; 0 for a uniform one.
	zipf float64
}

// shape is what the options say of it.
func (o *Options) shape() shape {
	s := shape{rowBytes: o.RowBytes, largeShare: o.ToastShare}
	if o.Choice == ChooseZipf {
		s.zipf = o.Zipf
	}
	return s
}

// choose is how long the free text of a new row is. It draws a number only where the share asks for
// it, so that a seed means the same rows with and without the option.
func (s shape) choose(random *rand.Rand) (text int32, isLarge bool) {
	if s.largeShare > 0 && random.Float64() < s.largeShare {
		return int32(max(s.rowBytes, largeText)), true
	}
	return int32(s.rowBytes), false
}

// ranking holds the rows of an entity in the order in which they were made. The first are the most
// popular; a row that is gone leaves its rank to the next one.
type ranking struct{ rows []*row }

// maxGone is how many rows that are gone a choice may step over, or there may be beside as many live
// ones, before they are removed.
const maxGone = 8

// add gives a row the last rank. live is how many rows are live.
func (k *ranking) add(r *row, live int) {
	k.rows = append(k.rows, r)
	k.tidy(0, live)
}

// tidy removes the rows that are gone, where a choice stepped over that many or they are too many.
func (k *ranking) tidy(steppedOver, live int) {
	if steppedOver > maxGone || len(k.rows) > 2*live+maxGone {
		k.rows = slices.DeleteFunc(k.rows, func(r *row) bool { return r.at == gone })
	}
}

// choose is a live row, or the next one in rank where it has an outstanding write; nil when there
// is none. live is how many rows are live.
func (k *ranking) choose(random *rand.Rand, exponent float64, live int) *row {
	if len(k.rows) == 0 {
		return nil
	}
	from := int(rand.NewZipf(random, exponent, 1, uint64(len(k.rows)-1)).Uint64())
	var found *row
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
