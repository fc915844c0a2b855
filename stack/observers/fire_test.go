package observers_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/alerts"
	"github.com/cdclab/cdclab/stack/observers"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
	"github.com/cdclab/cdclab/stack/proxy"
	"github.com/cdclab/cdclab/stack/servertest"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// lab is a stack with observers, and what the test has seen of the alerts.
type lab struct {
	*testing.T
	*stack.Stack
	// fired is the time from the fault to the notification, by the alert.
	fired map[string]time.Duration
}

// observed brings a stack up with all observers.
func observed(t *testing.T, options stack.Options) *lab {
	t.Helper()
	for _, o := range []programs.Observer{programs.Prometheus, programs.Alertmanager,
		programs.Otelcol} {
		servertest.NeedObserver(t, o)
	}
	options.Observe = true
	return &lab{t, bringUp(t, options), map[string]time.Duration{}}
}

// tree is the root of the source tree.
func tree(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// build builds a program of the tree.
func build(t *testing.T, folder string) (path string) {
	t.Helper()
	golang, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), filepath.Base(folder))
	err = process.RunTool(t.Context(), process.Command{Kind: process.Tool, Path: golang,
		Dir: tree(t), Args: []string{"build", "-o", path, folder}})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// bringUp brings a stack up for the length of the test, with a consumer built from the tree.
func bringUp(t *testing.T, options stack.Options) *stack.Stack {
	t.Helper()
	options.ConsumerPath, options.Tree = build(t, "./consumer/cmd/consumer"), tree(t)
	options.Say = func(line string) { t.Log(line) }
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := stack.Up(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), expect.Patience)
		defer cancel()
		if err := s.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (l *lab) exec(sql string, args ...any) {
	l.Helper()
	servertest.Exec(l.T, l.Endpoints().PostgresDSN, sql, args...)
}

