package consumer

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/shirou/gopsutil/v4/process"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/stack/nullmongo"
)

// The benchmarks take the consumer as a black box: a process of its own, between a Kafka and a
// MongoDB in this one. These change what they measure:
//
//	CDCLAB_CONSUMER        a consumer program, instead of this tree's
//	CDCLAB_BENCH_FLAGS     more flags for it
//	CDCLAB_BENCH_PROFILE   a file for the CPU profile of its first 15 s (flag --pprof)
const (
	benchPartitions = 4
	applyEvents     = 200_000
	profileSeconds  = 15
)

// BenchmarkApply: events per second of CPU time, user and system, from a topic to a server that
// only acknowledges. The start is excluded: the broker holds its records back until the consumer is
// in its group. Records of the log that are no events, the tombstones, cost their share.
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
				b.ReportMetric(float64(s.Counts().Statements)/float64(s.Counts().Commands), "writes/command")
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

// benchProgram is the consumer program, built from this tree unless one is given.
func benchProgram(b *testing.B) string {
	b.Helper()
	if given := os.Getenv("CDCLAB_CONSUMER"); given != "" {
		return given
	}
	program := filepath.Join(b.TempDir(), "consumer")
	if text, err := exec.Command("go", "build", "-o", program, "./cmd/consumer").CombinedOutput(); err != nil {
		b.Fatalf("build the consumer: %v\n%s", err, text)
	}
	return program
}

// drained is what a consumer needed for a topic.
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

// benchKafka is a broker in this process that can hold its records back.
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
	// As a Connect worker sends by default: batches of 16 KiB, not compressed, a key's records in
	// one partition.
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
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	committed := k.admin.FetchManyOffsets(ctx, group)
	for _, p := range k.cluster.PartitionInfos(benchTopic) {
		at, _ := committed[group].Fetched.Lookup(benchTopic, p.Partition)
		lag += p.HighWatermark - max(at.At, p.LogStartOffset)
	}
	return lag
}

// benchChild is a consumer process that is in its group and to which the broker gives no records
// until open is called.
type benchChild struct {
	kafka   *benchKafka
	group   string
	command *exec.Cmd
	process *process.Process
	address string
	output  bytes.Buffer
	ended   chan error
	open    func()
}

func (k *benchKafka) start(b *testing.B, program, uri, group string, flags ...string) *benchChild {
	b.Helper()
	gate := make(chan struct{})
	k.gate.Store(&gate)
	c := &benchChild{kafka: k, group: group, ended: make(chan error, 1),
		open: func() { k.gate.Store(nil); close(gate) }}
	listen := filepath.Join(b.TempDir(), group+".address")
	args := append([]string{"--brokers", strings.Join(k.cluster.ListenAddrs(), ","), "--group", group,
		"--database", group, "--log-level", "warn", "--listen-file", listen}, flags...)
	args = append(args, strings.Fields(os.Getenv("CDCLAB_BENCH_FLAGS"))...)
	if os.Getenv("CDCLAB_BENCH_PROFILE") != "" {
		args = append(args, "--pprof")
	}
	c.command = exec.Command(program, args...)
	c.command.Env = append(os.Environ(), "CDC_CONSUMER_MONGO_URI="+uri)
	c.command.Stderr = &c.output
	if err := c.command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.command.Process.Kill() })
	go func() { c.ended <- c.command.Wait() }()
	var err error
	if c.process, err = process.NewProcess(int32(c.command.Process.Pid)); err != nil {
		b.Fatal(err)
	}
	c.until(b, "ready", time.Minute, func() bool {
		text, _ := os.ReadFile(listen)
		c.address = strings.TrimSpace(string(text))
		answer, err := http.Get("http://" + c.address + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return c
}

// until fails the benchmark when the process ends, or the time, before the condition holds.
func (c *benchChild) until(b *testing.B, what string, limit time.Duration, holds func() bool) {
	b.Helper()
	deadline := time.After(limit)
	for tick := time.Tick(10 * time.Millisecond); !holds(); {
		select {
		case <-tick:
		case err := <-c.ended:
			b.Fatalf("the consumer ended before it was %s: %v\n%s", what, err, c.said())
		case <-deadline:
			b.Fatalf("the consumer is not %s after %v\n%s", what, limit, c.said())
		}
	}
}

// catchUp waits until the group is at most so many records behind, and returns the largest RSS that
// it saw. A consumer that stands still fails the benchmark.
func (c *benchChild) catchUp(b *testing.B, most int64) (peakRSS int64) {
	b.Helper()
	lag, moved := int64(-1), time.Now()
	c.until(b, "through the topic", 10*time.Minute, func() bool {
		peakRSS = max(peakRSS, c.rss(b))
		now := c.kafka.behind(b, c.group)
		if now != lag {
			lag, moved = now, time.Now()
		} else if now > most && time.Since(moved) > patience {
			b.Fatalf("the consumer stands still, %d records behind\n%s", now, c.said())
		}
		return now <= most
	})
	return peakRSS
}

// drain opens the broker and waits until the group has committed all of the topic.
func (c *benchChild) drain(b *testing.B) drained {
	b.Helper()
	before := c.cpuSeconds(b)
	profiled := c.profile(b)
	d := drained{began: time.Now()}
	c.open()
	d.peakRSS = c.catchUp(b, 0)
	d.wall, d.cpuSeconds = time.Since(d.began), c.cpuSeconds(b)-before
	d.peakRSS = max(d.peakRSS, c.highWater())
	<-profiled
	return d
}

func (c *benchChild) cpuSeconds(b *testing.B) float64 {
	b.Helper()
	times, err := c.process.Times()
	if err != nil {
		b.Fatalf("read the consumer's CPU time: %v", err)
	}
	return times.User + times.System
}

func (c *benchChild) rss(b *testing.B) int64 {
	b.Helper()
	memory, err := c.process.MemoryInfo()
	if err != nil {
		b.Fatalf("read the consumer's memory: %v", err)
	}
	return int64(memory.RSS)
}

// highWater is the kernel's own peak of the RSS, 0 where there is no /proc.
func (c *benchChild) highWater() (bytes int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.process.Pid))
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}

