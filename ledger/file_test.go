package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func write(t *testing.T, writes []Write, end *End) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	w, err := Create(path, Header{StartUnixNs: 5, Tracker: "poll", ResolutionNs: 7, Seed: 3,
		Overridden: []string{"seed"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range writes {
		if err := w.Append(&writes[i]); err != nil {
			t.Fatal(err)
		}
	}
	if end == nil {
		err = w.Break()
	} else {
		err = w.Close(*end)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func read(path string) (writes []Write, header Header, end End, err error) {
	header, end, err = Read(path, func(w Write) error {
		writes = append(writes, w)
		return nil
	})
	return writes, header, end, err
}

// marksOf are the Marks of the file at path, in the file's order.
func marksOf(path string) (marks []Mark, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if kindOf(line) != markKind {
			continue
		}
		var m Mark
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, nil
}

var two = []Write{
	{ID: 1, Scenario: "load", Entity: "customer", Op: Insert, Key: "k", IntendedNs: 1,
		EnqueuedNs: 2, SentNs: 3,
		CommittedNs: 4, VisibleNs: 5, Fate: Acked},
	{ID: 2, Scenario: "load", Entity: "order", Op: Delete, Key: "l", Fate: Indeterminate,
		TimedOut: true, AskedEntity: "customer", AskedOp: Update,
		Superseded: true, Untracked: true, Error: "line\nbreak \"quoted\" <&> \u2028"},
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	writes, header, end, err := read(write(t, two,
		&End{Outstanding: 1, QueueMax: 2, Substituted: 3, TrackerErrors: 4,
			WentBack: 15, FirstBack: &Backward{"d", "k", 16, true, 17},
			SlowestLookNs: 5, ClosedNs: 6, MedianLookNs: 7, TrackerOperations: 8,
			ServerOperations: 9, ServerCounted: true, BudgetAsked: 0.1, BudgetKept: 0.2,
			SampleAsked: 0.3, SampleKept: 0.4, GCPauseMaxNs: 10, SchedulerDelayP99Ns: 11,
			Scenarios: []Scenario{{"load", 12, 13}}, DrainNs: 14}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(two, writes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Header{Version, 5, "poll", 7, 3, []string{"seed"}, "", ""},
		header); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(End{true, 2, 1, 2, 3, 4, 15, &Backward{"d", "k", 16, true, 17}, 5, 7, 8,
		9, true, 0.1, 0.2, 0.3, 0.4, 10, 11, []Scenario{{"load", 12, 13}}, 14, 6},
		end); diff != "" {
		t.Error(diff)
	}
}

func TestRoundTripOfAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var file bytes.Buffer
		fmt.Fprintf(&file, `{"version":%d}`+"\n", Version)
		want := Write{
			ID: rapid.Int64().Draw(t, "id"), Key: rapid.String().Draw(t, "key"),
			Error:    rapid.String().Draw(t, "error"),
			Scenario: rapid.String().Draw(t, "scenario"), Fate: Failed,
			SentNs: rapid.Int64().Draw(t, "sent"),
		}
		encoder := json.NewEncoder(&file)
		if err := errors.Join(encoder.Encode(want),
			encoder.Encode(End{End: true, Writes: 1})); err != nil {
			t.Fatal(err)
		}
		var got []Write
		_, end, err := decode(&file, func(w Write) error {
			got = append(got, w)
			return nil
		})
		if err != nil || !end.End || len(got) != 1 || got[0] != want {
			t.Fatalf("got %+v, %+v, %v\nwant %+v", got, end, err, want)
		}
	})
}

// Marks and lines of a later version's kinds stand among the writes, and Read does not see them.
func TestMarks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	w, err := Create(path, Header{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Mark{{"mark", "deploy \"b\"", 7, "load"}, {"mark", "end", 9, ""}}
	err = errors.Join(w.Append(&two[0]), w.Mark(Mark{Label: want[0].Label, AtNs: 7,
		Scenario: "load"}), w.Append(&two[1]),
		w.encode.Encode(map[string]any{"kind": "weather", "id": "rain"}),
		w.Mark(Mark{Label: "end", AtNs: 9}), w.Close(End{}))
	if err != nil {
		t.Fatal(err)
	}
	marks, err := marksOf(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, marks); diff != "" {
		t.Error(diff)
	}
	writes, _, end, err := read(path)
	if diff := cmp.Diff(two, writes); err != nil || diff != "" || end.Writes != 2 {
		t.Errorf("%v, end %+v\n%s", err, end, diff)
	}
}

// TestFlush: a reader finds the lines of a generator that was killed after the last Flush.
func TestFlush(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	w, err := Create(path, Header{})
	if err := errors.Join(err, w.Append(&two[0]), w.Flush(), w.Append(&two[1])); err != nil {
		t.Fatal(err)
	}
	writes, _, _, err := read(path)
	if diff := cmp.Diff(two[:1], writes); diff != "" || !errors.Is(err, ErrTruncated) {
		t.Errorf("%v %s", err, diff)
	}
}

// A full disk is noticed while the test goes on, not only at the end of the test.
func TestAppendSaysThatTheDiskIsFull(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	w, err := Create("/dev/full", Header{})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err = w.Append(&two[0]); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !errors.Is(w.Mark(Mark{}), syscall.ENOSPC) ||
		!errors.Is(w.Close(End{}), syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

func TestNotFinished(t *testing.T) {
	t.Parallel()
	writes, _, end, err := read(write(t, two, nil))
	if !errors.Is(err, ErrTruncated) || len(writes) != 2 || end.End {
		t.Errorf("got %d writes, end %v, error %v", len(writes), end, err)
	}
}

// Each damage is found, and the error names the line.
func TestDamage(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(write(t, two, &End{}))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for name, test := range map[string]struct {
		text, want string
		truncated  bool
	}{
		"empty":         {"", "no end line", true},
		"only a header": {lines[0], "no end line", true},
		"no header":     {lines[1] + lines[3], "line 1: ledger version 0, want 1", false},
		"another version": {strings.Replace(string(whole), `"version":1`, `"version":2`, 1),
			"line 1: ledger version 2, want 1", false},
		"a header that is none": {"hello\n", "line 1: invalid character", false},
		"cut inside a line":     {lines[0] + lines[1] + lines[2][:20], "line 3: cut off", true},
		"cut inside the first":  {lines[0] + lines[1][:20], "line 2: cut off", true},
		"cut inside the end": {lines[0] + lines[1] + lines[2] + lines[3][:5],
			"line 4: cut off", true},
		"broken in the middle": {lines[0] + lines[1][:20] + "\n" + lines[2] + lines[3],
			"line 2: ", false},
		"a wrong type": {lines[0] + strings.Replace(lines[1], `"id":1`, `"id":"1"`, 1),
			"line 2: ", false},
		"a line without an end": {lines[0] + strings.Repeat(" ", 2<<20) + lines[1],
			"line 2: more than 1048576 bytes", false},
		"a line is missing": {lines[0] + lines[1] + lines[3],
			"line 3: the end says 2 writes, the file has 1", false},
		"a line after the end": {string(whole) + lines[1],
			"line 4: there is more after the end line", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger.jsonl")
			if err := os.WriteFile(path, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			writes, _, end, err := read(path)
			if errors.Is(err, ErrTruncated) && end.Writes != int64(len(writes)) {
				t.Errorf("the end says %d writes of %d", end.Writes, len(writes))
			}
			if err == nil || !strings.Contains(err.Error(), test.want) ||
				errors.Is(err, ErrTruncated) != test.truncated {
				t.Errorf("got %v (truncated: %v), want %q (%v)", err, errors.Is(err, ErrTruncated),
					test.want, test.truncated)
			}
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
		})
	}
}

func TestReadStopsWhereTheCallerDoes(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	_, _, err := Read(write(t, two, &End{}), func(Write) error { return enough })
	if !errors.Is(err, enough) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
}

func TestCreateFails(t *testing.T) {
	t.Parallel()
	if _, err := Create(t.TempDir(), Header{}); err == nil {
		t.Error("a folder was opened as a ledger")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"version":1}` + "\n" + `{"id":1}` + "\n" + `{"end":true,"writes":1}` + "\n"))
	f.Add([]byte(`{"version":1}` + "\n" + `{"kind":"mark","label":"a","atNs":1}` + "\n" +
		`{"end":true}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var writes int64
		_, end, err := decode(bytes.NewReader(text), func(Write) error {
			writes++
			return nil
		})
		if err == nil && (!end.End || end.Writes != writes) {
			t.Errorf("accepted %q: end %+v after %d writes", text, end, writes)
		}
	})
}
