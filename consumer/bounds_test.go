package consumer

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// largeCustomer is a record of so many bytes.
func largeCustomer(id, bytes int) *kgo.Record {
	return consumertest.Record("customer", consumertest.Insert, id,
		consumertest.Columns("id", consumertest.UUID(id)), nil,
		consumertest.Columns("id", consumertest.UUID(id), "email", "a@x.org", "status", "active",
			"updated_at", "2026-11-22T07:55:47Z", "lab_version", int64(1),
			"note", strings.Repeat("x", bytes)))
}

// TestHeldBytes: the queues of a process hold a number of bytes together, a partition with little
// goes on, and whatever ends gives the room back.
func TestHeldBytes(t *testing.T) {
	t.Parallel()
	config := quietConfig()
	config.HeldMaxBytes = 1 << 20
	c, err := newConsumer(config, documents.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	paused := map[*partition]bool{}
	partitionOf := func(number int32) *partition {
		p := c.newPartition("cdc.public.customer", number, nil)
		p.pause, p.resume = func() { paused[p] = true }, func() { paused[p] = false }
		return p
	}
	flood, little := partitionOf(0), partitionOf(1)
	for i := 0; !paused[flood]; i++ {
		if i > 20 {
			t.Fatal("20 records of 100 kB are held, and the fetching goes on")
		}
		flood.pushRecords([]*kgo.Record{largeCustomer(i+1, 100_000)}, consumertest.Time)
	}
	little.pushRecords([]*kgo.Record{largeCustomer(99, 1000)}, consumertest.Time)
	if paused[little] {
		t.Error("a partition that holds little is paused by the flood of another")
	}
	if held := consumertest.ValueOf(t, c.metrics.Held); held < 1<<20 || held > 3<<20/2 {
		t.Errorf("%v bytes are held, want about 1 MiB", held)
	}
	batch := flood.takeBatch()
	if !paused[flood] {
		t.Error("the fetching goes on while the batch under way fills the room")
	}
	flood.letGo(batch)
	if flood.takeBatch() != nil || paused[flood] {
		t.Error("the fetching stays paused with nothing held")
	}
	c.shared.Room().Add(1000) // as parking does, apart from any batch
	if held := consumertest.ValueOf(t, c.metrics.Held); held < 2000 {
		t.Errorf("%v bytes are shown, without those parked since the last batch", held)
	}
	c.shared.Room().Add(-1000)
	little.letGoAll()
	if held := consumertest.ValueOf(t, c.metrics.Held); held != 0 {
		t.Errorf("%v bytes are held in the end", held)
	}
}

// bombs writes records, each in a batch of its own compressed by zstd, to partition 0 of the
// customers.
func (l *kafkaLab) bombs(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	l.compressed(t, kgo.ProducerBatchCompression(kgo.ZstdCompression()), records...)
}

// compressed writes records, each in a batch of its own, to partition 0 of the customers.
func (l *kafkaLab) compressed(t *testing.T, compression kgo.Opt, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Cluster.ListenAddrs()...),
		kgo.ProducerBatchMaxBytes(96<<20), compression,
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, r := range records {
		r.Partition = 0
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// breaker is a compressor whose large batches are no compressed text of their codec.
type breaker struct{ codec kgo.CompressionCodecType }

func (b breaker) Compress(_ *bytes.Buffer, src []byte, _ ...kgo.CompressFlag) ([]byte,
	kgo.CompressionCodecType) {
	if len(src) < 1<<20 {
		return src, kgo.CodecNone
	}
	return bytes.Repeat([]byte{0xff}, 1000), b.codec
}

// TestBombIsSeen: a batch that decompresses to more than the bound blocks the partition of the
// batch alone, by any codec, and so does a batch of noise. The metrics and /readyz say so.
func TestBombIsSeen(t *testing.T) {
	t.Parallel()
	for codec, compression := range map[string]kgo.Opt{
		"gzip":          kgo.ProducerBatchCompression(kgo.GzipCompression()),
		"snappy":        kgo.ProducerBatchCompression(kgo.SnappyCompression()),
		"lz4":           kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		"zstd":          kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		"broken gzip":   kgo.WithCompressor(breaker{kgo.CodecGzip}),
		"broken snappy": kgo.WithCompressor(breaker{kgo.CodecSnappy}),
		"broken lz4":    kgo.WithCompressor(breaker{kgo.CodecLz4}),
		"broken zstd":   kgo.WithCompressor(breaker{kgo.CodecZstd}),
	} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			lab := newKafkaLab(t)
			lab.config.FetchMaxBytes, lab.config.RecordMaxBytes = 1<<20, 1<<20
			lab.compressed(t, compression, largeCustomer(1, 1000), largeCustomer(2, 8<<20),
				largeCustomer(3, 1000))
			seesBomb(t, lab)
		})
	}
}

