package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// program is a part with a real process, cat, that serves at once; slow parts never serve, and are
// killed in their start.
type program struct {
	stack.Component
	t    *testing.T
	slow bool
	// immortal parts are not killed by Kill.
	immortal bool

	mu      sync.Mutex
	current *exec.Cmd
	killed  chan struct{}
	starts  int
}

func newProgram(t *testing.T) *program {
	p := &program{t: t}
	must(t, p.Start(t.Context()))
	t.Cleanup(func() { p.immortal = false; _ = p.Kill() })
	return p
}

func (p *program) Name() string { return "consumer" }

func (p *program) Start(context.Context) error {
	cmd := exec.Command("cat")
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.mu.Lock()
	p.current, p.killed = cmd, make(chan struct{})
	p.starts++
	killed := p.killed
	p.mu.Unlock()
	if p.slow {
		<-killed
		return errors.New("killed in its start")
	}
	return nil
}

func (p *program) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return errors.New("not running")
	}
	if p.immortal {
		return nil
	}
	_ = p.current.Process.Kill()
	_ = p.current.Wait()
	p.current = nil
	close(p.killed)
	return nil
}

func (p *program) PIDs() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return nil
	}
	return []int{p.current.Process.Pid}
}

func (p *program) Health(context.Context) error {
	if p.PIDs() == nil {
		return errors.New("not running")
	}
	return nil
}

func (p *program) site(kind Kind, with Values) Site {
	return Site{Target: "consumer", With: with.WithDefaults(kind), Part: p,
		Ends: []stack.Component{p}}
}

// TestKillDuringStart: each start had a process and was killed; a start that is over before the
// kill is not proven.
func TestKillDuringStart(t *testing.T) {
	t.Parallel()
	kind, _ := Find("kill-during-start")
	p := newProgram(t)
	before := p.PIDs()
	p.slow = true
	i := kind.Bind(p.site(kind, Values{"times": "3"}))
	must(t, i.Inject(t.Context()))
	evidence, err := i.During(t.Context())
	if err != nil || strings.Count(evidence, "[") != 3 ||
		strings.Contains(evidence, fmt.Sprint(before)) {
		t.Errorf("%q %v, before %v", evidence, err, before)
	}
	p.slow = false
	must(t, i.Undo(t.Context()))
	if after, err := i.After(t.Context()); err != nil || !strings.Contains(after, "came") {
		t.Errorf("%q %v", after, err)
	}
	if err := kind.Bind(p.site(kind, nil)).Inject(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "over before the kill") {
		t.Errorf("a start that was over: %v", err)
	}
}

// TestCrashLoop: a part that is killed again and again runs after the end, and a part that no kill
// reaches is no crash loop.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	kind, _ := Find("crash-loop")
	p := newProgram(t)
	i := kind.Bind(p.site(kind, Values{"every": "1ms"}))
	must(t, i.Inject(t.Context()))
	must(t, until(t.Context(), func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.starts < 4 {
			return errors.New("not yet")
		}
		return nil
	}))
	proven(t, i, "crashed ", "")
	must(t, i.Undo(t.Context()))
	must(t, p.Health(t.Context()))

	once := kind.Bind(p.site(kind, Values{"every": "1h"}))
	must(t, once.Inject(t.Context()))
	proven(t, once, "", "crashed 1 times, want at least 2")
	must(t, once.Undo(t.Context()))
	must(t, p.Health(t.Context()))
}

// TestImmortal: a kill that reaches another process than the part's is not proven.
func TestImmortal(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kill", "kill-during-start"} {
		kind, _ := Find(name)
		p := newProgram(t)
		p.immortal = true
		i := kind.Bind(p.site(kind, Values{"times": "1"}))
		err := i.Inject(t.Context())
		if err == nil {
			_, err = i.During(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), "still there") &&
			!strings.Contains(err.Error(), "over before the kill") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// processes is a part of processes that the test ended and stopped itself.
type processes struct {
	stack.Component
	pids []int
}

func (p *processes) Pause() error { return nil }
func (p *processes) PIDs() []int  { return p.pids }

// TestPauseBesideAnEndedChild: a part that is stopped cannot wait for a child that has just ended.
func TestPauseBesideAnEndedChild(t *testing.T) {
	t.Parallel()
	frozen, ended := newProgram(t), newProgram(t)
	must(t, frozen.current.Process.Signal(syscall.SIGSTOP))
	must(t, ended.current.Process.Kill())
	one, other := frozen.PIDs()[0], ended.PIDs()[0]
	expect.True(t, "one is stopped and the other a zombie", func() bool {
		first, err := stateOf(t.Context(), one)
		second, err2 := stateOf(t.Context(), other)
		return err == nil && err2 == nil && first == process.Stop && second == process.Zombie
	})
	kind, _ := Find("pause")
	p := &processes{}
	i := kind.Bind(Site{Target: "consumer", Part: p})
	p.pids = []int{other, one}
	proven(t, i, fmt.Sprintf("pids [%d] stopped", one), "")
	p.pids = []int{other}
	proven(t, i, "", "have ended")
}

// pausing is a program that is frozen as the lab freezes its children.
type pausing struct {
	*program
	// deaf programs are not frozen by Pause.
	deaf    bool
	resumed int
}

func (p *pausing) signal(signal os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if signal == syscall.SIGCONT {
		p.resumed++
	}
	if p.deaf {
		return nil
	}
	return p.current.Process.Signal(signal)
}

// ends counts the freezes that ended.
func (p *pausing) ends() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resumed
}

