package consumer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

const (
	healthyTopics = 3
	healthyEvery  = 10 * time.Millisecond // a record of each healthy topic
	hostileRate   = 256 << 10             // bytes a second, before compression
	hostilePhase  = 10 * time.Second
	unreadTopic   = "unread"  // of no consumer
	hostileRSSMax = 512 << 20 // as consumer/README.md says
)

// BenchmarkHostileTopics: a consumer process has healthy topics and a topic of every kind of
// hostile record, with names of 10,000 tables and compressed bombs. By turns the hostile records go
// to that topic and to a topic of nobody, because the work of the generator and of the broker must
// be equal. The benchmark fails when the process ends, its RSS passes hostileRSSMax, a healthy
// record is lost, or the 95th percentile of a healthy partition is more than a tenth above that of
// the clean turns. CDCLAB_HOSTILE says for how long, two minutes where not given.
//
//	CDCLAB_HOSTILE=30m go test ./consumer -run '^$' -bench HostileTopics -timeout 60m
func BenchmarkHostileTopics(b *testing.B) {
	length := 2 * time.Minute
	if text := os.Getenv("CDCLAB_HOSTILE"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			b.Fatalf("CDCLAB_HOSTILE: %v", err)
		}
	}
	k := newBenchKafka(b, 1)
	if _, err := k.admin.DeleteTopic(b.Context(), DefaultConfig().DeadLetterTopic); err != nil {
		b.Fatal(err) // so that the consumer makes the topic, for large letters
	}
	s := startNull(b)
	k.createTopic(b, unreadTopic)
	h := newHealthy(b, k)
	s.Watch(h.written)
	c := k.start(b, benchProgram(b), s.URI(), "hostile", "--topic-tables", benchTopic+"=public.*")
	c.open()
	hostile := newHostileSource(b, k)
	peak := int64(0)
	began := time.Now()
	for turn := 0; time.Since(began) < length || turn%2 == 1; turn++ {
		h.begin(turn%2 == 1)
		h.produceFor(b, hostilePhase, func(sent time.Duration) {
			hostile.sendUntil(sent, turn%2 == 1)
			peak = max(peak, c.rss(b))
		})
		sent := h.count() + hostile.records
		c.until(b, "through the topics", time.Minute, func() bool {
			return c.hasSettled(b, sent)
		})
		k.forget(b, c.group)
		end := k.cluster.PartitionInfo(unreadTopic, 0).HighWatermark
		if err := k.cluster.DeleteRecords(unreadTopic, 0, end); err != nil {
			b.Fatal(err)
		}
	}
	peak = max(peak, c.highWater())
	h.report(b)
	b.Logf("%d hostile records of %d MiB in %v, %v; the RSS reached %d MiB", hostile.records,
		hostile.bytes>>20, time.Since(began).Round(time.Second), outcomesOf(c.metrics(b)), peak>>20)
	if !h.isDone() {
		b.Error("a healthy record is lost")
	}
	c.stop(b)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(peak)/(1<<20), "RSS-MiB")
	if peak > hostileRSSMax {
		b.Errorf("the RSS reached %d MiB, at most %d", peak>>20, hostileRSSMax>>20)
	}
}

func (k *benchKafka) createTopic(b *testing.B, name string) {
	b.Helper()
	if _, err := k.admin.CreateTopic(b.Context(), 1, 1, nil, name); err != nil {
		b.Fatal(err)
	}
}

// healthy are topics of one partition each, with their records' latencies from the sending to the
// write.
type healthy struct {
	kafka *benchKafka
	logs  []*benchLog

	mu      sync.Mutex
	attack  bool
	sent    [healthyTopics][]time.Time // on their way, in order
	latency [2][healthyTopics][]time.Duration
}

func healthyTable(n int) string { return fmt.Sprint("healthy", n) }

func newHealthy(b *testing.B, k *benchKafka) *healthy {
	h := &healthy{kafka: k}
	for n := range healthyTopics {
		k.createTopic(b, "cdc.public."+healthyTable(n))
		h.logs = append(h.logs, newBenchLog(false))
	}
	return h
}

// insertInto is an insert into a table beside the log's.
func (g *benchLog) insertInto(table string) *kgo.Record {
	g.made++
	g.events++
	return &kgo.Record{Topic: "cdc.public." + table, Headers: benchHeaders,
		Timestamp: time.UnixMilli(g.committedMs() + 100),
		Key:       g.wrapped(benchKeySchema, `{"id":"`+benchID(g.made)+`"}`),
		Value: bytes.Replace(g.value('c', g.made), []byte(`"table":"`+benchTable),
			[]byte(`"table":"`+table), 1)}
}

func (h *healthy) begin(attack bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attack = attack
}

// produceFor sends a record to each topic each healthyEvery, and calls meanwhile with the time
// since the beginning.
func (h *healthy) produceFor(b *testing.B, length time.Duration,
	meanwhile func(since time.Duration)) {
	b.Helper()
	began := time.Now()
	for tick := time.NewTicker(healthyEvery); time.Since(began) < length; <-tick.C {
		for n, log := range h.logs {
			r := log.insertInto(healthyTable(n))
			h.mu.Lock()
			h.sent[n] = append(h.sent[n], time.Now())
			h.mu.Unlock()
			h.kafka.client.Produce(context.Background(), r, nil)
		}
		meanwhile(time.Since(began))
	}
}

