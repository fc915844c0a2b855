package histogram

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Set is the stored form of Blocks.
type Set struct {
	// BlockSeconds is the length of each block in seconds: 1, or a power of two in a long Run; 0
	// without any series.
	BlockSeconds int      `json:"blockSeconds"`
	Series       []Series `json:"series"`
}

// Series are the histograms of one stage, entity and operation, a histogram for each block.
type Series struct {
	Stage     string `json:"stage"`
	Entity    string `json:"entity"`
	Operation string `json:"operation"`
	// Count is the number of samples in all blocks.
	Count int64 `json:"count"`
	// Blocks is base64 of a raw DEFLATE stream of unsigned varints. Each block begins with the
	// number of its buckets in use. Each bucket is the distance d to the bucket before (the first:
	// to -1) and the count n, as 8d+n for n from 1 to 7, else as 8d followed by n. Bucket b below
	// 32 is b microseconds; above, with s = b/16-1, b is the 2^s microseconds from (b-16s)*2^s on.
	Blocks string `json:"blocks"`
}

// smallCount is the first count that needs a number of its own.
const smallCount = 8

// maxSamples is the greatest number of samples of a bucket: more than a week of the fastest load.
const maxSamples = 1 << 39

// maxBlockSeconds is the greatest length of a block.
const maxBlockSeconds = 1 << 20

// encode returns the number of samples and the text of Series.Blocks.
func encode(series []Counts) (samples int64, text string) {
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestCompression) // the level is right
	var row []byte
	for _, block := range series {
		row = binary.AppendUvarint(row[:0], uint64(len(block)))
		last := int32(-1)
		for _, c := range block {
			token := smallCount * uint64(c.bucket-last)
			if c.n < smallCount {
				row = binary.AppendUvarint(row, token+uint64(c.n))
			} else {
				row = binary.AppendUvarint(binary.AppendUvarint(row, token), uint64(c.n))
			}
			last, samples = c.bucket, samples+int64(c.n)
		}
		_, _ = w.Write(row) // into memory
	}
	_ = w.Close()
	return samples, base64.StdEncoding.EncodeToString(packed.Bytes())
}

// Check reads the whole Set and returns an error with the place of the first thing that cannot be,
// such as "series[3].blocks: block 17: bucket 400 and 9 more, of 404". Check keeps nothing of what
// it reads.
func (s *Set) Check() error {
	if s.BlockSeconds == 0 && len(s.Series) == 0 {
		return nil
	}
	if n := s.BlockSeconds; n < 1 || n > maxBlockSeconds || n&(n-1) != 0 {
		return fmt.Errorf("blockSeconds: got %d, want a power of two up to %d", n, maxBlockSeconds)
	}
	seen := map[Key]bool{}
	for i, one := range s.Series {
		key := Key{one.Stage, one.Entity, one.Operation}
		if seen[key] {
			return fmt.Errorf("series[%d]: a second one for %q", i, key)
		}
		seen[key] = true
	}
	return s.Read(func(Key, int, Counts) {})
}

// Read calls each for every block with samples, in the order of the Set; the counts are valid until
// each returns. See Check for the errors.
func (s *Set) Read(each func(key Key, block int, counts Counts)) error {
	left := maxCounts
	for i := range s.Series {
		one := &s.Series[i]
		key := Key{one.Stage, one.Entity, one.Operation}
		samples, err := decode(one.Blocks, &left, func(block int, counts Counts) {
			each(key, block, counts)
		})
		if err != nil {
			return fmt.Errorf("series[%d].blocks: %w", i, err)
		}
		if samples != one.Count {
			return fmt.Errorf("series[%d].blocks: %d samples, count is %d", i, samples, one.Count)
		}
	}
	return nil
}

// decode reads the text of Series.Blocks. left is how many buckets may still be read: a hostile
// text of a few bytes may ask for many.
func decode(text string, left *int, each func(block int, counts Counts)) (int64, error) {
	packed := base64.NewDecoder(base64.StdEncoding.Strict(), strings.NewReader(text))
	r := bufio.NewReader(flate.NewReader(packed))
	var samples int64
	counts := make(Counts, 0, 64)
	for block := 0; ; block++ {
		size, err := binary.ReadUvarint(r)
		switch {
		case errors.Is(err, io.EOF):
			return samples, nil
		case err != nil:
			return 0, fmt.Errorf("block %d: %w", block, err)
		case block == MaxBlocks:
			return 0, fmt.Errorf("more than %d blocks", MaxBlocks)
		case size > uint64(buckets):
			return 0, fmt.Errorf("block %d: %d buckets, of %d", block, size, buckets)
		case int(size) >= *left:
			return 0, fmt.Errorf("block %d: more than %d blocks and buckets in all series", block,
				maxCounts)
		}
		*left -= 1 + int(size)
		if counts, err = readBlock(r, counts[:0], int(size)); err != nil {
			return 0, fmt.Errorf("block %d: %w", block, err)
		}
		for _, c := range counts {
			samples += int64(c.n)
		}
		if len(counts) > 0 {
			each(block, counts)
		}
	}
}

func readBlock(r io.ByteReader, counts Counts, size int) (Counts, error) {
	bucket := -1
	for range size {
		token, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, whole(err)
		}
		n := token % smallCount
		if n == 0 {
			if n, err = binary.ReadUvarint(r); err != nil {
				return nil, whole(err)
			}
			if n < smallCount || n > maxSamples {
				return nil, fmt.Errorf("count %d, want %d to %d", n, smallCount,
					int64(maxSamples))
			}
		}
		distance := token / smallCount
		if distance < 1 || distance > uint64(buckets-1-bucket) {
			return nil, fmt.Errorf("bucket %d and %d more, of %d", bucket, distance, buckets)
		}
		bucket += int(distance)
		counts = append(counts, Count{int32(bucket), int64(n)})
	}
	return counts, nil
}

// whole names an end within a block.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Timelines returns the samples of each stage by block, of all entities and operations together.
// The Set must have passed Check.
func (s *Set) Timelines() map[string][]Counts {
	all := map[string][]Counts{}
	_ = s.Read(func(key Key, block int, counts Counts) {
		stage := all[key.Stage]
		if missing := block + 1 - len(stage); missing > 0 {
			stage = append(stage, make([]Counts, missing)...)
			all[key.Stage] = stage
		}
		stage[block] = stage[block].Plus(counts)
	})
	return all
}
