package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdclab/cdclab/chaos/check"
	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/hop/pg"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/proxy"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// labEnv asks for the test that applies every fault to a whole stack, several minutes.
const labEnv = "CDCLAB_CHAOS"

// lab is an embedded stack under a load of the test's own.
type lab struct {
	*stack.Stack
	// deletes is true while the load deletes rows.
	deletes atomic.Bool
	// still is true while the load waits for a drain.
	still   atomic.Bool
	written atomic.Int64
	stop    context.CancelFunc
	done    sync.WaitGroup
}

func upLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv(labEnv) == "" {
		t.Skipf("brings a stack up and breaks every part: %s=1 asks for it", labEnv)
	}
	consumer := filepath.Join(t.TempDir(), "consumer")
	build := exec.Command("go", "build", "-o", consumer, "../consumer/cmd/consumer")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the consumer: %v\n%s", err, text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var disks []string
	if process.DiskImpossible() == nil {
		disks = append(disks, stack.Postgres)
	}
	s, err := stack.Up(ctx, stack.Options{ConsumerPath: consumer,
		Say:     func(line string) { t.Log(line) },
		Proxies: proxy.EmbeddedNames(), Disks: disks, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{Stack: s}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), expect.Patience)
		defer cancel()
		if err := s.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	ctx, l.stop = context.WithCancel(context.Background())
	t.Cleanup(l.endLoad)
	l.deletes.Store(true)
	l.done.Go(func() { l.load(ctx) })
	return l
}

// load writes rows, one each tick, and connects again after each error.
func (l *lab) load(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var conn *pgx.Conn
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if l.still.Load() {
			continue
		}
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pg.Connect(ctx, l.Endpoints().GeneratorDSN); err != nil {
				conn = nil
				continue
			}
			defer conn.Close(context.Background())
		}
		if _, err := conn.Exec(ctx, l.statement(n), n); err == nil {
			l.written.Add(1)
		}
	}
}

func (l *lab) statement(n int) string {
	switch {
	case n%3 == 1:
		return `INSERT INTO customer (id, email, status, lab_version)
			VALUES (gen_random_uuid(), 'a@example.com', 'active', $1)`
	case n%30 == 0 && l.deletes.Load():
		return `DELETE FROM customer WHERE id = (SELECT id FROM customer
			WHERE lab_version < $1 ORDER BY lab_version LIMIT 1)`
	}
	return `UPDATE customer SET email = 'b' || lab_version || '@example.com', lab_version = $1,
		updated_at = now() WHERE id = (SELECT id FROM customer ORDER BY id LIMIT 1)`
}

func (l *lab) endLoad() {
	l.stop()
	l.done.Wait()
}

// drain waits until the documents have every row.
func (l *lab) drain(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	l.still.Store(true)
	defer l.still.Store(false)
	if err := l.Drained(ctx); err != nil {
		t.Fatal(err)
	}
}