// written notes the writes that reach the server. Rows are written in the order of their records.
func (h *healthy) written(collection string, statements int) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := range h.sent {
		if collection != healthyTable(n) {
			continue
		}
		statements = min(statements, len(h.sent[n]))
		for _, at := range h.sent[n][:statements] {
			of := &h.latency[0][n]
			if h.attack {
				of = &h.latency[1][n]
			}
			*of = append(*of, now.Sub(at))
		}
		h.sent[n] = h.sent[n][statements:]
	}
}

// count is the number of records sent.
func (h *healthy) count() (n int) {
	for _, log := range h.logs {
		n += int(log.made)
	}
	return n
}

func (h *healthy) isDone() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !slices.ContainsFunc(h.sent[:], func(s []time.Time) bool { return len(s) > 0 })
}

func (h *healthy) report(b *testing.B) {
	b.Helper()
	percentile := func(of []time.Duration, p int) float64 {
		slices.Sort(of)
		return float64(of[len(of)*p/100]) / 1e6
	}
	for n := range healthyTopics {
		clean, attacked := h.latency[0][n], h.latency[1][n]
		if len(attacked) == 0 {
			b.Fatal("CDCLAB_HOSTILE is too short for a hostile turn")
		}
		was, is := percentile(clean, 95), percentile(attacked, 95)
		b.Logf("%s: %d and %d records, p50 %.2f and %.2f ms, p95 %.2f and %.2f ms, p99 %.2f "+
			"and %.2f ms", healthyTable(n), len(clean), len(attacked), percentile(clean, 50),
			percentile(attacked, 50), was, is, percentile(clean, 99), percentile(attacked, 99))
		b.ReportMetric(is/was, fmt.Sprintf("p95-ratio-%d", n))
		if is > 1.1*was {
			b.Errorf("%s: p95 is %.2f ms beside hostile records, %.2f ms without", healthyTable(n),
				is, was)
		}
	}
}

// hostileSource sends every kind of hostile record in turn.
type hostileSource struct {
	kafka   *benchKafka
	bomber  *kgo.Client
	attacks []consumertest.Attack
	next    int
	queue   []*kgo.Record
	bytes   int
	records int
	before  time.Duration
	owed    int
}

func newHostileSource(b *testing.B, k *benchKafka) *hostileSource {
	b.Helper()
	bomber, err := kgo.NewClient(kgo.SeedBrokers(k.cluster.ListenAddrs()...),
		kgo.ProducerBatchMaxBytes(64<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bomber.Close)
	s := &hostileSource{kafka: k, bomber: bomber, attacks: consumertest.Attacks()}
	tables := 0
	s.attacks = append(s.attacks, consumertest.Attack{Name: "10,000 tables",
		Of: func(bytes int) (all []*kgo.Record) {
			for range bytes / 300 {
				tables++
				all = append(all, consumertest.HostileRow(fmt.Sprint("t", tables%10_000), `"1"`,
					`"v":1`, ""))
			}
			return all
		}}, consumertest.Attack{Name: "huge names", Of: func(bytes int) (all []*kgo.Record) {
		for n := 100; n < bytes; n *= 2 {
			all = append(all, consumertest.HostileRow(strings.Repeat("n", n), `"1"`, `"v":1`, ""))
		}
		return all
	}}, consumertest.Attack{Name: "bomb", Of: func(int) []*kgo.Record {
		return []*kgo.Record{consumertest.HostileRow("bomb", `"1"`,
			`"v":"`+strings.Repeat("b", 24<<20)+`"`, "")}
	}})
	return s
}

// sendUntil sends as much as is due at the time of a turn, to the consumer or to nobody.
func (s *hostileSource) sendUntil(now time.Duration, attack bool) {
	if now < s.before {
		s.before = 0
	}
	s.owed += int((now - s.before).Seconds() * hostileRate)
	s.before = now
	for s.owed > 0 {
		if len(s.queue) == 0 {
			a := s.attacks[s.next%len(s.attacks)]
			s.queue = a.Of(64 << 10)
			s.next++
		}
		r := s.queue[0]
		s.queue = s.queue[1:]
		size := len(r.Key) + len(r.Value)
		for _, header := range r.Headers {
			size += len(header.Value)
		}
		if r.Topic, r.Partition = unreadTopic, 0; attack {
			r.Topic = benchTopic
			s.bytes += size
			s.records++
		}
		s.bomber.Produce(context.Background(), r, nil)
		s.owed -= min(size, 256<<10) // a bomb is short on its way
	}
}

// hasSettled is true when so many events have an end, or wait for another row.
func (c *benchChild) hasSettled(b *testing.B, events int) bool {
	b.Helper()
	families := c.metrics(b)
	for outcome, n := range outcomesOf(families) {
		if outcome != telemetry.OutcomeParked {
			events -= n
		}
	}
	for _, m := range families[telemetry.MetricParkedRecords].GetMetric() {
		events -= int(m.GetGauge().GetValue())
	}
	return events <= 0
}
