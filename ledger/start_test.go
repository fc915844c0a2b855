package ledger

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStartRoundTrip: the reader gets the beginning on its own monotonic clock.
func TestStartRoundTrip(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "started")
	if _, err := ReadStart(path); err == nil {
		t.Error("read a start that is not there")
	}
	began := time.Now().Add(-3 * time.Second)
	if err := StartedAt(began).Store(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadStart(path)
	if err != nil {
		t.Fatal(err)
	}
	at := got.Time()
	if off := at.Sub(began).Abs(); off > 100*time.Millisecond {
		t.Errorf("%v off", off)
	}
	if !strings.Contains(at.String(), " m=") {
		t.Errorf("%v has no monotonic reading: a set clock would shift the faults", at)
	}
}

// TestStartOfASetClock: a wall clock set between the writing and the reading shifts nothing.
func TestStartOfASetClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		<-time.After(2 * time.Second)
		for name, step := range map[string]time.Duration{
			"an hour on": time.Hour, "an hour back": -time.Hour, "not set": 0,
		} {
			s := StartedAt(began)
			s.UnixNs -= step.Nanoseconds() // the writer's clock, as the reader's sees that clock
			if off := s.Time().Sub(began); off != 0 {
				t.Errorf("%s: the load began %v off", name, off)
			}
		}
		s := StartedAt(began)
		<-time.After(20 * time.Millisecond) // the reader looks only now and then
		if off := s.Time().Sub(began); off != 0 {
			t.Errorf("read late: the load began %v off", off)
		}
	})
}