// load runs a statement again and again until the returned function is called.
func (l *lab) load(every time.Duration, sql string) (end func()) {
	l.Helper()
	ctx, cancel := context.WithCancel(l.Context())
	connection := servertest.Connect(l.T, l.Endpoints().PostgresDSN)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ctx.Err() == nil {
			if _, err := connection.Exec(ctx, sql); err != nil && ctx.Err() == nil {
				l.Errorf("load: %v", err)
				return
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// fault does a fault and waits until the Alertmanager has notified the lab of the alerts. An alert
// of a fault before counts if it still fires: on a slow machine a little more makes much slow.
func (l *lab) fault(name string, do func(), want ...string) {
	l.Helper()
	began := time.Now()
	do()
	ctx, cancel := context.WithTimeout(l.Context(), 3*time.Minute)
	defer cancel()
	expect.Before(ctx, l.T, "alerts of "+name, func() error {
		missing := slices.Clone(want)
		for _, a := range l.Observers().Alerts([]observers.Fault{{Name: name, Began: began}}) {
			if a.Fault == "" && !a.Resolved.IsZero() {
				continue // of a fault before
			}
			missing = slices.DeleteFunc(missing, func(w string) bool { return w == a.Name })
			if _, known := l.fired[a.Name]; !known {
				after := time.Duration(a.SecondsFromFault * float64(time.Second))
				l.fired[a.Name] = after
				l.Logf("FIRED %-28s %5.1f s after %s", a.Name, after.Seconds(), name)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("not notified of %s", strings.Join(missing, ", "))
		}
		return nil
	})
}

// over waits until the lab is told that no alert of the names fires any more.
func (l *lab) over(names ...string) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 2*time.Minute)
	defer cancel()
	expect.Before(ctx, l.T, "the end of alerts", func() error {
		for _, a := range l.Observers().Alerts(nil) {
			if slices.Contains(names, a.Name) && a.Resolved.IsZero() {
				return fmt.Errorf("%s still fires", a.Name)
			}
		}
		return nil
	})
}

func (l *lab) component(name string) stack.Component {
	l.Helper()
	c, err := l.Component(name)
	if err != nil {
		l.Fatal(err)
	}
	return c
}

// killed kills a part, waits for the alerts, and starts the part again.
func (l *lab) killed(part interface {
	Name() string
	Kill() error
	Start(context.Context) error
}, want ...string) {
	l.Helper()
	for _, name := range want {
		if _, early := l.fired[name]; early {
			l.Errorf("%s fired before %s was killed", name, part.Name())
		}
	}
	l.over(want...)
	l.fault("kill "+part.Name(), func() {
		if err := part.Kill(); err != nil {
			l.Fatal(err)
		}
	}, want...)
	if err := part.Start(expect.Context(l.T)); err != nil {
		l.Fatal(err)
	}
	l.over(want...)
}

// kafka is a client of the stack's Kafka.
func (l *lab) kafka(options ...kgo.Opt) *kgo.Client {
	l.Helper()
	client, err := kgo.NewClient(append(append(l.KafkaOptions(),
		kgo.RecordPartitioner(kgo.ManualPartitioner())), options...)...)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(client.Close)
	return client
}

// broken is a compressor whose large batches are no compressed text of their codec.
type broken struct{}

func (broken) Compress(_ *bytes.Buffer, src []byte, _ ...kgo.CompressFlag) ([]byte,
	kgo.CompressionCodecType) {
	if len(src) < 1<<20 {
		return src, kgo.CodecNone
	}
	return bytes.Repeat([]byte{0xff}, 1000), kgo.CodecGzip
}

// slow makes the network to MongoDB slower in each direction.
func (l *lab) slow(ms int) (undo func()) {
	l.Helper()
	p, err := l.Proxy(proxy.ConsumerMongo)
	if err != nil {
		l.Fatal(err)
	}
	for _, upstream := range []bool{true, false} {
		err := p.Add(proxy.Toxic{Name: fmt.Sprintf("slow-%v", upstream), Type: "latency",
			Upstream: upstream, Attributes: map[string]any{"latency": ms}})
		if err != nil {
			l.Fatal(err)
		}
	}
	return func() {
		for _, upstream := range []bool{true, false} {
			if err := p.Remove(fmt.Sprintf("slow-%v", upstream)); err != nil {
				l.Fatal(err)
			}
		}
	}
}

const (
	customers = `INSERT INTO customer (id, email, status) SELECT gen_random_uuid(),
		'a' || n || '@example.com', 'active' FROM generate_series(1, %d) n`
	touched = `UPDATE customer SET lab_version = lab_version + 1 WHERE id IN
		(SELECT id FROM customer ORDER BY id LIMIT 30)`
	wrong = `UPDATE customer SET lab_version = lab_version + 1, email = 'no address' WHERE id IN
		(SELECT id FROM customer ORDER BY id DESC LIMIT %d)`
)

// TestObserversFireAlerts causes a fault for each alert, with the alerts' times and windows divided
// by 12, and waits for the notification by a real Prometheus and Alertmanager.
func TestObserversFireAlerts(t *testing.T) {
	l := observed(t, stack.Options{Partitions: 4, Proxies: []string{proxy.ConsumerMongo},
		Pace:         alerts.Pace{Faster: 12, ZeroTolerance: true},
		ConsumerArgs: []string{"--batch-max", "200", "--mongo-pool-max", "2"}})
	l.exec(fmt.Sprintf(customers, 200))
	if err := l.Drained(expect.Context(t)); err != nil {
		t.Fatal(err)
	}
	if early := l.Observers().Alerts(nil); len(early) > 0 {
		t.Errorf("before any fault: %v", early)
	}
	l.schemaFaults()
	l.rowFaults()
	for _, part := range l.Observers().Parts() {
		if part.Name() == observers.Collector {
			l.killed(part, "CollectorMissing")
		}
	}
	l.killed(l.component(stack.Consumer), "ConsumerMissing")
	l.killed(l.component(stack.Connector), "ConnectorMissing")
	l.killed(l.component(stack.Postgres), "PostgresLost")
	l.killed(l.component(stack.Mongo), "MongoLost")
	l.killed(l.component(stack.Kafka), "KafkaLost")
	l.logFaults()
	l.slowFaults()
	for _, name := range slices.Sorted(maps.Keys(l.fired)) {
		t.Logf("%-28s %5.1f s", name, l.fired[name].Seconds())
	}
	t.Logf("%d alerts of %d fired", len(l.fired), len(alerts.All()))
	if len(l.fired) < 12 {
		t.Errorf("%d alerts fired, at least 12 are asked for", len(l.fired))
	}
}

// schemaFaults change the columns of a table under the consumer.
func (l *lab) schemaFaults() {
	l.fault("a new column", func() {
		l.exec(`ALTER TABLE customer ADD COLUMN note text, ADD COLUMN flag int DEFAULT 1`)
		l.exec(touched)
	}, "ColumnAdded")
	l.fault("a column of another type", func() {
		l.exec(`ALTER TABLE customer ALTER COLUMN flag DROP DEFAULT,
			ALTER COLUMN flag TYPE boolean USING true`)
		l.exec(touched)
	}, "ColumnIncompatible")
	l.fault("a dropped column", func() {
		l.exec(`ALTER TABLE customer DROP COLUMN note`)
		l.exec(touched)
	}, "ColumnRemoved")
}

// rowFaults write rows against the rules: a few, then many, then a row without its parent.
func (l *lab) rowFaults() {
	endLoad := l.load(time.Second, touched)
	few := func() {}
	l.fault("3% of the rows break a rule", func() {
		few = l.load(time.Second, fmt.Sprintf(wrong, 1))
	}, "AnyError", "DeadLetters", "ErrorRate", "ValidationFailures")
	many := func() {}
	l.fault("30% of the rows break a rule", func() {
		many = l.load(time.Second, fmt.Sprintf(wrong, 14))
	}, "DeadLettersCritical", "ErrorRateCritical", "ValidationFailuresCritical")
	many()
	few()
	endLoad()
	l.fault("an order without its customer", func() {
		l.exec(`ALTER TABLE "order" DROP CONSTRAINT order_customer_id_fkey`)
		l.exec(`INSERT INTO "order" (id, customer_id, status, total_amount)
			VALUES (gen_random_uuid(), gen_random_uuid(), 'new', 1)`)
	}, "ReferenceBroken")
}

// logFaults break Kafka's topics: one has a batch that nobody can read, another is deleted.
func (l *lab) logFaults() {
	l.fault("a broken batch", func() {
		client := l.kafka(kgo.ProducerBatchMaxBytes(8<<20), kgo.WithCompressor(broken{}),
			kgo.ProducerBatchCompression(kgo.GzipCompression()))
		record := &kgo.Record{Topic: "cdc.public.order", Value: make([]byte, 2<<20)}
		if err := client.ProduceSync(expect.Context(l.T), record).FirstErr(); err != nil {
			l.Fatal(err)
		}
	}, "PartitionsBlocked")
	l.fault("a deleted topic", func() {
		answers, err := kadm.NewClient(l.kafka()).DeleteTopics(l.Context(), "cdc.public.address")
		if err == nil {
			err = answers.Error()
		}
		if err != nil {
			l.Fatal(err)
		}
	}, "TopicsUnread")
}

// slowFaults make the way to MongoDB slow, then slower, and the source fast.
func (l *lab) slowFaults() {
	defer l.load(250*time.Millisecond, touched)()
	undo := func() {}
	l.fault("0.5 s more to MongoDB", func() { undo = l.slow(250) }, "PoolNearlyExhausted")
	undo()
	l.fault("2.4 s more to MongoDB", func() {
		undo = l.slow(1200)
		l.exec(fmt.Sprintf(customers, 8000))
	}, "ConsumerLag", "LatencyP95Critical", "LatencyP99Critical")
	endFlood := func() {}
	l.fault("12,000 rows at once and 600 a second", func() {
		l.exec(fmt.Sprintf(customers, 12_000))
		endFlood = l.load(250*time.Millisecond, fmt.Sprintf(customers, 150))
	}, "ConsumerLagCritical", "ConsumerLagGrowing")
	endFlood()
	undo()
}
