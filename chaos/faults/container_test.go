package faults

import (
	"context"
	"errors"
	"testing"

	"github.com/cdclab/cdclab/stack"
)

// box is a part in a container of an engine that does as told, unless it lies.
type box struct {
	stack.Component
	percent    int
	throttled  float64
	plugged    stack.Networks
	lies, deaf bool
}

func (b *box) Name() string { return stack.Mongo }

func (b *box) LimitCPU(_ context.Context, percent int) error {
	if b.percent = percent; !b.lies {
		b.throttled += 1.25
	}
	return nil
}

func (b *box) FreeCPU(context.Context) error { b.percent = 0; return nil }

func (b *box) Usage(context.Context) (stack.Usage, error) {
	return stack.Usage{ThrottledSeconds: b.throttled}, nil
}

func (b *box) Networks(context.Context) (stack.Networks, error) { return b.plugged, nil }

func (b *box) Unplug(context.Context, stack.Networks) error {
	if !b.lies {
		b.plugged = nil
	}
	return nil
}

func (b *box) Plug(_ context.Context, into stack.Networks) error { b.plugged = into; return nil }

func (b *box) Health(context.Context) error {
	if b.plugged == nil && !b.deaf {
		return errors.New("no answer")
	}
	return nil
}

func boxed(t *testing.T, b *box, fault string, with Values) *Injection {
	t.Helper()
	b.plugged = stack.Networks{"mongo": nil}
	kind, _ := Find(fault)
	site := Site{Target: stack.Mongo, Part: b, Ends: []stack.Component{b},
		With: with.WithDefaults(kind)}
	must(t, kind.Impossible(site))
	if kind.Impossible(Site{Target: stack.Mongo, Part: newProgram(t)}) == nil {
		t.Error("a process is no container")
	}
	return kind.Bind(site)
}

// TestLimitedCPU: a quota that the container never reaches is no fault.
func TestLimitedCPU(t *testing.T) {
	t.Parallel()
	for _, b := range []*box{{throttled: 7}, {throttled: 7, lies: true}} {
		i := boxed(t, b, "cpu-limited", Values{"percent": "5"})
		must(t, i.Inject(t.Context()))
		if b.percent != 5 {
			t.Errorf("%d per cent", b.percent)
		}
		if b.lies {
			proven(t, i, "", "mongo was never kept from running")
		} else {
			proven(t, i, "mongo was kept from running for 1.2 s", "")
		}
		must(t, i.Undo(t.Context()))
		if b.percent != 0 {
			t.Error("the quota stayed")
		}
	}
}

// TestUnplugged: a container that stays in a network, or serves without, has no fault.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	for missing, b := range map[string]*box{"": {}, "mongo is in 1 networks": {lies: true},
		"mongo serves without a network": {deaf: true}} {
		i := boxed(t, b, "unplugged", nil)
		must(t, i.Undo(t.Context())) // nothing was done
		must(t, i.Inject(t.Context()))
		proven(t, i, "mongo is in no network, 1 before", missing)
		must(t, i.Undo(t.Context()))
		if len(b.plugged) != 1 {
			t.Error("the container has no network")
		}
	}
}
