package histogram

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestBuckets: every latency lies in the bucket that bucketOf names, buckets follow each other
// without a gap, and none is wider than a sixteenth of its beginning.
func TestBuckets(t *testing.T) {
	t.Parallel()
	lowest := int64(0)
	for bucket := range buckets {
		highest := highestUs(bucket)
		if highest < lowest || bucketOf(lowest) != bucket || bucketOf(highest) != bucket {
			t.Fatalf("bucket %d is %d to %d us, of buckets %d and %d", bucket, lowest, highest,
				bucketOf(lowest), bucketOf(highest))
		}
		if 16*(highest-lowest) > lowest {
			t.Fatalf("bucket %d is %d us wide from %d us on", bucket, highest-lowest, lowest)
		}
		lowest = highest + 1
	}
}

type sample struct {
	key    Key
	second int
	us     int64
}

// TestBlocksAreStored: a stored Set has each sample in its second and bucket.
func TestBlocksAreStored(t *testing.T) {
	t.Parallel()
	samples := rapid.SliceOf(rapid.Custom(func(t *rapid.T) sample {
		return sample{Key{rapid.SampledFrom([]string{"e2e", "commit"}).Draw(t, "stage"),
			rapid.SampledFrom([]string{"order", "customer", ""}).Draw(t, "entity"), "insert"},
			rapid.IntRange(0, 50).Draw(t, "second"), rapid.Int64Range(0, 2*LongestUs).Draw(t, "us")}
	}))
	rapid.Check(t, func(t *rapid.T) {
		want := map[sample]int64{}
		blocks := NewBlocks()
		for _, s := range samples.Draw(t, "samples") {
			blocks.Add(s.key, s.second, s.us, 1)
			s.us = highestUs(bucketOf(min(s.us, LongestUs)))
			want[s]++
		}
		set := blocks.Set()
		if err := set.Check(); err != nil {
			t.Fatal(err)
		}
		again := NewBlocks()
		if err := again.AddSet(&set, 0); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(set, again.Set()); diff != "" {
			t.Fatal(diff)
		}
		got := map[sample]int64{}
		_ = set.Read(func(key Key, block int, counts Counts) {
			for _, c := range counts {
				got[sample{key, block, highestUs(int(c.bucket))}] = c.n
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestCounts compares percentile, sum and tail with the sorted samples.
func TestCounts(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	blocks, all := NewBlocks(), []float64{}
	for i := range 5000 {
		us := int64(3000 * math.Exp(random.NormFloat64()))
		blocks.Add(Key{"e2e", "order", "insert"}, i%3, us, 1)
		all = append(all, float64(us)/1e3)
	}
	slices.Sort(all)
	set := blocks.Set()
	var counts Counts
	for _, block := range set.Timelines()["e2e"] {
		counts = counts.Plus(block)
	}
	var total float64
	for _, ms := range all {
		total += ms
	}
	if n := counts.Samples(); n != 5000 {
		t.Errorf("%d samples", n)
	}
	if got := counts.TotalMs(); math.Abs(got-total) > total/100 {
		t.Errorf("in all %v ms, want about %v", got, total)
	}
	for _, percent := range []float64{1, 50, 95, 99, 100} {
		want := all[int(math.Ceil(percent/100*5000))-1]
		if got := counts.Percentile(percent); math.Abs(got-want) > want*0.032 {
			t.Errorf("p%v is %v, want %v", percent, got, want)
		}
	}
	if got := counts.From(counts.Percentile(99)); got > 75 || got < 50 {
		t.Errorf("%d samples from the p99 on, want 50 and some of the same bucket", got)
	}
	if p := (Counts{}).Percentile(50); p != 0 {
		t.Errorf("p50 of nothing is %v", p)
	}
}

// largeSet is the histograms of so many samples over so many seconds, of 4 stages, 4 entities and 3
// operations, as JSON.
func largeSet(t testing.TB, samples, seconds int) []byte {
	t.Helper()
	const stages = 4
	keys := make([]Key, 48)
	for i := range keys {
		keys[i] = Key{fmt.Sprint("stage", i%stages), fmt.Sprint("entity", i/stages%4),
			fmt.Sprint("operation", i/stages/4)}
	}
	random := rand.New(rand.NewPCG(1, 2))
	blocks := NewBlocks()
	for i := range samples {
		us := int64(float64(300*(1+4*(i%stages))) * math.Exp(0.5*random.NormFloat64()))
		blocks.Add(keys[i%len(keys)], int(int64(i)*int64(seconds)/int64(samples)), us, 1)
	}
	text, err := json.Marshal(blocks.Set())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// readSet reads and checks histograms, and counts the samples of one of the stages.
func readSet(t testing.TB, text []byte) (set Set, samples int64) {
	t.Helper()
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	if err := set.Check(); err != nil {
		t.Fatal(err)
	}
	for _, block := range set.Timelines()["stage3"] {
		samples += block.Samples()
	}
	return set, samples
}

// TestTenMillionSamples: the room of a large Run, of an even load in each second and of a thinner
// load over a day, whose blocks are longer.
func TestTenMillionSamples(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ samples, seconds, blockSeconds int }{
		"an hour": {10_000_000, 3600, 1}, "a day": {1_000_000, 86_400, 32},
	} {
		text := largeSet(t, c.samples, c.seconds)
		set, samples := readSet(t, text)
		if len(text) > 5_000_000 || samples != int64(c.samples/4) ||
			set.BlockSeconds != c.blockSeconds {
			t.Errorf("%s: %d bytes, %d samples, blocks of %d s", name, len(text), samples,
				set.BlockSeconds)
		}
	}
}

// BenchmarkReadTenMillion reads the histograms of 10 million samples over an hour; the
// specification of the run file allows 5 s.
func BenchmarkReadTenMillion(b *testing.B) {
	text := largeSet(b, 10_000_000, 3600)
	for b.Loop() {
		readSet(b, text)
	}
}

// packed is the text of a Series with these bytes.
func packed(t testing.TB, numbers ...byte) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(numbers); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func TestCheckNamesThePlace(t *testing.T) {
	t.Parallel()
	good := packed(t, 1, 8+1, 0, 2, 8+2, 16+1)
	for want, c := range map[string]struct {
		seconds int
		series  []Series
	}{
		"blockSeconds: got 3, want a power of two": {3, nil},
		"blockSeconds: got 0":                      {0, make([]Series, 1)},
		"blockSeconds: got 2097152":                {1 << 21, nil},
		"series[1]: a second one for {\"e2e\"": {1, []Series{{Stage: "e2e"},
			{Stage: "e2e"}}},
		"series[0].blocks: 4 samples, count is 5": {1, []Series{{Count: 5, Blocks: good}}},
		"series[0].blocks: block 0: illegal base64 data at input byte 0": {1,
			[]Series{{Blocks: "~~~~"}}},
		"series[0].blocks: block 3: unexpected EOF": {1, []Series{{Count: 4,
			Blocks: good[:len(good)-4]}}},
		"series[0].blocks: block 1: unexpected EOF": {1,
			[]Series{{Blocks: packed(t, 0, 2)}}},
		"series[0].blocks: block 0: bucket -1 and 0 more": {1,
			[]Series{{Blocks: packed(t, 1, 1)}}},
		"series[0].blocks: block 0: bucket -1 and 1000 mor": {1,
			[]Series{{Blocks: packed(t, 1, 0xc1, 0x3e)}}},
		"series[0].blocks: block 0: 2000 buckets, of": {1,
			[]Series{{Blocks: packed(t, 0xd0, 0x0f)}}},
		"series[0].blocks: block 0: count 3, want 8": {1, []Series{{
			Blocks: packed(t, 1, 8, 3)}}},
		"series[0].blocks: more than 3600 blocks": {1, []Series{{
			Blocks: packed(t, make([]byte, 3601)...)}}},
	} {
		err := (&Set{BlockSeconds: c.seconds, Series: c.series}).Check()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := (&Set{BlockSeconds: 1, Series: []Series{{Count: 4,
		Blocks: good}}}).Check(); err != nil {
		t.Error(err)
	}
}

// TestHostileSets: thousands of small texts that ask for much are refused in bounded memory.
func TestHostileSets(t *testing.T) {
	full := []byte{}
	for range MaxBlocks {
		full = append(append(full, 0x90, 0x03), bytes.Repeat([]byte{9}, 400)...)
	}
	late := append(make([]byte, MaxBlocks-1), 1, 9)
	for name, one := range map[string]Series{
		"full": {Count: MaxBlocks * 400, Blocks: packed(t, full...)},
		"late": {Count: 1, Blocks: packed(t, late...)},
	} {
		set := Set{BlockSeconds: 1}
		for i := range 20_000 {
			one.Entity = fmt.Sprint(i)
			set.Series = append(set.Series, one)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := set.Check(); err == nil || !strings.Contains(err.Error(), "in all series") {
			t.Errorf("%s: got %v", name, err)
		}
		blocks := NewBlocks()
		if err := blocks.AddSet(&set, 5); err == nil {
			t.Errorf("%s: was added", name)
		}
		runtime.ReadMemStats(&after)
		if grown := after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc); grown > 512<<20 {
			t.Errorf("%s: holds %d MB", name, grown>>20)
		}
	}
}

func FuzzBlocks(f *testing.F) {
	for _, numbers := range [][]byte{{1, 9}, {0, 2, 8, 200, 1, 17}, {}} {
		f.Add(numbers)
	}
	f.Fuzz(func(t *testing.T, numbers []byte) {
		set := Set{BlockSeconds: 1, Series: []Series{{Stage: "e2e", Blocks: packed(t, numbers...)}}}
		left := maxCounts
		samples, err := decode(set.Series[0].Blocks, &left, func(int, Counts) {})
		if err != nil {
			return
		}
		set.Series[0].Count = samples
		blocks := NewBlocks()
		if err := blocks.AddSet(&set, 0); err != nil {
			t.Fatalf("%v after a sound reading", err)
		}
		again := blocks.Set()
		if err := again.Check(); err != nil {
			t.Fatal(err)
		}
		for _, one := range again.Series {
			if one.Count != samples {
				t.Errorf("%d samples, stored again as %d", samples, one.Count)
			}
		}
	})
}
