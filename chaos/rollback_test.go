package chaos

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/stack"
)

// errDown is the health of a part that does not serve.
var errDown = errors.New("down")

// rolled is a part that notes what is done.
type rolled struct {
	stack.Component
	health, start error
	done          []string
}

func (p *rolled) Health(ctx context.Context) error { return errors.Join(p.health, ctx.Err()) }

func (p *rolled) Stop(context.Context) error {
	p.done = append(p.done, "stop")
	return nil
}

func (p *rolled) Start(ctx context.Context) error {
	p.done = append(p.done, "start")
	return errors.Join(p.start, ctx.Err())
}

// TestRollBack: each rollback is run, also after the end of the run and after a failed rollback; a
// part that serves is not started.
func TestRollBack(t *testing.T) {
	t.Parallel()
	plan, err := parse([]byte(head + `  - {at: 1s, fault: kill, target: mongo}
rollbacks:
  - {action: start, target: postgres}
  - {action: start, target: consumer}
  - {action: start, target: mongo}
  - {action: restart, target: connector}
`))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]*rolled{"consumer": {health: errDown, start: errors.New("no memory")},
		"mongo": {}, "connector": {}}
	ctx, end := context.WithCancel(t.Context())
	end()
	var said []string
	err = plan.rollBack(ctx, func(name string) (stack.Component, error) {
		if parts[name] == nil {
			return nil, errors.New("no " + name)
		}
		return parts[name], nil
	}, func(line string) { said = append(said, line) })
	want := []string{
		"rollback: start of postgres: no postgres",
		"rollback: start of consumer: no memory",
		"rollback: start of mongo: the part serves already",
		"rollback: restart of connector: started",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"rollback start of postgres: no postgres",
		"rollback start of consumer: no memory"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for name, want := range map[string][]string{"consumer": {"stop", "start"}, "mongo": nil,
		"connector": {"stop", "start"}} {
		if diff := cmp.Diff(want, parts[name].done); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
