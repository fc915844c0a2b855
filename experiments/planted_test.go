package experiments

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// A planted bug is a bug that the lab must find. The tests of this file break a real pipeline under
// real load and fail when the lab's verdict misses the bug.

// smoke is a short run for a test: everything real, the results in the test's folder. A rate of 0
// leaves rate and lengths to the scenario.
func smoke(t testing.TB, rate int, duration time.Duration) Config {
	t.Helper()
	c := DefaultConfig()
	c.Scenario = "smoke"
	if rate > 0 {
		c.Rate, c.Duration, c.Warmup = &rate, &duration, new(time.Second)
	}
	c.Out, c.FloorWrites = t.TempDir(), 20
	c.Terminal, c.Say = t.Output(), func(line string) { t.Log(line) }
	return c
}

// begin brings the stack of a run up, and takes the stack down after the test.
func begin(t testing.TB, c Config) *load {
	t.Helper()
	e, err := prepare(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.stack.Down(context.Background())
		e.out.Close()
	})
	return e.newLoad()
}

// slow returns true if the stack has a fresh machine's stand-in, and then sets a rate that the
// stand-in can hold.
func (l *load) slow(rate string) bool {
	if l.stack.MongoKind() != stack.SecantusPy {
		return false
	}
	l.k6.env["RATE"] = rate
	return true
}

func mustComplete(t *testing.T, l *load) *reports.Run {
	t.Helper()
	result, err := l.complete(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return result.Run
}

// writePlan stores a chaos plan in the test's folder and returns the path.
func writePlan(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPlantedBugs: after 10,000 writes (1,000 on the slow stand-in), a document is broken as by a
// dropped event, another as by a stale write, and another as by a late write to a deleted row. Each
// must fail the run with the bug's own status, and nothing else may be found.
func TestPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("a run of 26 s with 10,000 writes; left out by -short")
	}
	ctx, least := t.Context(), int64(9_900)
	// A third more load than wanted, because a busy machine drops iterations.
	l := begin(t, smoke(t, 500, 26*time.Second))
	if l.slow("50") {
		least = 990
	}
	err := errors.Join(l.floor(ctx), l.generate(ctx))
	l.drain(ctx)
	planted := sabotage(t, l.stack.Endpoints().MongoURI)
	l.check(ctx)
	if err := errors.Join(err, l.down(ctx)); err != nil {
		t.Fatal(err)
	}
	result, err := l.finish()
	if err != nil {
		t.Fatal(err)
	}
	run := result.Run
	if run.Summary.TotalOperations < least {
		t.Fatalf("%d writes, want at least %d", run.Summary.TotalOperations, least)
	}
	if run.Verdict.Status != reports.Fail {
		t.Errorf("verdict %s %q, want fail", run.Verdict.Status, run.Verdict.Reasons)
	}
	for status, key := range planted {
		if n := run.Consistency.Counts[status]; n != 1 || !hasExample(run, status, key) {
			t.Errorf("%d rows are %s, want one, %s, in the examples %+v", n, status, key,
				run.Consistency.Examples)
		}
	}
	if bad := run.Consistency.Rows - run.Consistency.Counts[reports.OK]; bad != 2 {
		t.Errorf("%d rows are not ok, want the 2 that still exist: %s", bad,
			run.Consistency.Sentence())
	}
}

func hasExample(run *reports.Run, status reports.RowStatus, key string) bool {
	for _, e := range run.Consistency.Examples {
		if e.Status == status && e.Key == key {
			return true
		}
	}
	return false
}

// sabotage plants each bug in the first suitable document and returns the keys by status.
func sabotage(t *testing.T, uri string) map[reports.RowStatus]string {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	planted := map[reports.RowStatus]string{}
	for _, bug := range []struct {
		status        reports.RowStatus
		collection    string
		suits, update bson.M
	}{
		{reports.Lost, "customers", bson.M{"cdcMetadata.deleted": bson.M{"$ne": true}}, nil},
		{reports.Stale, "addresses", bson.M{"cdcMetadata.deleted": bson.M{"$ne": true}},
			bson.M{"$set": bson.M{"labVersion": int64(0)}}},
		{reports.Resurrected, "addresses", bson.M{"cdcMetadata.deleted": true},
			bson.M{"$unset": bson.M{"cdcMetadata.deleted": "", "cdcMetadata.deletedAt": ""}}},
	} {
		var found struct {
			ID string `bson:"_id"`
		}
		collection := client.Database("cdc").Collection(bug.collection)
		err := collection.FindOne(t.Context(), bug.suits).Decode(&found)
		if err == nil && bug.update == nil {
			_, err = collection.DeleteOne(t.Context(), bson.M{"_id": found.ID})
		} else if err == nil {
			_, err = collection.UpdateByID(t.Context(), found.ID, bug.update)
		}
		if err != nil {
			t.Fatalf("plant %s: %v", bug.status, err)
		}
		planted[bug.status] = found.ID
	}
	return planted
}

// TestUnsafeMongoLosesWrites: the table check finds the acknowledged writes that a stand-in without
// its sync flag forgets when killed under load.
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
	l := begin(t, c)
	if kind := l.stack.MongoKind(); kind != stack.SecantusRS {
		expect.Lacking(t, "a sync flag to leave out, and writes to lose", errors.New(
			"the server is "+kind))
	}
	run := mustComplete(t, l)
	bad := run.Consistency.Counts[reports.Lost] + run.Consistency.Counts[reports.Stale] +
		run.Consistency.Counts[reports.Resurrected]
	if bad == 0 || run.Verdict.Status != reports.Fail {
		t.Errorf("verdict %s, %s: want the loss found", run.Verdict.Status,
			run.Consistency.Sentence())
	}
}
