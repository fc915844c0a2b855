package faults

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// box is a part in a container of an engine that does as told, unless it lies. A deaf part serves
// whatever is done to the container. No start is ever over before a kill.
type box struct {
	stack.Component
	percent    int
	throttled  float64
	plugged    stack.Networks
	lies, deaf bool

	mu      sync.Mutex
	frozen  bool
	resumed int
	starts  int
	killed  chan struct{}
}

func (b *box) Name() string { return stack.Mongo }

func (b *box) PIDs() []int { return nil }

func (b *box) Starts() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.starts
}

func (b *box) Start(context.Context) error {
	b.mu.Lock()
	b.starts++
	killed := make(chan struct{})
	b.killed = killed
	b.mu.Unlock()
	if b.lies {
		return nil
	}
	<-killed
	return errors.New("killed in its start")
}

func (b *box) Kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.killed != nil {
		close(b.killed)
		b.killed = nil
	}
	b.plugged = nil
	return nil
}

func (b *box) Pause() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen = !b.lies
	return nil
}

func (b *box) Resume() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen = false
	b.resumed++
	return nil
}

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
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.frozen:
		return errors.New("mongo is paused")
	case b.plugged == nil && !b.deaf:
		return errors.New("no answer")
	}
	return nil
}

func (b *box) site(kind Kind, with Values) Site {
	b.plugged = stack.Networks{"mongo": nil}
	return Site{Target: stack.Mongo, Part: b, Ends: []stack.Component{b},
		With: with.WithDefaults(kind)}
}

func boxed(t *testing.T, b *box, fault string, with Values) *Injection {
	t.Helper()
	kind, _ := Find(fault)
	site := b.site(kind, with)
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

// TestSlowedContainer: a container that is never paused is no evidence.
func TestSlowedContainer(t *testing.T) {
	t.Parallel()
	kind, _ := Find("slowed")
	for _, b := range []*box{{}, {lies: true}} {
		site := b.site(kind, Values{"frozen": "50", "period": "20ms"})
		must(t, kind.Impossible(site))
		i := kind.Bind(site)
		must(t, i.Inject(t.Context()))
		if b.lies {
			expect.True(t, "a freeze ended", func() bool {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.resumed > 0
			})
			proven(t, i, "", "mongo served during the fault")
		} else {
			paused := func() bool { return b.Health(t.Context()) != nil }
			expect.True(t, "the container is paused", paused)
			expect.True(t, "the container goes on", func() bool { return !paused() })
			expect.True(t, "the container is paused again", paused)
			expect.True(t, "the container goes on again", func() bool { return !paused() })
			proven(t, i, "frozen ", "")
		}
		must(t, i.Undo(t.Context()))
		must(t, b.Health(t.Context()))
	}
}

// TestKillDuringStartOfContainer: a start that is over before the kill, and a part that serves
// after the kills, are no evidence.
func TestKillDuringStartOfContainer(t *testing.T) {
	t.Parallel()
	kind, _ := Find("kill-during-start")
	b := &box{starts: 1}
	site := b.site(kind, nil)
	must(t, kind.Impossible(site))
	i := kind.Bind(site)
	must(t, i.Inject(t.Context()))
	proven(t, i, "killed during the start: start 2 of the container, start 3 of the container", "")
	if after, err := i.After(t.Context()); err != nil || after != "" {
		t.Errorf("%q %v", after, err)
	}
	b.deaf = true
	proven(t, i, "", "mongo serves after its killed starts")
	b.lies = true
	err := i.Inject(t.Context())
	if err == nil || !strings.Contains(err.Error(), "over before the kill") {
		t.Error(err)
	}
}
