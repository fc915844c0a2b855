package reports

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEveryRowStatusIsStored: a run.json holds every finding of the table check, be it PostgreSQL's
// own loss, alone or beside a loss of the pipeline.
func TestEveryRowStatusIsStored(t *testing.T) {
	t.Parallel()
	all := Consistency{Checked: true, Rows: 9, Documents: 9, Counts: map[RowStatus]int64{},
		Examples: []Example{}}
	for _, status := range RowStatuses {
		all.Counts[status] = 1
		if status != OK {
			all.Examples = append(all.Examples,
				Example{status, "order", "1", "why", []string{"note"}})
		}
	}
	sourceOnly := Consistency{Checked: true, Rows: 5, Documents: 5,
		Counts:   map[RowStatus]int64{OK: 5, SourceLoss: 1},
		Examples: []Example{{SourceLoss, "order", "1", "why", nil}}}
	for want, c := range map[Status]Consistency{Fail: all, Unknown: sourceOnly} {
		run := goodRun(t)
		run.Consistency = c
		got, err := Decode(strings.NewReader(encoded(t, run)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got.Consistency); diff != "" {
			t.Error(diff)
		}
		if status := c.Status(); status != want {
			t.Errorf("%s is %s, want %s", c.Sentence(), status, want)
		}
	}
}

// TestLettersOnTheWay: a dead letter is not missed while the pipeline had not drained.
func TestLettersOnTheWay(t *testing.T) {
	t.Parallel()
	run := goodRun(t)
	run.Letters = Letters{Unreadable: 9, Missing: 1}
	run.Consistency.NotDrained("the consumer is 3 records behind")
	got := Judge(run)
	if want := "1 unreadable record has no dead letter."; got.Status != Unknown ||
		!slices.Contains(got.Reasons, want) {
		t.Errorf("%s %q, want unknown and %q", got.Status, got.Reasons, want)
	}
}