// breakBy applies one fault of a plan, and returns the window.
func (l *lab) breakBy(t *testing.T, members string) Window {
	t.Helper()
	plan, err := parse([]byte("name: p\nsteady-state: {recovery: 30s}\nmethod:\n  - {at: 100ms, " +
		members + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	obstacles := append(plan.On(stack.Embedded), plan.Obstacles(l.Stack)...)
	if len(obstacles) > 0 {
		t.Skip(obstacles)
	}
	return Run(t.Context(), plan, l.Stack, time.Now(), nil)[0]
}

// labFaults are a fault of each kind, and kinds with other parameters.
func labFaults() (all []string) {
	for _, part := range []string{"consumer", "mongo", "connector", "kafka", "postgres"} {
		loop := "4s"
		if part == "mongo" {
			loop = "20s" // the slow stand-in starts twice, in 5 s
		}
		all = append(all,
			"fault: kill, target: "+part+", restart-after: 1s",
			"fault: stop, target: "+part,
			"fault: restart, target: "+part,
			"fault: pause, target: "+part+", for: 2s",
			"fault: crash-loop, target: "+part+", every: 500ms, for: "+loop)
	}
	for _, part := range []string{"consumer", "mongo", "postgres"} {
		all = append(all, "fault: kill-during-start, target: "+part)
	}
	for _, wire := range []string{proxy.ConsumerMongo, proxy.ConnectorPostgres} {
		for _, kind := range []string{"latency, latency: 50ms, jitter: 20ms",
			"latency, direction: up, latency: 50ms", "bandwidth, rate: 20", "partition",
			"partition, direction: down", "partition, direction: up", "timeout, timeout: 300ms",
			"reset-peer", "reset-peer, after: 100ms", "slow-close", "slicer", "limit-data",
			"hold"} {
			all = append(all, "fault: "+kind+", target: "+wire+", for: 2s")
		}
	}
	return append(all, "fault: descriptors-exhausted, target: consumer, for: 2s",
		"fault: descriptors-exhausted, target: postgres, for: 2s",
		"fault: cpu-stress, target: kafka, workers: 2, for: 1s",
		"fault: slowed, target: mongo, for: 3s",
		"fault: slowed, target: postgres, for: 3s",
		"fault: memory-pressure, target: mongo, megabytes: 64, for: 3s",
		"fault: disk-full, target: postgres, for: 3s",
		"fault: clock-shifted, target: postgres, for: 2s",
		"fault: clock-shifted, target: postgres, clock: behind, by: 24h, for: 2s",
		"fault: index-builds, target: mongo, for: 2s",
		"fault: stepped-down, target: mongo, for: 3s",
		"fault: log-truncated, target: kafka",
		"fault: immediate-shutdown, target: postgres, restart-after: 1s",
		"fault: slot-held, target: postgres, for: 2s",
		"fault: table-locked, target: postgres, for: 1s",
		"fault: column-added, target: postgres, for: 2s",
		"fault: connections-exhausted, target: postgres, for: 1s",
		"fault: restored, target: postgres, for: 3s",
		"fault: replication-cut, target: connector",
		"fault: slow-disk, target: postgres, for: 2s",
		"fault: slow-disk, target: mongo, for: 2s",
		"fault: broker-errors, target: kafka, for: 2s",
		"fault: leaders-moved, target: kafka, for: 2s",
		"fault: partitions-added, target: kafka",
		"fault: topic-recreated, target: kafka",
		"fault: rebalance-storm, target: consumer, for: 6s",
		"fault: member-hangs, target: consumer, for: 8s",
		"fault: poison-records, target: consumer, for: 2s",
		"fault: slot-dropped, target: connector",
		"fault: snapshot-interrupted, target: connector",
		"fault: slot-invalidated, target: connector")
}

// TestLabFaults applies every kind of fault to every part of an embedded stack under load: each is
// proven, undone, and loses nothing.
func TestLabFaults(t *testing.T) {
	l := upLab(t)
	tried := map[string]bool{}
	for _, members := range labFaults() {
		name := strings.NewReplacer("fault: ", "", ", ", " ", ": ", "=").Replace(members)
		kind, ok := faults.Find(strings.TrimSuffix(strings.Fields(members)[1], ","))
		if !ok {
			t.Fatalf("no fault in %q", members)
		}
		if len(kind.TargetsOn(stack.Embedded, 1)) == 0 {
			t.Logf("%s: not on this machine", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			if kind.Loses != "" {
				l.deletes.Store(false)
				defer l.deletes.Store(true)
				l.drain(t)
			}
			w := l.breakBy(t, members)
			t.Logf("%s; recovered after %v", w.Evidence, w.Recovered-w.End)
			if w.Err != nil || !w.Applied || w.Evidence == "" || w.Recovered == 0 {
				t.Errorf("%+v", w)
			}
			tried[kind.Name] = true
			if kind.Loses != "" {
				l.drain(t)
			}
		})
	}
	for _, kind := range faults.Table() {
		if len(kind.TargetsOn(stack.Embedded, 1)) > 0 && !tried[kind.Name] {
			t.Errorf("%s was not tried, or could not be applied", kind.Name)
		}
	}
	l.endLoad()
	l.drain(t)
	config := check.DefaultConfig()
	config.PostgresDSN, config.MongoURI = l.Endpoints().CheckDSN, l.Endpoints().MongoURI
	config.Database = l.Endpoints().MongoDatabase
	found, err := check.Tables(t.Context(), config)
	if err != nil || found.Status() != reports.Pass {
		t.Errorf("%v: %s %+v", err, found.Sentence(), found.Examples)
	}
	t.Log(fmt.Sprint(l.written.Load(), " writes; ", found.Sentence()))
}
