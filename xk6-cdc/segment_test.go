package cdc

import (
	"math"
	"strings"
	"testing"

	"go.k6.io/k6/lib"

	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// segmentOf is k6's options for a segment; without a sequence where it is "".
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

// The segments of a test share no ID and no key, also where they were not told of each other, and
// make other choices; their shares of the seed rows add up.
func TestStripes(t *testing.T) {
	t.Parallel()
	const rows = 101
	for _, sequence := range []string{"", "0,1/3,2/3,1"} {
		ids, keys, firsts, sum := map[int64]bool{}, map[string]bool{}, map[int64]bool{}, 0
		for _, name := range []string{"0:1/3", "1/3:2/3", "2/3:1"} {
			s, err := readStripe(segmentOf(t, name, sequence))
			if err != nil {
				t.Fatal(err)
			}
			if s.segment != name || !s.isPart {
				t.Errorf("%+v", s)
			}
			sum += s.share(rows)
			model := newRows(Entities{Customer: 1}, shape{}, 7, 1) // the same salt: the clocks agree
			model.beIn(s)
			firsts[model.random.Int64()] = true
			for range 100 {
				c := model.take(Mix{Insert: 1}, part{entity: customer})[0]
				ids[c.id], keys[c.row.key] = true, true
				if c.id <= 0 || c.id >= 1<<53 || !uuidFormat.MatchString(c.row.key) {
					t.Errorf("ID %d, key %s", c.id, c.row.key)
				}
			}
		}
		if len(ids) != 300 || len(keys) != 300 || len(firsts) != 3 {
			t.Errorf("sequence %q: %d IDs, %d keys, %d seeds", sequence, len(ids), len(keys), len(firsts))
		}
		if sequence != "" && sum != rows {
			t.Errorf("the shares of %d rows add up to %d", rows, sum)
		}
	}
	whole, err := readStripe(&lib.Options{})
	if err != nil || whole.segment != "" || whole.firstID() != 1 || whole.share(7) != 7 {
		t.Errorf("the whole test: %+v, %v", whole, err)
	}
	if _, err := readStripe(segmentOf(t, "50001/100000:50002/100000", "")); err == nil || !strings.Contains(err.Error(), "at least 1/65536") {
		t.Errorf("got %v", err)
	}
	if last := int64(1<<stripeBits) << stripeIDs; last > 1<<53 || last >= math.MaxInt64/2 {
		t.Errorf("IDs grow to %d", last)
	}
}

func TestHeaderSaysTheSegment(t *testing.T) {
	t.Parallel()
	lab, _ := labOn(t, startServer(t), nil)
	if err := lab.Selftest(t.Context(), SelftestPlan{Writes: 2}, segmentOf(t, "1/2:1", "")); err != nil {
		t.Fatal(err)
	}
	header, writes, _ := readLedger(t, lab)
	if header.Segment != "1/2:1" || len(writes) != 2 || writes[0].ID != 1<<15<<stripeIDs+1 || writes[0].Op != ledger.Insert {
		t.Errorf("header %+v, writes %+v", header, writes)
	}
}
