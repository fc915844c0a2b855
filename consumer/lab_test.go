package consumer

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/documents"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// kafkaLab is a Kafka in this process, and a configuration pointing to this Kafka.
type kafkaLab struct {
	*consumertest.Kafka
	config Config
}

func newKafkaLab(t *testing.T) *kafkaLab {
	t.Helper()
	k := consumertest.StartKafka(t)
	config := DefaultConfig()
	config.Kafka.Brokers = strings.Join(k.Cluster.ListenAddrs(), ",")
	config.MetadataMaxAge = 300 * time.Millisecond
	config.CommitInterval = commitIntervalMin
	config.Output = t.Output()
	return &kafkaLab{k, config}
}

// lag is the number of the group's uncommitted records; -1 while unknown.
func (l *kafkaLab) lag(t *testing.T) int64 {
	t.Helper()
	ctx := context.Background()
	ends, err := l.Admin.ListEndOffsets(ctx)
	if err != nil {
		return -1
	}
	committed, err := l.Admin.FetchOffsets(ctx, l.config.Group)
	if err != nil {
		return -1
	}
	var lag int64
	ends.Each(func(end kadm.ListedOffset) {
		if !strings.HasPrefix(end.Topic, "cdc.public.") {
			return
		}
		lag += end.Offset
		if at, there := committed.Lookup(end.Topic, end.Partition); there {
			lag -= max(at.At, 0)
		}
	})
	return lag
}

// letters reads n dead letters.
func (l *kafkaLab) letters(t *testing.T, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Cluster.ListenAddrs()...),
		kgo.ConsumeTopics(l.config.DeadLetterTopic), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), consumertest.Patience)
	defer cancel()
	var letters []*kgo.Record
	for len(letters) < n {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d dead letters, want %d", len(letters), n)
		}
		letters = append(letters, fetches.Records()...)
	}
	return letters
}

// running is a consumer in this process.
type running struct {
	*Consumer
	cancel context.CancelFunc
	done   chan error
}

// run starts a consumer with the store s; nil means MongoDB.
func (l *kafkaLab) run(t *testing.T, s documents.Store) *running {
	t.Helper()
	var c *Consumer
	var err error
	if s == nil {
		c, err = New(l.config)
	} else {
		c, err = newConsumer(l.config, s)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{c, cancel, make(chan error, 1)}
	go func() { r.done <- c.Run(ctx) }()
	t.Cleanup(func() { r.end(t) })
	return r
}

// end stops the consumer in good order; a second call does nothing.
func (r *running) end(t *testing.T) {
	t.Helper()
	if r.done == nil {
		return
	}
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(consumertest.Patience):
		t.Errorf("Run did not return")
	}
	r.done = nil
}

// unread is the metric of the topics that nobody reads.
func (r *running) unread(t *testing.T) float64 {
	t.Helper()
	value, _ := consumertest.GaugeOf(t, r.metrics.Registry, telemetry.MetricUnreadTopics)
	return value
}

// sum is the number of events, of all entities, with the outcome.
func (r *running) sum(t *testing.T, outcome string) (sum float64) {
	t.Helper()
	for _, entity := range []string{"customer", "address", "order", "order_item", "unknown"} {
		sum += consumertest.EventCount(t, r.metrics.Registry, entity, outcome)
	}
	return sum
}

// forwarder is a network with a switch.
type forwarder struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newForwarder(t *testing.T, target string) *forwarder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{listener: listener, target: target, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { f.set(true); listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go f.forward(in)
		}
	}()
	return f
}

func (f *forwarder) forward(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", f.target)
	if err != nil {
		return
	}
	defer out.Close()
	f.mu.Lock()
	if f.cut {
		f.mu.Unlock()
		return
	}
	f.conns[in], f.conns[out] = true, true
	f.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { io.Copy(out, in); out.Close() })
	both.Go(func() { io.Copy(in, out); in.Close() })
	both.Wait()
	f.mu.Lock()
	delete(f.conns, in)
	delete(f.conns, out)
	f.mu.Unlock()
}

// set(true) cuts all connections and refuses new ones; set(false) lets new ones through again.
func (f *forwarder) set(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
	for c := range f.conns {
		if cut {
			c.Close()
		}
	}
}

var errCrash = errors.New("the connection broke")
