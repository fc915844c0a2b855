package tables

import (
	"fmt"
	"math/big"
	"strings"

	"go.k6.io/k6/lib"
)

const (
	// stripeBits is the resolution of segments: two segments of a test begin at least 1/65536 of
	// the test apart.
	stripeBits = 16
	// stripeIDs is the number of bits of a write ID within a stripe. With the stripe's bits, an ID
	// stays below 2^53, the bound of JavaScript's integers.
	stripeIDs = 36
)

// Stripe is the part of all keys, write IDs and random choices that one k6 process may use when
// several share a test (--execution-segment). The stripe follows from the segment's beginning, so
// that no two processes of a test share a stripe, with or without --execution-segment-sequence.
type Stripe struct {
	// Segment is k6's name of the segment, such as "1/2:1"; "" where the process runs the whole
	// test.
	Segment string
	// number is the segment's beginning in 1/65536 of the test: 32768 for "1/2:1".
	number int64
	isPart bool
	tuple  *lib.ExecutionTuple
}

// ReadStripe returns the stripe of the process with these options of k6.
func ReadStripe(options *lib.Options) (Stripe, error) {
	segment := options.ExecutionSegment
	if segment == nil {
		return Stripe{}, nil
	}
	name := segment.String()
	first, _, _ := strings.Cut(name, ":")
	begin, ok := new(big.Rat).SetString(first)
	if !ok {
		return Stripe{}, fmt.Errorf("execution segment %q: cannot read where it begins", name)
	}
	tuple, err := lib.NewExecutionTuple(segment, options.ExecutionSegmentSequence)
	if err != nil {
		return Stripe{}, fmt.Errorf("execution segment %q: %w", name, err)
	}
	if segment.FloatLength()*(1<<stripeBits) < 1 {
		return Stripe{}, fmt.Errorf("execution segment %q: want at least 1/65536 of the test", name)
	}
	begin.Mul(begin, big.NewRat(1<<stripeBits, 1))
	number := new(big.Int).Quo(begin.Num(), begin.Denom()).Int64()
	return Stripe{Segment: name, number: number, isPart: true, tuple: tuple}, nil
}

// firstID is the smallest write ID of the stripe.
func (s Stripe) firstID() int64 { return s.number<<stripeIDs + 1 }

// Share returns the stripe's part of n; the stripes' shares add up to n.
func (s Stripe) Share(n int) int {
	if !s.isPart {
		return n
	}
	return int(s.tuple.ScaleInt64(int64(n)))
}
