package tables

import (
	"math"
	"strings"
	"testing"

	"go.k6.io/k6/lib"
)

// segmentOf returns k6's options for a segment; sequence is "" for none.
func segmentOf(t *testing.T, name, sequence string) *lib.Options {
	t.Helper()
	segment, err := lib.NewExecutionSegmentFromString(name)
	if err != nil {
		t.Fatal(err)
	}
	options := &lib.Options{ExecutionSegment: segment}
	if sequence != "" {
		all, err := lib.NewExecutionSegmentSequenceFromString(sequence)
		if err != nil {
			t.Fatal(err)
		}
		options.ExecutionSegmentSequence = &all
	}
	return options
}

// The segments of a test share no ID and no key, even without a sequence, and make different
// choices. The segments' shares of the seed rows add up.
func TestStripes(t *testing.T) {
	t.Parallel()
	const rows = 101
	for _, sequence := range []string{"", "0,1/3,2/3,1"} {
		ids, keys, firsts, sum := map[int64]bool{}, map[string]bool{}, map[int64]bool{}, 0
		for _, name := range []string{"0:1/3", "1/3:2/3", "2/3:1"} {
			s, err := ReadStripe(segmentOf(t, name, sequence))
			if err != nil {
				t.Fatal(err)
			}
			if s.Segment != name || !s.isPart {
				t.Errorf("%+v", s)
			}
			sum += s.Share(rows)
			// the same salt: as if the clocks agreed
			model := NewRows(Entities{Customer: 1}, Shape{}, 7, 1)
			model.BeIn(s)
			firsts[model.random.Int64()] = true
			for range 100 {
				c := model.Take(Mix{Insert: 1}, Part{Table: Customer})[0]
				ids[c.ID], keys[c.Row.Key] = true, true
				if c.ID <= 0 || c.ID >= 1<<53 || !uuidFormat.MatchString(c.Row.Key) {
					t.Errorf("ID %d, key %s", c.ID, c.Row.Key)
				}
			}
		}
		if len(ids) != 300 || len(keys) != 300 || len(firsts) != 3 {
			t.Errorf("sequence %q: %d IDs, %d keys, %d seeds", sequence, len(ids), len(keys),
				len(firsts))
		}
		if sequence != "" && sum != rows {
			t.Errorf("the shares of %d rows add up to %d", rows, sum)
		}
	}
	whole, err := ReadStripe(&lib.Options{})
	if err != nil || whole.Segment != "" || whole.firstID() != 1 || whole.Share(7) != 7 {
		t.Errorf("the whole test: %+v, %v", whole, err)
	}
	if _, err := ReadStripe(segmentOf(t, "50001/100000:50002/100000", "")); err == nil ||
		!strings.Contains(err.Error(), "at least 1/65536") {
		t.Errorf("got %v", err)
	}
	if last := int64(1<<stripeBits) << stripeIDs; last > 1<<53 || last >= math.MaxInt64/2 {
		t.Errorf("IDs grow to %d", last)
	}
}
