package progress

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/ledger"
)

// shownBy returns a progress's output at seconds after its beginning, with 100 commits a second.
func shownBy(t *testing.T, change func(*Progress), seconds ...int) string {
	t.Helper()
	var out strings.Builder
	p := New(&out, false)
	p.Status, p.Total = filepath.Join(t.TempDir(), "status"), 30*time.Second
	p.Lag = func() float64 { return 12 }
	change(p)
	begin := time.Unix(1000, 0)
	p.tick(begin.Add(-time.Minute)) // there is no status yet
	for _, s := range append([]int{0}, seconds...) {
		status := ledger.Status{AtNs: int64(1+s) * 1e9, Acked: int64(100 * s), Queued: 1,
			Executing: 2, Outstanding: 3, P95Ns: 4_200_000}
		if err := status.Store(p.Status); err != nil {
			t.Fatal(err)
		}
		p.tick(begin.Add(time.Duration(s) * time.Second))
	}
	return out.String()
}

func TestProgressInALog(t *testing.T) {
	want := "load: 10s of 30s, 100/s, 6 in flight, lag 12, p95 4.2 ms so far, 20s to go\n" +
		"load: 31s of 30s, 100/s, 6 in flight, lag 12, p95 4.2 ms so far, draining\n"
	if got := shownBy(t, func(*Progress) {}, 1, 9, 10, 11, 19, 31, 32); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestProgressInPlace(t *testing.T) {
	got := shownBy(t, func(p *Progress) {
		p.inPlace = true
		p.Lag = func() float64 { return -1 }
	}, 1, 2)
	want := "\r\x1b[K1s of 30s, 100/s, 6 in flight, lag ?, p95 4.2 ms so far, 29s to go" +
		"\r\x1b[K2s of 30s, 100/s, 6 in flight, lag ?, p95 4.2 ms so far, 28s to go"
	if got != want {
		t.Errorf("got %q", got)
	}
}

// TestProgressInANarrowTerminal: a line is cut, because a wrapped line could not be written over.
func TestProgressInANarrowTerminal(t *testing.T) {
	got := shownBy(t, func(p *Progress) { p.inPlace = true; p.width = func() int { return 30 } }, 1)
	if want := "\r\x1b[K1s of 30s, 100/s, 6 in flight"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestProgressBeginsWithTheLoad: the first rate in a log leaves out the rows from before the load,
// and there is no percentile of nothing.
func TestProgressBeginsWithTheLoad(t *testing.T) {
	var out strings.Builder
	p := New(&out, false)
	p.Status, p.Total = filepath.Join(t.TempDir(), "status"), 30*time.Second
	p.Lag = func() float64 { return 12 }
	for s := range int64(11) {
		status := ledger.Status{AtNs: (5 + s) * 1e9, Acked: 200 + 50*s}
		if err := status.Store(p.Status); err != nil {
			t.Fatal(err)
		}
		p.tick(time.Unix(1000+s, 0))
	}
	want := "load: 10s of 30s, 50/s, 0 in flight, lag 12, p95 ? so far, 20s to go\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestProgressAsJSON(t *testing.T) {
	want := `{"elapsedSeconds":10,"totalSeconds":30,"rate":100,` +
		`"inFlight":6,"lag":12,"p95Ms":4.2,"failed":0}` + "\n"
	if got := shownBy(t, func(p *Progress) { p.json = true }, 5, 10); got != want {
		t.Errorf("got %s", got)
	}
}