func (p *pausing) Pause() error  { return p.signal(syscall.SIGSTOP) }
func (p *pausing) Resume() error { return p.signal(syscall.SIGCONT) }

// TestSlowed: the part is frozen again and again, and goes on at the end; a part that is not frozen
// is no evidence.
func TestSlowed(t *testing.T) {
	t.Parallel()
	kind, _ := Find("slowed")
	part := &pausing{program: newProgram(t)}
	bind := func() *Injection {
		return kind.Bind(Site{Target: "consumer", Part: part,
			With: Values{"frozen": "50", "period": "20ms"}.WithDefaults(kind)})
	}
	i := bind()
	proven(t, i, "", "was frozen 0 times")
	must(t, i.Inject(t.Context()))
	isFrozen := func() bool {
		state, err := stateOf(t.Context(), part.PIDs()[0])
		must(t, err)
		return state == process.Stop
	}
	expect.True(t, "the part is frozen", isFrozen)
	expect.True(t, "the part goes on", func() bool { return !isFrozen() })
	expect.True(t, "the part is frozen again", isFrozen)
	expect.True(t, "the part goes on again", func() bool { return !isFrozen() })
	proven(t, i, "frozen ", "")
	must(t, i.Undo(t.Context()))
	if isFrozen() {
		t.Error("the part is frozen after the end")
	}
	part.deaf, part.resumed = true, 0
	i = bind()
	must(t, i.Inject(t.Context()))
	expect.True(t, "a freeze ended", func() bool { return part.ends() > 0 })
	proven(t, i, "", "is not stopped but")
}

// TestDescriptors: the limit is in force while the fault lasts, and as before after the end; a
// limit that somebody lifts, and a process that is gone, are no evidence.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the limits of another process can be set on Linux alone")
	}
	kind, _ := Find("descriptors-exhausted")
	p := newProgram(t)
	pid := p.PIDs()[0]
	before, err := readDescriptors(pid)
	must(t, err)
	i := kind.Bind(p.site(kind, nil))
	must(t, i.Inject(t.Context()))
	proven(t, i, fmt.Sprintf("pid %d may have ", pid), "")
	must(t, setDescriptors(pid, before.limit))
	proven(t, i, "", "is not short of any")
	must(t, setDescriptors(pid, 1))
	must(t, i.Undo(t.Context()))
	if after, err := readDescriptors(pid); err != nil || after.limit != before.limit {
		t.Errorf("%+v after, %+v before: %v", after, before, err)
	}
	must(t, p.Kill())
	proven(t, i, "", fmt.Sprintf("limits of pid %d", pid))
	if err := i.Inject(t.Context()); err == nil {
		t.Error("a part without a process was limited")
	}
}

// TestDescriptorsOfAnotherUser: PostgreSQL runs as another user where the lab is root, and root in
// a container may not have every right.
func TestDescriptorsOfAnotherUser(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the limits of another process can be set on Linux alone")
	}
	sleeper := exec.Command("sleep", "60")
	if os.Geteuid() == 0 {
		const other = 65534
		sleeper.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: other, Gid: other}}
	}
	must(t, sleeper.Start())
	t.Cleanup(func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() })
	pid := sleeper.Process.Pid
	before, err := readDescriptors(pid)
	must(t, err)
	for _, most := range []uint64{2, before.limit} {
		must(t, setDescriptors(pid, most))
		if now, err := readDescriptors(pid); err != nil || now.limit != most {
			t.Errorf("%+v, want the limit %d: %v", now, most, err)
		}
	}
}

// refusing is a broker that counts as told.
type refusing struct {
	stack.Component
	every, refused int
	ended          bool
}

func (r *refusing) RefuseEvery(n int64) (func() int, func(), error) {
	r.every = int(n)
	return func() int { return r.refused }, func() { r.ended = true }, nil
}

// TestBrokerErrors: refusals that hit no request are no evidence.
func TestBrokerErrors(t *testing.T) {
	t.Parallel()
	kind, _ := Find("broker-errors")
	broker := &refusing{}
	i := kind.Bind(Site{Target: stack.Kafka, Part: broker, With: Values{"every": "7"}})
	must(t, i.Inject(t.Context()))
	proven(t, i, "", "the broker refused no request")
	broker.refused = 4
	proven(t, i, "the broker refused 4 requests", "")
	must(t, i.Undo(t.Context()))
	if !broker.ended || broker.every != 7 {
		t.Errorf("%+v", broker)
	}
	none := kind.Bind(Site{Target: stack.Kafka, Part: newProgram(t), With: Values{"every": "7"}})
	if err := none.Inject(t.Context()); err == nil {
		t.Error("a broker that refuses nothing was asked")
	}
}
