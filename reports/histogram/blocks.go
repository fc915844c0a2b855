package histogram

import (
	"slices"
	"strings"
)

// Key names a series of histograms; empty names mean all.
type Key struct{ Stage, Entity, Operation string }

// MaxBlocks is the greatest number of blocks of a series. maxCounts is the greatest number of
// blocks and buckets in use of all series together, so that a Set has at most about five megabytes
// whatever was recorded.
const (
	MaxBlocks = 3600
	maxCounts = 8 << 20
)

// Blocks records latencies by Key and second, in bounded memory: when the series become too long
// or too many, two neighbouring blocks become one. Make Blocks with NewBlocks; Blocks are not safe
// for concurrent use.
type Blocks struct {
	series map[Key][]Counts
	// seconds is the length of a block, counts the number of blocks and of
	// buckets in use.
	seconds, counts int
}

// NewBlocks returns Blocks of a second each.
func NewBlocks() *Blocks { return &Blocks{series: map[Key][]Counts{}, seconds: 1} }

// Add records n samples of a latency in microseconds, intended in a second of the load. Seconds
// below 0 have no block, and latencies beyond LongestUs count as LongestUs.
func (b *Blocks) Add(key Key, second int, us int64, n int64) {
	if second < 0 || us < 0 || n <= 0 {
		return
	}
	for second/b.seconds >= MaxBlocks || b.counts >= maxCounts {
		b.halve()
	}
	series, at := b.series[key], second/b.seconds
	if missing := at + 1 - len(series); missing > 0 {
		series = append(series, make([]Counts, missing)...)
		b.series[key] = series
		b.counts += missing
	}
	bucket := int32(bucketOf(min(us, LongestUs)))
	place, found := slices.BinarySearchFunc(series[at], bucket,
		func(c Count, bucket int32) int { return int(c.bucket - bucket) })
	if found {
		series[at][place].n += n
		return
	}
	series[at] = slices.Insert(series[at], place, Count{bucket, n})
	b.counts++
}

// halve makes one block of each two.
func (b *Blocks) halve() {
	b.seconds, b.counts = 2*b.seconds, 0
	for key, series := range b.series {
		half := series[:0]
		for i := 0; i < len(series); i += 2 {
			block := series[i]
			if i+1 < len(series) {
				block = block.Plus(series[i+1])
			}
			half = append(half, block)
			b.counts += 1 + len(block)
		}
		clear(series[len(half):])
		b.series[key] = half
	}
}

// AddSet records the samples of a stored Set again, later by some seconds.
func (b *Blocks) AddSet(s *Set, later int) error {
	return s.Read(func(key Key, block int, counts Counts) {
		for _, c := range counts {
			b.Add(key, block*s.BlockSeconds+later, highestUs(int(c.bucket)), c.n)
		}
	})
}

// Set returns the samples as stored, sorted by Key.
func (b *Blocks) Set() Set {
	s := Set{BlockSeconds: b.seconds, Series: make([]Series, 0, len(b.series))}
	for key, series := range b.series {
		one := Series{Stage: key.Stage, Entity: key.Entity, Operation: key.Operation}
		one.Count, one.Blocks = encode(series)
		s.Series = append(s.Series, one)
	}
	slices.SortFunc(s.Series, func(a, b Series) int {
		return strings.Compare(a.Stage+"\x00"+a.Entity+"\x00"+a.Operation,
			b.Stage+"\x00"+b.Entity+"\x00"+b.Operation)
	})
	return s
}
