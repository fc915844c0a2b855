package chaos

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestPipelineRecovers: a fault is over when everything that depends on the target serves again,
// but for parts held by another fault.
func TestPipelineRecovers(t *testing.T) {
	t.Parallel()
	sick := map[string]error{"connector": errors.New("reconnects"),
		"consumer": errors.New("killed"), "mongo": nil}
	p := &pipeline{health: func(context.Context) map[string]error {
		return sick
	}, broken: map[string]int{}}
	nothing := func(context.Context) error { return nil }
	inject := func(kind, target string) *injection {
		t.Helper()
		i := p.under(&Fault{Kind: kind, Target: target}, &injection{inject: nothing, undo: nothing})
		if err := i.inject(t.Context()); err != nil {
			t.Fatal(err)
		}
		return i
	}
	postgres, consumer := inject("kill", "postgres"), inject("kill", "consumer")
	want := func(words string) {
		t.Helper()
		err := postgres.recovered(t.Context())
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("recovered: %v, want %q", err, words)
		}
	}
	if err := postgres.undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("health of connector: reconnects")
	sick["connector"] = nil
	want("")
	if err := consumer.undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("health of consumer: killed")
	wire := inject("latency", "consumer-mongo")
	want("")
	if err := wire.undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("health of consumer: killed")
}
