package documents

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/cdclab/cdclab/consumer/consumertest"
)

// testFresh: a fresh row is written to a place that is new, ended, a shell or a snapshot's.
func testFresh(t *testing.T, s Store) {
	fresh := func(id string, n int) Write {
		w := row(id, n, consumertest.Insert, set("n", int64(n)))
		w.Fresh = true
		return w
	}
	step(t, s, applied, fresh("a", 1))
	step(t, s, stale, fresh("a", 2))
	step(t, s, applied, row("a", 3, consumertest.Update))
	step(t, s, stale, fresh("a", 4))
	step(t, s, applied, row("a", 5, consumertest.Remove))
	step(t, s, stale, fresh("a", 5))
	step(t, s, applied, fresh("a", 6))
	wantDocument(t, s, "a", bson.M{"_id": "a", "n": int64(6)})
	step(t, s, applied, itemRow("shell", "i1", 1, consumertest.Insert))
	step(t, s, applied, fresh("shell", 2))
	read := row("read", 1, consumertest.Insert)
	read.Operation = "SNAPSHOT"
	step(t, s, applied, read)
	step(t, s, applied, fresh("read", 2))
}

// testMatching: rows are found by members, ended rows too.
func testMatching(t *testing.T, s Store) {
	for i, id := range []string{"a", "b", "c"} {
		step(t, s, applied, row(id, 1, consumertest.Insert, set("code", "x"),
			set("n", int64(i/2)), set("d", bson.D{{Key: "$gt", Value: int64(i)}})))
	}
	step(t, s, applied, row("b", 2, consumertest.Remove))
	for _, c := range []struct {
		by   bson.D
		most int
		want int
	}{
		{bson.D{{Key: "code", Value: "x"}}, 10, 3}, {bson.D{{Key: "code", Value: "x"}}, 2, 2},
		{bson.D{{Key: "code", Value: "x"}, {Key: "n", Value: int64(0)}}, 10, 2},
		{bson.D{{Key: "code", Value: "y"}}, 10, 0}, {bson.D{{Key: "none", Value: "x"}}, 10, 0},
		{bson.D{{Key: "d", Value: bson.D{{Key: "$gt", Value: int64(1)}}}}, 10, 1},
	} {
		raw, err := bson.Marshal(c.by)
		if err != nil {
			t.Fatal(err)
		}
		found, err := s.Matching(context.Background(), "orders", raw[4:len(raw)-1], c.most)
		if err != nil || len(found) != c.want {
			t.Errorf("%v: %d rows, %v; want %d", c.by, len(found), err, c.want)
		}
	}
}

// testNew: an update that makes a document is told from all other writes of a bulk.
func testNew(t *testing.T, s Store) {
	step(t, s, applied, row("there", 1, consumertest.Insert))
	step(t, s, applied, row("ended", 1, consumertest.Remove))
	writes := []Write{row("made", 2, consumertest.Insert), row("there", 2, consumertest.Update),
		row("new", 2, consumertest.Update), row("there too", 2, consumertest.Remove),
		row("ended", 2, consumertest.Update), row("new, too", 2, consumertest.Update)}
	for _, want := range []string{"new; new, too; ", ""} { // the second time all are stale
		got := ""
		for i, done := range s.Apply(context.Background(), writes) {
			if done.Err != nil {
				t.Errorf("%s: %v", writes[i].ID, done.Err)
			}
			if done.New {
				got += writes[i].ID + "; "
			}
		}
		if got != want {
			t.Errorf("made by updates: %q, want %q", got, want)
		}
	}
}