// profile stores the CPU profile of the seconds from now, where one is asked for.
func (c *benchChild) profile(b *testing.B) <-chan struct{} {
	done := make(chan struct{})
	path := os.Getenv("CDCLAB_BENCH_PROFILE")
	if path == "" {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		answer, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.address, profileSeconds))
		if err != nil {
			b.Errorf("profile the consumer: %v", err)
			return
		}
		defer answer.Body.Close()
		var profile bytes.Buffer
		if _, err := profile.ReadFrom(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			b.Errorf("profile the consumer: %s, %v", answer.Status, err)
			return
		}
		name := strings.NewReplacer("/", "-", "=", "-").Replace(b.Name())
		if err := os.WriteFile(path+"."+name, profile.Bytes(), 0o644); err != nil {
			b.Error(err)
		}
	}()
	return done
}

func (c *benchChild) metrics(b *testing.B) map[string]*dto.MetricFamily {
	b.Helper()
	answer, err := http.Get("http://" + c.address + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		b.Fatalf("read the consumer's metrics: %v", err)
	}
	return families
}

// settled fails the benchmark unless each event met its end, and none as a dead letter: a consumer
// that drops events is fast.
func (c *benchChild) settled(b *testing.B, want int) {
	b.Helper()
	families := c.metrics(b)
	ends := map[string]int{}
	sum := 0
	for _, m := range families[MetricEvents].GetMetric() {
		for _, l := range m.GetLabel() {
			if n := int(m.GetCounter().GetValue()); l.GetName() == "outcome" {
				ends[l.GetValue()] += n
				sum += n
			}
		}
	}
	if said := c.said(); said != "" {
		b.Logf("the consumer's log ends:\n%s", said)
	}
	if sum != want || ends[OutcomeDeadLetter] != 0 {
		b.Fatalf("%d events met an end, want %d and no dead letter: %v\n%s", sum, want, ends, c.said())
	}
}

// said is the end of the consumer's log.
func (c *benchChild) said() string {
	lines := strings.Split(strings.TrimSpace(c.output.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func (c *benchChild) stop(b *testing.B) {
	b.Helper()
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	select {
	case err := <-c.ended:
		if err != nil {
			b.Fatalf("the consumer ended with %v\n%s", err, c.said())
		}
	case <-time.After(patience):
		b.Fatalf("the consumer does not end\n%s", c.said())
	}
}
