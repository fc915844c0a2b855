package experiments

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/reports"
)

// A planted bug is one that the lab must find. The tests of this file break a real pipeline under
// real load and fail when the lab's verdict does not say so.

// smoke is a short run for a test: everything real, the results in the test's folder.
func smoke(t *testing.T, rate int, duration time.Duration) Config {
	t.Helper()
	c := DefaultConfig()
	c.Scenario, c.Rate, c.Duration, c.Warmup = "smoke", rate, duration, time.Second
	c.Out, c.FloorWrites = t.TempDir(), 20
	c.Terminal, c.Say = testLog{t}, func(line string) { t.Log(line) }
	return c
}

// testLog is a Config.Terminal that ends in the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(text []byte) (int, error) {
	l.t.Log(string(text))
	return len(text), nil
}

func mustRun(t *testing.T, c Config) *reports.Run {
	t.Helper()
	result, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return result.Run
}

// writePlan stores a chaos plan in the test's folder and returns its path.
func writePlan(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// saboteur writes to MongoDB as a consumer without guards would, while the load runs.
type saboteur struct {
	t        *testing.T
	database *mongo.Database
}

// TestPlantedBugs: one event in 10,000 dropped, one document set back to an older version, one deleted
// row brought back. Each must fail the run, with its own status.
func TestPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("a run of 20 s with 10,000 writes; left out by -short")
	}
	s, err := prepare(t.Context(), smoke(t, 500, 20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan map[string]string, 1)
	go func() { done <- sabotage(ctx, t, s.stack.Endpoints().MongoURI) }()
	result, err := s.complete(t.Context())
	stop()
	planted := <-done
	if err != nil {
		t.Fatal(err)
	}
	run := result.Run
	if run.Summary.TotalOperations < 9_900 {
		t.Fatalf("%d writes, want 10,000", run.Summary.TotalOperations)
	}
	if run.Verdict.Status != reports.Fail {
		t.Errorf("verdict %s %q, want fail", run.Verdict.Status, run.Verdict.Reasons)
	}
	for _, status := range []string{reports.Lost, reports.Stale, reports.Resurrected} {
		key, ok := planted[status]
		if !ok {
			t.Errorf("the test found no document to make %s", status)
			continue
		}
		if n := run.Consistency.Counts[status]; n != 1 {
			t.Errorf("%d rows are %s, want 1: %s", n, status, key)
		}
		if !hasExample(run, status, key) {
			t.Errorf("no example names the %s %s", status, key)
		}
	}
}

func hasExample(run *reports.Run, status, key string) bool {
	for _, e := range run.Consistency.Examples {
		if e.Status == status && e.Key == key {
			return true
		}
	}
	return false
}

