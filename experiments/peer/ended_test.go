package peer

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cdclab/cdclab/reports"
)

// TestEndedComparison: the rounds before an early end are stored with the reason, and whatever
// fails after the last round is a note. Without a round there is nothing to store.
func TestEndedComparison(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sink-peer.json")
	rounds := append(testRounds(), Round{Round: 4, Sink: OwnSink, Server: NullServer, Events: 1000})
	r := &Result{Events: 1000, Rounds: rounds, Path: path}
	got, err := r.conclude(context.Canceled, errors.New("mongo did not end"))
	if err != nil {
		t.Fatal(err)
	}
	verdict := got.Verdict()
	if verdict.Status != reports.Unknown || !slices.Equal(verdict.Reasons,
		[]string{"the comparison was ended before its time: context canceled"}) ||
		!slices.Equal(got.Notes, []string{"after the comparison: mongo did not end"}) {
		t.Errorf("verdict %+v, notes %q", verdict, got.Notes)
	}
	text, err := os.ReadFile(path)
	var stored Result
	if err := errors.Join(err, json.Unmarshal(text, &stored)); err != nil {
		t.Fatal(err)
	}
	if len(stored.Rounds) != 9 || len(stored.Summaries) != 2 || stored.EndedBy == "" {
		t.Errorf("%d rounds, %d summaries, ended by %q", len(stored.Rounds), len(stored.Summaries),
			stored.EndedBy)
	}
	if _, err := (&Result{Path: path}).conclude(context.Canceled, nil); err == nil {
		t.Error("nothing was measured, and no error")
	}
}
