package kafka

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestInflater: a fetch decompresses to a bound, a batch to the same bound, and a poll begins anew.
func TestInflater(t *testing.T) {
	t.Parallel()
	const max = 1 << 20
	compressor, err := kgo.DefaultCompressor(kgo.ZstdCompression())
	if err != nil {
		t.Fatal(err)
	}
	compressed := func(bytesLong int) []byte {
		packed, _ := compressor.Compress(new(bytes.Buffer), make([]byte, bytesLong))
		return packed
	}
	half := compressed(max / 2)
	i, err := NewInflater(max)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for n := range 4 {
			out, err := i.Decompress(half, kgo.CodecZstd)
			if full := n >= 2; full != errors.Is(err, ErrNoRoom) || !full && len(out) != max/2 {
				t.Errorf("batch %d of a fetch: %d bytes, %v", n, len(out), err)
			}
		}
		if out, err := i.Decompress(half, kgo.CodecNone); err != nil || len(out) != len(half) {
			t.Errorf("a batch that is not compressed: %v", err)
		}
		i.Polled()
	}
}

// TestInflaterRefuses: a batch beyond the bound, and a broken batch, end the fetching of the
// partition, by every codec.
func TestInflaterRefuses(t *testing.T) {
	t.Parallel()
	const max = 1 << 20
	for number, codec := range map[kgo.CompressionCodecType]kgo.CompressionCodec{
		kgo.CodecGzip: kgo.GzipCompression(), kgo.CodecSnappy: kgo.SnappyCompression(),
		kgo.CodecLz4: kgo.Lz4Compression(), kgo.CodecZstd: kgo.ZstdCompression()} {
		compressor, err := kgo.DefaultCompressor(codec)
		if err != nil {
			t.Fatal(err)
		}
		i, err := NewInflater(max)
		if err != nil {
			t.Fatal(err)
		}
		bomb, _ := compressor.Compress(new(bytes.Buffer), make([]byte, 8*max))
		sound, _ := compressor.Compress(new(bytes.Buffer), bytes.Repeat([]byte("sound"), 1000))
		for what, batch := range map[string][]byte{"a bomb": bomb,
			"a bomb behind another batch": append(slices.Clone(sound), bomb...),
			"half a batch":                sound[:len(sound)/2],
			"noise":                       bytes.Repeat([]byte{0xff}, 1000)} {
			i.Polled()
			if out, err := i.Decompress(batch, number); !errors.Is(err, kgo.ErrMaxDecompress) {
				t.Errorf("%s of codec %d: %d bytes, %v", what, number, len(out), err)
			}
		}
	}
}
