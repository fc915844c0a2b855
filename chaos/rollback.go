package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/stack"
)

// Rollback is an action after the last Fault was undone. Rollbacks are always run, in their order,
// also when the run ended early or a Fault could not be undone.
type Rollback struct {
	// Action is a word of rollbackActions, Target the name of a part.
	Action string `yaml:"action"`
	Target string `yaml:"target"`

	node ast.Node
}

// The actions of rollbacks.
const (
	// startAction starts a part that does not serve, and leaves any other part alone.
	startAction = "start"
	// restartAction ends the part in good order and starts the part again.
	restartAction = "restart"
)

var rollbackActions = []string{startAction, restartAction}

// UnmarshalYAML decodes a rollback and keeps the rollback's place in the file.
func (r *Rollback) UnmarshalYAML(node ast.Node) error {
	type plain Rollback
	if err := decode(node, (*plain)(r)); err != nil {
		return err
	}
	r.node = node
	return nil
}

// validate checks the Rollback against the actions and the parts.
func (r *Rollback) validate(consumers int) error {
	if !slices.Contains(rollbackActions, r.Action) {
		return complain(r.node, "action", fmt.Sprintf(
			"unknown action %q of a rollback; there are %s", r.Action,
			strings.Join(rollbackActions, ", ")))
	}
	restart, _ := faults.Find("restart") // every part can be started
	if parts := restart.TargetsOf(consumers); !slices.Contains(parts, r.Target) {
		return complain(r.node, "target", fmt.Sprintf(
			"unknown target %q of a rollback; there are %s", r.Target, strings.Join(parts, ", ")))
	}
	return nil
}

// RollBack runs the Plan's rollbacks on s and says a line for each. A failed rollback does not keep
// the next from being run. The end of ctx ends no rollback.
func (p *Plan) RollBack(ctx context.Context, s *stack.Stack, say func(string)) error {
	return p.rollBack(ctx, func(name string) (stack.Component, error) {
		return s.Component(name)
	}, say)
}

func (p *Plan) rollBack(ctx context.Context, find func(string) (stack.Component, error),
	say func(string)) error {
	var failed []error
	for i := range p.Rollbacks {
		r := &p.Rollbacks[i]
		part, err := find(r.Target)
		done := ""
		if err == nil {
			done, err = r.do(ctx, part)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("rollback %s of %s: %w", r.Action, r.Target, err))
			done = err.Error()
		}
		say(fmt.Sprintf("rollback: %s of %s: %s", r.Action, r.Target, done))
	}
	return errors.Join(failed...)
}

// do runs one rollback and says what was done.
func (r *Rollback) do(ctx context.Context, part stack.Component) (done string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if r.Action == startAction && part.Health(ctx) == nil {
		return "the part serves already", nil
	}
	if err := part.Stop(ctx); err != nil {
		return "", err
	}
	if err := part.Start(ctx); err != nil {
		return "", err
	}
	return "started", nil
}
