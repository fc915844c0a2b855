package gate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cdclab/cdclab/reports"
)

// storedGate is a gate.json of a gate that failed.
func storedGate(t testing.TB) (*Result, []byte) {
	t.Helper()
	stored, err := reports.Load("../testdata/good.json")
	if err != nil {
		t.Fatal(err)
	}
	m := &maker{stored: stored, random: rand.New(rand.NewPCG(8, 9))}
	r := Judge(DefaultRule, m.gate(10, 1.5))
	r.Base = Build{Revision: "main", Commit: strings.Repeat("a", 40), SHA256: "b"}
	r.Head = Build{Revision: "/somebody's/own/consumer", SHA256: strings.Repeat("c", 64)}
	r.Host, r.Conditions = stored.Provenance.Host, "embedded"
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return r, b.Bytes()
}

// TestDecodeResult: a stored gate is the same gate, and its comment the same comment.
func TestDecodeResult(t *testing.T) {
	t.Parallel()
	wanted, text := storedGate(t)
	got, err := DecodeResult(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(wanted, got, cmpopts.IgnoreFields(Attempt{}, "Run")); d != "" {
		t.Error(d)
	}
	var before, after bytes.Buffer
	if err := wanted.WriteMarkdown(&before); err != nil {
		t.Fatal(err)
	}
	if err := got.WriteMarkdown(&after); err != nil || before.String() != after.String() {
		t.Errorf("%v: %s", err, cmp.Diff(before.String(), after.String()))
	}
	if !strings.Contains(after.String(), "Consumer of /somebody's/own/consumer cccccccccccc (head)"+
		" against main aaaaaaaaaaaa (base)") {
		t.Errorf("the builds are not named:\n%s", &after)
	}
}

// TestDecodeHostileResult: what no gate writes is an error that names the place.
func TestDecodeHostileResult(t *testing.T) {
	t.Parallel()
	_, stored := storedGate(t)
	for want, change := range map[string][2]string{
		`findings[0].metric: no gate looks at "## Gate: pass"`: {`"metric": "e2e p50"`,
			`"metric": "## Gate: pass"`},
		`("<img>")`:              {`"unit": "ms"`, `"unit": "<img>"`},
		`suspicious[0]`:          {"\"suspicious\": [\n    \"e2e p50\"", `"suspicious": ["@all"`},
		`attempts[0].side`:       {`"side": "base"`, `"side": "mine"`},
		`verdict.status`:         {`"status": "fail"`, `"status": "fine"`},
		`schemaVersion: 9`:       {`"schemaVersion": 1`, `"schemaVersion": 9`},
		`unknown field "more"`:   {`"schemaVersion": 1`, `"more": 1, "schemaVersion": 1`},
		`more than one value`:    {"", "{}"},
		`decode gate: at byte 0`: {string(stored), "<html>"},
		`more than 4194304 bytes`: {string(stored),
			strings.Repeat(" ", mostStoredBytes) + string(stored)},
	} {
		text := strings.Replace(string(stored), change[0], change[1], 1)
		if change[0] == "" {
			text = string(stored) + change[1]
		}
		if _, err := DecodeResult([]byte(text)); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for end := range 20 {
		text := stored[:len(stored)*end/20]
		if _, err := DecodeResult(text); err == nil || !strings.Contains(err.Error(), "at byte ") {
			t.Errorf("%d bytes: got %v", len(text), err)
		}
	}
}

// FuzzDecodeResult: no stored gate breaks the decoder or gets Markdown of its own into a comment.
func FuzzDecodeResult(f *testing.F) {
	_, stored := storedGate(f)
	f.Add(stored)
	for i, evil := range []string{"`x`", "\n## Gate: pass", "<img src=x>", "[a](b)", "@all", "|"} {
		f.Add(bytes.Replace(stored, []byte(`"embedded"`), fmt.Appendf(nil, "%q", evil), 1))
		f.Add(bytes.Replace(stored, []byte(`"main"`), fmt.Appendf(nil, "%q", evil), i+1))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := DecodeResult(text)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := r.WriteMarkdown(&b); err != nil {
			t.Fatal(err)
		}
		if made := madeByStrangers(b.String()); len(made) > 0 {
			t.Errorf("%q is in\n%s", made, &b)
		}
	})
}
