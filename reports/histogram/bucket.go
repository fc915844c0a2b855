// Package histogram keeps the latencies of each stage, entity, operation and second in little room:
// ten million samples take less than five megabytes. Buckets are a sixteenth of an octave wide, so
// that a percentile is at most 3.2 per cent off; the exact percentiles of a whole Run stand in its
// stages. The package knows nothing of a Run. Start reading at Blocks, which records, then at Set,
// which is stored.
package histogram

import (
	"math"
	"math/bits"
	"slices"
)

// fine is the binary logarithm of the number of buckets in an octave. Latencies below 2<<fine
// microseconds have a bucket each.
const fine = 4

// LongestUs is the longest latency with a bucket, ten minutes, in microseconds.
const LongestUs = 600_000_000

// buckets is the number of all buckets.
var buckets = bucketOf(LongestUs) + 1

// bucketOf returns the bucket of a latency in microseconds, from 0 to LongestUs.
func bucketOf(us int64) int {
	if us < 2<<fine {
		return int(us)
	}
	shift := bits.Len64(uint64(us)) - fine - 1
	return shift<<fine + int(us>>shift)
}

// highestUs returns the longest latency in a bucket, in microseconds.
func highestUs(bucket int) int64 {
	if bucket < 2<<fine {
		return int64(bucket)
	}
	shift := bucket>>fine - 1
	lowest := int64(bucket-shift<<fine) << shift
	return lowest + 1<<shift - 1
}

// Count is how many samples a bucket has.
type Count struct {
	bucket int32
	n      int64
}

// middleMs returns the middle of the bucket in milliseconds.
func (c Count) middleMs() float64 {
	lowest := int64(0)
	if c.bucket > 0 {
		lowest = highestUs(int(c.bucket-1)) + 1
	}
	return float64(lowest+highestUs(int(c.bucket))) / 2e3
}

// Counts are the samples of a block, sorted by bucket.
type Counts []Count

// Plus returns the samples of both together.
func (c Counts) Plus(other Counts) Counts {
	merged := make(Counts, 0, len(c)+len(other))
	for len(c) > 0 && len(other) > 0 {
		switch a, b := c[0], other[0]; {
		case a.bucket < b.bucket:
			merged, c = append(merged, a), c[1:]
		case a.bucket > b.bucket:
			merged, other = append(merged, b), other[1:]
		default:
			merged = append(merged, Count{a.bucket, a.n + b.n})
			c, other = c[1:], other[1:]
		}
	}
	return slices.Clip(append(append(merged, c...), other...))
}

// Samples returns the number of samples.
func (c Counts) Samples() (n int64) {
	for _, one := range c {
		n += one.n
	}
	return n
}

// Percentile returns the latency in milliseconds that this share of the samples, in per cent, stays
// under; 0 without samples.
func (c Counts) Percentile(percent float64) float64 {
	rank := max(1, int64(math.Ceil(percent/100*float64(c.Samples()))))
	for _, one := range c {
		if rank -= one.n; rank <= 0 {
			return one.middleMs()
		}
	}
	return 0
}

// TotalMs returns the sum of all samples in milliseconds, each taken for the middle of its bucket.
func (c Counts) TotalMs() (total float64) {
	for _, one := range c {
		total += float64(one.n) * one.middleMs()
	}
	return total
}

// From returns the number of samples in the bucket of ms milliseconds and above.
func (c Counts) From(ms float64) (n int64) {
	bucket := int32(bucketOf(int64(max(0, min(ms*1e3, LongestUs)))))
	for _, one := range c {
		if one.bucket >= bucket {
			n += one.n
		}
	}
	return n
}