func seesBomb(t *testing.T, lab *kafkaLab) {
	s := documents.NewMemory()
	lab.config.ListenFile = filepath.Join(t.TempDir(), "address")
	r := lab.run(t, s)
	consumertest.Eventually(t, "the partition shows as blocked", func() bool {
		return consumertest.ValueOf(t, r.metrics.Blocked) == 1
	})
	address, err := os.ReadFile(lab.config.ListenFile)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get("http://" + strings.TrimSpace(string(address)) + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusServiceUnavailable ||
		!bytes.Contains(body, []byte("cdc.public.customer/0")) {
		t.Errorf("/readyz: %d %s %v", response.StatusCode, body, err)
	}
	if n := consumertest.ValueOf(t, r.metrics.Retries.WithLabelValues("kafka")); n > 100 {
		t.Errorf("the batch is fetched %v times: healthy partitions pay for that", n)
	}
	lab.Produce(t, consumertest.Record("order", consumertest.Insert, 9,
		consumertest.Columns("id", consumertest.UUID(9)), nil,
		consumertest.Columns("id", consumertest.UUID(9), "status", "pending")))
	consumertest.Eventually(t, "other partitions go on", func() bool {
		return r.sum(t, telemetry.OutcomeApplied)+r.sum(t, telemetry.OutcomeDeadLetter) == 2
	})
	if consumertest.ReadDocument(s, "customers", consumertest.UUID(3)) != nil {
		t.Error("a record behind the blocking batch was written: its offset would be committed")
	}
}

// TestManyBombs: batches that together decompress to many times the bound come one after the other.
func TestManyBombs(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	lab.config.FetchMaxBytes, lab.config.RecordMaxBytes = 1<<20, 1<<20
	lab.config.HeldMaxBytes = 1 << 20
	var records []*kgo.Record
	for n := range 40 {
		records = append(records, largeCustomer(n+1, 700_000))
	}
	lab.bombs(t, records...)
	lab.run(t, s)
	consumertest.Eventually(t, "all are committed", func() bool { return lab.lag(t) == 0 })
	for n := range records {
		if consumertest.ReadDocument(s, "customers", consumertest.UUID(n+1)) == nil {
			t.Errorf("customer %d is missing", n+1)
		}
	}
}

// TestLetterOfTheLargestRecord: the record of the largest batch becomes a dead letter, although the
// letter is larger than the record.
func TestLetterOfTheLargestRecord(t *testing.T) {
	t.Parallel()
	lab, s := newKafkaLab(t), documents.NewMemory()
	largest := largeCustomer(1, 0)
	largest.Value = bytes.Repeat([]byte("x"), lab.config.FetchMaxBytes-300)
	lab.bombs(t, largest, largeCustomer(2, 1000))
	r := lab.run(t, s)
	consumertest.Eventually(t, "the record is a dead letter, and the next one is written",
		func() bool {
			return r.sum(t, telemetry.OutcomeDeadLetter) == 1 &&
				consumertest.ReadDocument(s, "customers", consumertest.UUID(2)) != nil
		})
}
