package chaos

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/chaos/faults"
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
	inject := func(kind, target string) *faults.Injection {
		t.Helper()
		i := p.under(&Fault{Kind: kind, Target: target},
			&faults.Injection{Inject: nothing, Undo: nothing})
		if err := i.Inject(t.Context()); err != nil {
			t.Fatal(err)
		}
		return i
	}
	postgres, consumer := inject("kill", "postgres"), inject("kill", "consumer")
	want := func(words string) {
		t.Helper()
		err := postgres.Recovered(t.Context())
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("recovered: %v, want %q", err, words)
		}
	}
	if err := postgres.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("health of connector: reconnects")
	sick["connector"] = nil
	want("")
	if err := consumer.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("health of consumer: killed")
	wire := inject("latency", "consumer-mongo")
	want("")
	if err := wire.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("health of consumer: killed")
}
