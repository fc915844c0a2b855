package kafka

import (
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrNoRoom is a fetch's error of a partition whose batches wait for the next fetch, because the
// batches before fill the Inflater.
var ErrNoRoom error = noRoom{}

type noRoom struct{}

func (noRoom) Error() string { return "the batches of the fetch decompress to more than its bound" }

// Reason is the label of the metric of retries.
func (noRoom) Reason() string { return "memory" }

// Inflater decompresses fetched batches: each to at most a number of bytes, and all since the last
// poll together to at most twice the number for each broker. A broker sends a compressed megabyte
// at a time, and a megabyte of zeros takes some hundred bytes. An Inflater is safe for concurrent
// use.
type Inflater struct {
	kgo.Decompressor
	max int

	mu    sync.Mutex
	bytes int // since the last poll
}

// NewInflater returns the Inflater of a client. max is in bytes; a batch beyond max, and a
// broken one, is an error of the type *kgo.ErrDecompressTooLarge.
func NewInflater(max int) (*Inflater, error) {
	// Only a client makes a bounded decompressor. The client connects to no broker.
	client, err := kgo.NewClient(kgo.MaxDecompressBatchBytes(max))
	if err != nil {
		return nil, fmt.Errorf("bound the decompression: %w", err)
	}
	defer client.Close()
	bounded, is := client.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	if !is {
		return nil, errors.New("bound the decompression: the client has no decompressor")
	}
	return &Inflater{Decompressor: bounded, max: max}, nil
}

// brokenBatch is the error of bytes that are nothing of their codec. The client fetches nothing
// more of such a partition, as behind a batch beyond the bound: the batch's checksum is right, so
// that the next fetch would fail the same way, some thousand times a second.
type brokenBatch struct{ error }

func (brokenBatch) Is(target error) bool { return target == kgo.ErrMaxDecompress }

// Decompress is kgo's, or ErrNoRoom. The client takes each other error for kgo.ErrMaxDecompress.
func (i *Inflater) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec == kgo.CodecNone {
		return src, nil
	}
	if i.addBytes(0) >= i.max {
		return nil, ErrNoRoom
	}
	out, err := i.Decompressor.Decompress(src, codec)
	i.addBytes(len(out))
	if err != nil {
		return nil, brokenBatch{err}
	}
	return out, nil
}

func (i *Inflater) addBytes(n int) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.bytes += n
	return i.bytes
}

// Polled says that everything decompressed so far was polled.
func (i *Inflater) Polled() {
	i.mu.Lock()
	i.bytes = 0
	i.mu.Unlock()
}
