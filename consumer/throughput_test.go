package consumer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/stack/nullmongo"
)

// The benchmarks take the consumer as a black box: a process of its own, between a Kafka and a
// MongoDB in this process. Three variables change the benchmarks:
//
//	CDCLAB_CONSUMER        a consumer program, instead of this tree's
//	CDCLAB_BENCH_FLAGS     more flags for the program
//	CDCLAB_BENCH_PROFILE   a file for the CPU profile of the first 15 s (flag --pprof)
const (
	benchPartitions = 4
	applyEvents     = 200_000
	profileSeconds  = 15
)

// BenchmarkApply reports events per second of CPU time, user and system, from a topic to a server
// that only acknowledges. The start is excluded: the broker holds the records back until the
// consumer is in its group. The tombstones, records of the log without an event, cost their share.
//
//	go test ./consumer -run '^$' -bench Apply
func BenchmarkApply(b *testing.B) {
	program := benchProgram(b)
	for _, schemas := range []string{"off", "on"} {
		b.Run("schemas="+schemas, func(b *testing.B) {
			k := newBenchKafka(b, benchPartitions)
			size := k.produce(b, newBenchLog(schemas == "on"), applyEvents)
			var total drained
			runs := 0
			for ; b.Loop(); runs++ {
				s := startNull(b)
				c := k.start(b, program, s.URI(), fmt.Sprint("apply-", runs))
				d := c.drain(b)
				d.wall = s.Counts().Last.Sub(d.began)
				c.settled(b, applyEvents)
				c.stop(b)
				total.add(d)
				b.ReportMetric(float64(s.Counts().Statements)/float64(s.Counts().Commands),
					"writes/command")
			}
			total.report(b, applyEvents*runs)
			b.ReportMetric(float64(size)/applyEvents, "B/event")
		})
	}
}

// startNull starts a server that only acknowledges.
func startNull(b *testing.B) *nullmongo.Server {
	b.Helper()
	s, err := nullmongo.Start()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s
}

// benchProgram is the consumer program, built from this tree unless the environment names a
// program.
func benchProgram(b *testing.B) string {
	b.Helper()
	if given := os.Getenv("CDCLAB_CONSUMER"); given != "" {
		return given
	}
	program := filepath.Join(b.TempDir(), "consumer")
	if text, err := exec.Command("go", "build", "-o", program,
		"./cmd/consumer").CombinedOutput(); err != nil {
		b.Fatalf("build the consumer: %v\n%s", err, text)
	}
	return program
}

// drained is the cost of a topic to a consumer.
type drained struct {
	cpuSeconds float64
	began      time.Time
	wall       time.Duration
	peakRSS    int64
}

func (d *drained) add(more drained) {
	d.cpuSeconds += more.cpuSeconds
	d.wall += more.wall
	d.peakRSS = max(d.peakRSS, more.peakRSS)
}

func (d *drained) report(b *testing.B, events int) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(events)/d.cpuSeconds, "events/s/core")
	b.ReportMetric(float64(events)/d.wall.Seconds(), "events/s")
	b.ReportMetric(float64(d.peakRSS)/(1<<20), "RSS-MiB")
}

// benchKafka is a broker in this process, able to hold back the records.
type benchKafka struct {
	cluster *kfake.Cluster
	admin   *kadm.Client
	client  *kgo.Client
	gate    atomic.Pointer[chan struct{}]
}

func newBenchKafka(b *testing.B, partitions int32) *benchKafka {
	b.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, benchTopic),
		kfake.SeedTopics(1, DefaultConfig().DeadLetterTopic))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cluster.Close)
	k := &benchKafka{cluster: cluster}
	cluster.ControlKey(1, func(kmsg.Request) (kmsg.Response, error, bool) {
		if gate := k.gate.Load(); gate != nil {
			cluster.SleepControl(func() { <-*gate })
		}
		return nil, nil, false
	})
	// As a Connect worker sends by default: batches of 16 KiB, not compressed, a key's records in a
	// single partition.
	k.client, err = kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchMaxBytes(16<<10),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(20_000))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(k.client.Close)
	k.admin = kadm.NewClient(k.client)
	return k
}

// produce appends so many events of the log and returns the bytes of their records.
func (k *benchKafka) produce(b *testing.B, log *benchLog, events int) (size int) {
	b.Helper()
	var failed atomic.Pointer[error]
	for range events {
		for _, r := range log.next() {
			size += len(r.Key) + len(r.Value)
			k.client.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
		}
	}
	if err := k.client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		b.Fatalf("produce the log: %v", *err)
	}
	return size
}

// behind is how many records of the topic the group has not committed yet.
func (k *benchKafka) behind(b *testing.B, group string) (lag int64) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), consumertest.Patience)
	defer cancel()
	committed := k.admin.FetchManyOffsets(ctx, group)
	for _, p := range k.cluster.PartitionInfos(benchTopic) {
		at, _ := committed[group].Fetched.Lookup(benchTopic, p.Partition)
		lag += p.HighWatermark - max(at.At, p.LogStartOffset)
	}
	return lag
}
