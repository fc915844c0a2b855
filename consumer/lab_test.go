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
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// patience is how long a condition may take that is sure to come.
const patience = 30 * time.Second

// kafkaLab is a Kafka in this process, and a configuration that points to it.
type kafkaLab struct {
	cluster  *kfake.Cluster
	producer *kgo.Client
	admin    *kadm.Client
	config   Config
}

func newKafkaLab(t *testing.T) *kafkaLab {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "cdc.public.customer",
		"cdc.public.address", "cdc.public.order", "cdc.public.order_item"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	config := DefaultConfig()
	config.Brokers = strings.Join(cluster.ListenAddrs(), ",")
	config.MetadataMaxAge = 300 * time.Millisecond
	config.CommitInterval = commitIntervalMin
	config.Output = testLog{t}
	return &kafkaLab{cluster, producer, kadm.NewClient(producer), config}
}

// testLog is a log for a failing test to show.
type testLog struct{ t *testing.T }

func (l testLog) Write(text []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(text)))
	return len(text), nil
}

func (l *kafkaLab) produce(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	if err := l.producer.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// lag is how many records of the group's are not committed; -1 while that is not known.
func (l *kafkaLab) lag(t *testing.T) int64 {
	t.Helper()
	ctx := context.Background()
	ends, err := l.admin.ListEndOffsets(ctx)
	if err != nil {
		return -1
	}
	committed, err := l.admin.FetchOffsets(ctx, l.config.Group)
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
	client, err := kgo.NewClient(kgo.SeedBrokers(l.cluster.ListenAddrs()...),
		kgo.ConsumeTopics(l.config.DeadLetterTopic), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for tick := time.Tick(10 * time.Millisecond); ; {
		if holds() {
			return
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("still not so after %v: %s", patience, what)
		}
	}
}

// running is a consumer in this process.
type running struct {
	*Consumer
	cancel context.CancelFunc
	done   chan error
}

// run starts a consumer that writes to s; nil means to MongoDB.
func (l *kafkaLab) run(t *testing.T, s store) *running {
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

// end stops it in good order; a second time it does nothing.
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
	case <-time.After(patience):
		t.Errorf("Run did not return")
	}
	r.done = nil
}

// sum is the number of events of all entities that met the end.
func (r *running) sum(t *testing.T, outcome string) (sum float64) {
	t.Helper()
	for _, entity := range []string{"customer", "address", "order", "order_item", "unknown"} {
		sum += eventCount(t, r.metrics, entity, outcome)
	}
	return sum
}

// forwarder is a network that can be cut.
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

// set cuts all connections and refuses new ones, or ends that.
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