// sabotage waits for documents that suit each bug, plants each once, and returns the keys by status.
func sabotage(ctx context.Context, t *testing.T, uri string) map[string]string {
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer client.Disconnect(context.WithoutCancel(ctx))
	s := saboteur{t, client.Database("cdc")}
	planted := map[string]string{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for len(planted) < 3 {
		select {
		case <-ctx.Done():
			return planted
		case <-tick.C:
		}
		if _, done := planted[reports.Lost]; !done {
			s.plant(ctx, planted, reports.Lost, "customers", bson.M{"deleted": bson.M{"$ne": true}}, s.drop)
		}
		if _, done := planted[reports.Stale]; !done {
			s.plant(ctx, planted, reports.Stale, "addresses",
				bson.M{"deleted": bson.M{"$ne": true}, "labVersion": bson.M{"$gt": 1}}, s.setBack)
		}
		if _, done := planted[reports.Resurrected]; !done {
			s.plant(ctx, planted, reports.Resurrected, "addresses", bson.M{"deleted": true}, s.revive)
		}
	}
	return planted
}

// plant applies a bug to the first document that suits it.
func (s saboteur) plant(ctx context.Context, planted map[string]string, status, collection string,
	suits bson.M, bug func(context.Context, *mongo.Collection, string) error) {
	var found struct {
		ID string `bson:"_id"`
	}
	c := s.database.Collection(collection)
	if err := c.FindOne(ctx, suits).Decode(&found); err != nil {
		return
	}
	if err := bug(ctx, c, found.ID); err != nil {
		s.t.Errorf("plant %s: %v", status, err)
		return
	}
	planted[status] = found.ID
}

// far is a position above every real one, so that no later event of the row undoes the bug.
const far = "ffffffffffffffffffffffffffffffff"

// drop makes the document as if its events had never been applied.
func (s saboteur) drop(ctx context.Context, c *mongo.Collection, id string) error {
	_, err := c.UpdateByID(ctx, id, bson.M{"$set": bson.M{
		"shell": true, "cdcMetadata.position": far,
	}})
	return err
}

// setBack makes the document an older version of itself.
func (s saboteur) setBack(ctx context.Context, c *mongo.Collection, id string) error {
	_, err := c.UpdateByID(ctx, id, bson.M{"$set": bson.M{"labVersion": int64(0), "cdcMetadata.position": far}})
	return err
}

// revive brings a deleted document back.
func (s saboteur) revive(ctx context.Context, c *mongo.Collection, id string) error {
	_, err := c.UpdateByID(ctx, id, bson.M{
		"$unset": bson.M{"deleted": "", "deletedAt": ""}, "$set": bson.M{"cdcMetadata.position": far},
	})
	return err
}

// TestUnsafeMongoLosesWrites: without its sync flag the stand-in forgets acknowledged writes when it is
// killed under load, and the table check must find that.
func TestUnsafeMongoLosesWrites(t *testing.T) {
	if testing.Short() {
		t.Skip("a run of 20 s; left out by -short")
	}
	c := smoke(t, 500, 20*time.Second)
	c.Stack.MongoUnsafe = true
	c.PlanPath = writePlan(t, `
name: mongo-kill-unsafe
description: the stand-in without its sync flag is killed three times
steady-state: {recovery: 30s}
method:
  - {at: 4s, fault: kill, target: mongo, restart-after: 500ms}
  - {at: 9s, fault: kill, target: mongo, restart-after: 500ms}
  - {at: 14s, fault: kill, target: mongo, restart-after: 500ms}
`)
	run := mustRun(t, c)
	if kind := run.Provenance.MongoKind; kind != "secantusd-rs" {
		t.Skipf("the server is %s: only secantusd-rs can be started without its sync flag and loses enough", kind)
	}
	bad := run.Consistency.Counts[reports.Lost] + run.Consistency.Counts[reports.Stale] +
		run.Consistency.Counts[reports.Resurrected]
	if bad == 0 || run.Verdict.Status != reports.Fail {
		t.Errorf("verdict %s, %s: want the loss found", run.Verdict.Status, run.Consistency.Sentence())
	}
}

// TestPlantedStall: PostgreSQL is frozen for two seconds. In an open model the writes that were due
// then wait for it, the first one two seconds and the last one nothing, so that with a share s of
// all writes stalled for l seconds p99 is l * (1 - 0.01/s), whatever the pipeline adds.
func TestPlantedStall(t *testing.T) {
	if testing.Short() {
		t.Skip("a run of 20 s; left out by -short")
	}
	c := smoke(t, 100, 20*time.Second)
	c.PlanPath = writePlan(t, `
name: postgres-stall
description: PostgreSQL is frozen for two seconds
steady-state: {recovery: 30s}
method:
  - {at: 8s, fault: pause, target: postgres, for: 2s}
`)
	run := mustRun(t, c)
	if len(run.Faults) != 1 || !run.Faults[0].Applied {
		t.Fatalf("faults %+v: want one that was applied", run.Faults)
	}
	stall := run.Faults[0].EndSeconds - run.Faults[0].StartSeconds
	share := stall / run.TestRun.DurationSeconds
	wantMs := 1000 * stall * (1 - 0.01/share)
	got := run.Summary.Latency.P99
	t.Logf("stall %.3f s of %.1f s: p99 %.0f ms, arithmetic gives %.0f ms", stall, run.TestRun.DurationSeconds, got, wantMs)
	if math.Abs(got-wantMs) > 0.05*wantMs {
		t.Errorf("p99 %.0f ms, want %.0f ms within 5 %%", got, wantMs)
	}
	if run.Summary.DroppedIterations != 0 {
		t.Errorf("%d iterations dropped: the stall reached the schedule", run.Summary.DroppedIterations)
	}
}
