package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
)

// TestNativePeer: both sinks run, small, on real Kafka, Connect and Debezium. No number of the test
// is a measurement; the consumer's documents are the rows, and what the peer is known to get wrong
// is found.
func TestNativePeer(t *testing.T) {
	if os.Getenv("CDCLAB_NATIVE") == "" {
		t.Skip("starts JVMs: set CDCLAB_NATIVE=1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := DefaultConfig()
	c.Events, c.Rounds, c.Out = 3000, 1, t.TempDir()
	c.Terminal, c.Say = t.Output(), func(line string) { t.Log(line) }
	r, err := Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if faults, failures := r.Faults(), r.OwnFailures(); len(faults)+len(failures) > 0 {
		t.Errorf("faults %q, failures %q", faults, failures)
	}
	if r.Records != 3450 || r.BytesPerEvent < 700 || r.BytesPerEvent > 1200 {
		t.Errorf("%d records of %d events, %d bytes each", r.Records, r.Events, r.BytesPerEvent)
	}
	wantRounds(t, r)
	wantHistory(t, r)
	text, err := os.ReadFile(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	var stored Result
	if err := json.Unmarshal(text, &stored); err != nil || len(stored.Rounds) != len(r.Rounds) ||
		len(stored.History.Cases) != len(r.History.Cases) {
		t.Errorf("stored %d rounds and %d cases: %v",
			len(stored.Rounds), len(stored.History.Cases), err)
	}
	var tables bytes.Buffer
	if err := Write(&tables, r); err != nil {
		t.Error(err)
	}
	t.Logf("%s", tables.String())
}

func wantRounds(t *testing.T, r *Result) {
	t.Helper()
	var into []string
	for _, round := range r.Rounds {
		if round.Server != NullServer {
			into = append(into, round.Server)
			continue
		}
		if round.Writes > round.Events || round.Sink == MongoSink && round.Writes != round.Events ||
			round.Commands < 1 {
			t.Errorf("%d writes in %d commands of %d events by %s", round.Writes, round.Commands,
				round.Events, round.Sink)
		}
		if round.CPUSeconds <= 0 || round.DrainSeconds <= 0 || round.StartSeconds <= 0 ||
			round.PeakRSSBytes < 10<<20 {
			t.Errorf("not measured: %+v", round)
		}
	}
	if own := len(r.Rounds) - len(into); own != 4 {
		t.Errorf("%d rounds into the null server, want 2 of each sink", own)
	}
	if _, ok := r.Ratio(NullServer); !ok {
		t.Error("no ratio")
	}
}

func wantHistory(t *testing.T, r *Result) {
	t.Helper()
	if len(r.History.Cases) != 2*len(caseNames) || r.History.Duplicates != 2000 {
		t.Fatalf("%d cases, %d duplicates", len(r.History.Cases), r.History.Duplicates)
	}
	for _, c := range r.History.Cases {
		keys := 0
		for _, n := range c.Keys {
			keys += n
		}
		want := keysOfCase
		if c.Name == caseKey || c.Name == caseKeyToast {
			want *= 2
		}
		if keys != want {
			t.Errorf("%s of %s: %d keys, want %d", c.Name, c.Sink, keys, want)
		}
		if toast := c.Name == caseToast || c.Name == caseKeyToast; c.Sink == MongoSink && toast &&
			c.Keys[reports.Corrupt] != keysOfCase {
			t.Errorf("%s: the peer has %v, want %d with Debezium's placeholder", c.Name, c.Keys,
				keysOfCase)
		}
	}
	for _, seen := range r.History.Watched {
		if seen.Sink == MongoSink && seen.WentBack+seen.Reappeared == 0 {
			t.Errorf("a reader saw nothing of the duplicates that the peer applied: %+v", seen)
		}
	}
}
