package cdc

import (
	"fmt"
	"math/big"
	"strings"

	"go.k6.io/k6/lib"
)

const (
	// stripeBits is how finely segments are told apart: those of a test begin at least 1/65536 of
	// it apart from each other.
	stripeBits = 16
	// stripeIDs is 2 to the number of write IDs that a stripe has. With the stripes it stays below
	// 2^53, which JavaScript can hold.
	stripeIDs = 36
)

// stripe is the part of all keys, write IDs and random choices that one k6 process may use when
// several share a test (--execution-segment). It follows from where the segment begins, so that no
// two of a test have one, whether they were told of each other (--execution-segment-sequence) or not.
type stripe struct {
	// segment is k6's name of it, such as "1/2:1"; "" where the process runs the whole test.
	segment string
	// number is where it begins, in 1/65536 of the test.
	number int64
	isPart bool
	tuple  *lib.ExecutionTuple
}

func readStripe(options *lib.Options) (stripe, error) {
	segment := options.ExecutionSegment
	if segment == nil {
		return stripe{}, nil
	}
	name := segment.String()
	first, _, _ := strings.Cut(name, ":")
	begin, ok := new(big.Rat).SetString(first)
	if !ok {
		return stripe{}, fmt.Errorf("execution segment %q: cannot read where it begins", name)
	}
	tuple, err := lib.NewExecutionTuple(segment, options.ExecutionSegmentSequence)
	if err != nil {
		return stripe{}, fmt.Errorf("execution segment %q: %w", name, err)
	}
	if segment.FloatLength()*(1<<stripeBits) < 1 {
		return stripe{}, fmt.Errorf("execution segment %q: want at least 1/65536 of the test", name)
	}
	begin.Mul(begin, big.NewRat(1<<stripeBits, 1))
	number := new(big.Int).Quo(begin.Num(), begin.Denom()).Int64()
	return stripe{segment: name, number: number, isPart: true, tuple: tuple}, nil
}

// firstID is the smallest write ID of the stripe.
func (s stripe) firstID() int64 { return s.number<<stripeIDs + 1 }

// share is how many of n the stripe has; the stripes' shares add up to n.
func (s stripe) share(n int) int {
	if !s.isPart {
		return n
	}
	return int(s.tuple.ScaleInt64(int64(n)))
}
