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
)

// A planted bug is one that the lab must find. The tests of this file break a real pipeline under
// real load and fail when the lab's verdict does not say so.

// smoke is a short run for a test: everything real, the results in the test's folder.
func smoke(t testing.TB, rate int, duration time.Duration) Config {
	t.Helper()
	c := DefaultConfig()
	c.Scenario, c.Rate, c.Duration, c.Warmup = "smoke", rate, duration, time.Second
	c.Out, c.FloorWrites = t.TempDir(), 20
	c.Terminal, c.Say = testLog{t}, func(line string) { t.Log(line) }
	return c
}

// testLog is a Config.Terminal that ends in the test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(text []byte) (int, error) {
	l.t.Log(string(text))
	return len(text), nil
}

// begin brings the stack of a run up, and takes it down after the test.
func begin(t testing.TB, c Config) *session {
	t.Helper()
	s, err := prepare(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stack.Down(context.Background()) })
	return s
}

// slow says that the stack has the stand-in that a fresh machine starts with, and sets a rate that
// it can hold.
func (s *session) slow(rate string) bool {
	if s.stack.MongoKind() != stack.SecantusPy {
		return false
	}
	s.k6.env["RATE"] = rate
	return true
}

func mustComplete(t *testing.T, s *session) *reports.Run {
	t.Helper()
	result, err := s.complete(t.Context())
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

// TestPlantedBugs: after 10,000 writes (1,000 on the slow stand-in), a document is made as it would be had its event been dropped,
// one as a stale write leaves it, and one as a late write to a deleted row does. Each must fail the
// run with its own status, and nothing else may be found.
func TestPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("a run of 20 s with 10,000 writes; left out by -short")
	}
	ctx, least := t.Context(), int64(9_900)
	s := begin(t, smoke(t, 500, 20*time.Second))
	if s.slow("50") {
		least = 990
	}
	err := errors.Join(s.floor(ctx), s.load(ctx))
	s.drain(ctx)
	planted := sabotage(t, s.stack.Endpoints().MongoURI)
	s.check(ctx)
	if err := errors.Join(err, s.down(ctx)); err != nil {
		t.Fatal(err)
	}
	result, err := s.finish()
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
			t.Errorf("%d rows are %s, want one, %s, in the examples %+v", n, status, key, run.Consistency.Examples)
		}
	}
	if bad := run.Consistency.Rows - run.Consistency.Counts[reports.OK]; bad != 2 {
		t.Errorf("%d rows are not ok, want the 2 that still exist: %s", bad, run.Consistency.Sentence())
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

// sabotage plants each bug in the first document that suits it and returns the keys by status.
func sabotage(t *testing.T, uri string) map[string]string {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	planted := map[string]string{}
	for _, bug := range []struct {
		status, collection string
		suits, update      bson.M
	}{
		{reports.Lost, "customers", bson.M{"cdcMetadata.deleted": bson.M{"$ne": true}}, nil},
		{reports.Stale, "addresses", bson.M{"cdcMetadata.deleted": bson.M{"$ne": true}}, bson.M{"$set": bson.M{"labVersion": int64(0)}}},
		{reports.Resurrected, "addresses", bson.M{"cdcMetadata.deleted": true}, bson.M{"$unset": bson.M{"cdcMetadata.deleted": "", "cdcMetadata.deletedAt": ""}}},
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
	s := begin(t, c)
	if kind := s.stack.MongoKind(); kind != stack.SecantusRS {
		t.Skipf("the server is %s: only secantusd-rs can be started without its sync flag and loses enough", kind)
	}
	run := mustComplete(t, s)
	bad := run.Consistency.Counts[reports.Lost] + run.Consistency.Counts[reports.Stale] +
		run.Consistency.Counts[reports.Resurrected]
	if bad == 0 || run.Verdict.Status != reports.Fail {
		t.Errorf("verdict %s, %s: want the loss found", run.Verdict.Status, run.Consistency.Sentence())
	}
}
