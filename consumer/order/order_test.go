package order

import (
	"fmt"
	"testing"
	"time"

	"github.com/cdclab/cdclab/consumer/documents"
)

// TestJudge: neither a clock alone nor the order of transactions alone makes a replay an alarm.
func TestJudge(t *testing.T) {
	t.Parallel()
	at := func(first, second uint64) string { return fmt.Sprintf("0000%016x%016x", first, second) }
	stored := documents.Metadata{Position: at(900, 910), TxID: 700, SourceTimestamp: 1_000_000,
		Operation: "UPDATE", Topic: "t", Offset: 5}
	event := func(tx uint32, after time.Duration, offset int64) Event {
		return Event{Position: at(100, 110), TxID: tx, Topic: "t", Offset: offset,
			SourceAt: time.UnixMilli(1_000_000).Add(after)}
	}
	unseen, resent, letter := event(699, 0, 6), event(701, time.Hour, 6), event(701, time.Hour, 6)
	unseen.Unseen, resent.Resent, letter.Letter = true, true, true
	unmet := func(e Event) Event { e.Unmet = true; return e }
	other := event(701, time.Hour, 6)
	other.Position = "0001" + other.Position[4:]
	elsewhere := func(e Event) Event { e.Partition = 1; return e }
	anew := event(0, time.Hour, 4)
	anew.Incarnation = 1
	for name, c := range map[string]struct {
		event Event
		want  Verdict
	}{
		"replay":                 {event(699, 0, 3), Older},
		"clock stepped back":     {event(699, time.Hour, 6), Older},
		"long transaction":       {event(701, 0, 6), Older},
		"later and newer":        {event(701, time.Hour, 6), Contradictory},
		"transactions wrapped":   {event(1<<31+600, time.Hour, 6), Contradictory},
		"transaction not known":  {event(0, time.Hour, 6), Contradictory},
		"not met, behind stored": {unseen, Contradictory},
		"sent again":             {resent, Older}, "replayed letter": {letter, Older},
		"not known, an hour later": {unmet(event(699, time.Hour, 6)), Contradictory},
		"not known, seconds later": {unmet(event(699, 10*time.Second, 6)), Older},
		"not known, before stored": {unmet(event(699, time.Hour, 5)), Older},
		"not known, of a replay":   {unmet(event(699, -time.Hour, 6)), Older},
		"another epoch":            {other, Older},
		"seconds later": {event(701, 10*time.Second, 6),
			Contradictory},
		"elsewhere, seconds later": {elsewhere(event(701, 10*time.Second, 6)),
			Older},
		"elsewhere, hours later": {elsewhere(event(701, time.Hour, 6)),
			Contradictory},
		"redelivered, transaction not known":          {event(0, time.Hour, 4), Older},
		"in a topic made anew, transaction not known": {anew, Contradictory},
	} {
		if got := c.event.Judge(stored); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

// TestJudgeByTheStoredRow: the stored row decides what can be told of an event an hour later.
func TestJudgeByTheStoredRow(t *testing.T) {
	t.Parallel()
	at := func(epoch int, first, second uint64) string {
		return fmt.Sprintf("%04x%016x%016x", epoch, first, second)
	}
	event := Event{Position: at(0, 100, 110), TxID: 701, Topic: "t", Offset: 6,
		SourceAt: time.UnixMilli(1_000_000).Add(time.Hour)}
	change := func(change func(*Event)) Event { e := event; change(&e); return e }
	unmet := change(func(e *Event) { e.Unmet, e.TxID = true, 0 })
	first := change(func(e *Event) { e.Position, e.Unseen = at(0, 0, 110), true })
	again := change(func(e *Event) { e.Position, e.Read, e.ReadAt = at(0, 0, 900), true, 900 })
	placed := change(func(e *Event) { e.Position, e.Read, e.ReadAt = at(0, 100, 0), true, 100 })
	replayed := change(func(e *Event) {
		e.Position, e.Read, e.ReadAt, e.Offset, e.SourceAt = at(0, 100, 0), true, 100, 4,
			time.UnixMilli(900_000)
	})
	stored := documents.Metadata{Position: at(0, 900, 910), TxID: 700, SourceTimestamp: 1_000_000,
		Operation: "UPDATE", Topic: "t", Offset: 5}
	for name, c := range map[string]struct {
		event  Event
		stored func(*documents.Metadata)
		want   Verdict
	}{
		"as it is": {event, func(*documents.Metadata) {}, Contradictory},
		"transactions wrapped before": {event,
			func(s *documents.Metadata) { s.TxID = 1<<32 - 5 }, Contradictory},
		"a higher epoch": {event,
			func(s *documents.Metadata) { s.Position = at(1, 900, 910) }, Older},
		"no time": {unmet, func(s *documents.Metadata) { s.SourceTimestamp = 0 }, Older},
		"no time, tx": {event,
			func(s *documents.Metadata) { s.SourceTimestamp = 0 }, Older},
		"a tombstone without a delete": {unmet,
			func(s *documents.Metadata) { s.Operation = documents.OperationTombstone }, Older},
		"a snapshot's row, before the first commit": {first,
			func(s *documents.Metadata) { s.Position = at(0, 0, 900) }, Older},
		"a snapshot's row of the same LSN": {again,
			func(s *documents.Metadata) { s.Position = at(0, 0, 900) }, Newer},
		"a snapshot's row with a place": {placed,
			func(*documents.Metadata) {}, Contradictory},
		"a snapshot's row with a place, replayed": {replayed,
			func(*documents.Metadata) {}, Older},
		"a snapshot's row with a place, before a commit": {placed,
			func(s *documents.Metadata) { s.Position = at(0, 110, 90) }, Contradictory},
		"a snapshot's row with the place of the commit": {placed,
			func(s *documents.Metadata) { s.Position = at(0, 100, 90) }, Older},
		"shared from before": {event,
			func(s *documents.Metadata) { s.Shared = at(0, 90, 0) }, Occupied},
	} {
		s := stored
		c.stored(&s)
		if got := c.event.Judge(s); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

// TestJudgeClaim: a place is free, taken by a change of key to come, or of another row.
func TestJudgeClaim(t *testing.T) {
	t.Parallel()
	at := func(epoch int, first, second uint64) string {
		return fmt.Sprintf("%04x%016x%016x", epoch, first, second)
	}
	event := Event{Position: at(0, 900, 950), Topic: "t", Offset: 6}
	change := func(change func(*Event)) Event { e := event; change(&e); return e }
	comes := change(func(e *Event) { e.Comes = true })
	elsewhere := change(func(e *Event) { e.Partition = 1 })
	gap := func(behind int64) Event { return change(func(e *Event) { e.Gap = behind }) }
	for name, c := range map[string]struct {
		event  Event
		stored func(*documents.Metadata)
		want   Verdict
	}{
		"of one transaction":            {elsewhere, func(*documents.Metadata) {}, Occupied},
		"of one transaction, key moved": {comes, func(*documents.Metadata) {}, Displaced},
		"ended": {event,
			func(s *documents.Metadata) { s.Deleted = true }, Newer},
		"ended, key moved": {comes,
			func(s *documents.Metadata) { s.Deleted = true }, Newer},
		"no row": {event,
			func(s *documents.Metadata) { s.Shell = true }, Newer},
		"another epoch": {event,
			func(s *documents.Metadata) { s.Position = at(1, 900, 910) }, Newer},
		"another transaction, elsewhere": {elsewhere,
			func(s *documents.Metadata) { s.Position = at(0, 800, 810) }, Newer},
		"another transaction": {event,
			func(s *documents.Metadata) { s.Position = at(0, 800, 810) }, Occupied},
		"a hole before the stored row": {gap(5),
			func(s *documents.Metadata) { s.Position = at(0, 800, 810) }, Occupied},
		"a hole behind the stored row": {gap(6),
			func(s *documents.Metadata) { s.Position = at(0, 800, 810) }, Newer},
		"a snapshot's row": {elsewhere,
			func(s *documents.Metadata) { s.Position = at(0, 900, 0) }, Newer},
	} {
		s := documents.Metadata{Position: at(0, 900, 910), Topic: "t", Offset: 5}
		c.stored(&s)
		if got := c.event.JudgeClaim(s); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
}

// TestJudgeSnapshot: offsets tell in the partition of the stored row, elsewhere LSNs and clocks.
func TestJudgeSnapshot(t *testing.T) {
	t.Parallel()
	stored := documents.Metadata{Position: fmt.Sprintf("0000%016x%016x", 900, 910), TxID: 700,
		SourceTimestamp: 1_000_000, Operation: "UPDATE", Topic: "t", Offset: 5}
	read := func(lsn uint64, after time.Duration, changes ...func(*Event)) Event {
		e := Event{Position: fmt.Sprintf("0000%016x%016x", 0, lsn), Read: true, ReadAt: lsn,
			Topic: "t", Offset: 6, SourceAt: time.UnixMilli(1_000_000).Add(after)}
		for _, change := range changes {
			change(&e)
		}
		return e
	}
	elsewhere := func(e *Event) { e.Partition = 1 }
	before := func(e *Event) { e.Offset = 4 }
	anew := func(e *Event) { e.Incarnation = 1 }
	other := func(e *Event) { e.Topic = "u" }
	known := func(e *Event) { e.TxID = 701 }
	for name, c := range map[string]struct {
		event Event
		want  Verdict
	}{
		"follows":                          {read(1000, time.Second), Newer},
		"follows, of a log begun anew":     {read(500, time.Second), Contradictory},
		"before":                           {read(1000, time.Second, before), Older},
		"before, a later transaction":      {read(1000, time.Hour, before, known), Contradictory},
		"elsewhere, later":                 {read(1000, time.Second, elsewhere), Newer},
		"elsewhere, earlier":               {read(1000, -time.Second, elsewhere), Older},
		"elsewhere, of a lower LSN":        {read(905, time.Second, elsewhere), Older},
		"elsewhere, of a log begun anew":   {read(500, time.Hour, elsewhere), Contradictory},
		"a topic made anew, clock behind":  {read(1000, -time.Second, anew), Newer},
		"another topic made anew":          {read(1000, -time.Second, anew, other), Older},
		"an incremental snapshot's":        {read(0, time.Hour, elsewhere), Older},
		"a topic made anew, a lower place": {read(905, time.Second, anew), Older},
	} {
		if got := c.event.Judge(stored); got != c.want {
			t.Errorf("%s: verdict %d, want %d", name, got, c.want)
		}
	}
	truncated, event := stored, read(1000, -time.Second, elsewhere)
	truncated.Operation = documents.OperationTruncate
	if got := event.Judge(truncated); got != Newer {
		t.Errorf("elsewhere, read after a truncate: verdict %d, want %d", got, Newer)
	}
	event = read(905, -time.Second, elsewhere)
	if got := event.Judge(truncated); got != Older {
		t.Errorf("elsewhere, read before a truncate's commit: verdict %d, want %d", got, Older)
	}
}

// TestRecent: a change behind others is sent again or unseen, never both; neither where the
// memory does not reach.
func TestRecent(t *testing.T) {
	t.Parallel()
	var r Recent
	for i := range uint64(RecentMax + 2) {
		r.Note(Change{1, 100 + i}, fmt.Sprintf("%04d", 100+i), false)
	}
	for _, c := range []struct {
		id             Change
		position       string
		behind         bool
		resent, unseen bool
	}{
		{Change{1, 100 + RecentMax}, fmt.Sprint(100 + RecentMax), true, true, false},
		{Change{1, 100 + RecentMax}, fmt.Sprint(100 + RecentMax), false, false, false},
		{Change{2, 100 + RecentMax}, "0900", true, false, true},
		{Change{2, 0}, "0901", true, false, true},
		{Change{3, 7}, "0050", true, false, false},
		{Change{3, 8}, "0101", true, false, false}, // forgotten, as all up to there
		{Change{4, 0}, "0950", true, false, true},
		{Change{4, 0}, "0950", true, false, true}, // not known by its LSN
	} {
		resent, unseen := r.Note(c.id, c.position, c.behind)
		if resent != c.resent || unseen != c.unseen {
			t.Errorf("%+v: resent %t, unseen %t", c, resent, unseen)
		}
	}
}

// TestRecall: what was recalled is known, and behind a hole only what came after.
func TestRecall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		offsets        []int64
		change         uint64 // told apart by the LSN
		position       string
		resent, unseen bool
	}{
		"sent again":          {[]int64{0, 1, 2}, 100, "0100", true, false},
		"new":                 {[]int64{0, 1, 2}, 900, "0101", false, true},
		"before all":          {[]int64{0, 1, 2}, 900, "0099", false, false},
		"behind a mark":       {[]int64{0, 2, 3}, 100, "0100", true, false},
		"before a hole":       {[]int64{0, 5, 6}, 100, "0100", false, false},
		"new, behind a hole":  {[]int64{0, 5, 6}, 900, "0102", false, true},
		"nothing is recalled": {nil, 900, "0101", false, false},
	} {
		var r Recent
		for i, offset := range c.offsets {
			place := 100 + uint64(i)
			r.Recall(Change{1, place}, fmt.Sprintf("%04d", place), offset)
		}
		resent, unseen := r.Note(Change{1, c.change}, c.position, true)
		if resent != c.resent || unseen != c.unseen {
			t.Errorf("%s: resent %t, unseen %t", name, resent, unseen)
		}
	}
}
