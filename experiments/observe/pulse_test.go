package observe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
)

func TestPulse(t *testing.T) {
	t.Parallel()
	lab := func(stop, at, step float64) reports.Lab {
		return reports.Lab{Beats: 2, LongestStopMs: stop, StoppedAtSecond: at, ClockStepMs: step}
	}
	start := time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		steady, wall time.Duration
		want         reports.Lab
	}{
		"on time":   {pulseEvery, pulseEvery, lab(0, 0, 0)},
		"early":     {0, 0, lab(0, 0, 0)},
		"a stop":    {3 * time.Second, 3 * time.Second, lab(2980, 12.5, 0)},
		"suspended": {pulseEvery, time.Hour, lab(3.6e6-20, 12.5, 3.6e6-20)},
		"set back":  {pulseEvery, -time.Hour, lab(0, 0, -3.6e6-20)},
	} {
		p := new(Pulse)
		p.beat(start.Add(12500*time.Millisecond), c.steady, c.wall)
		p.beat(start.Add(13*time.Second), pulseEvery, pulseEvery)
		if got := p.Lab(start); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestPulseOfAStoppedProcess runs this test again as a child, stops the child by SIGSTOP, as Ctrl-Z
// does, and reads what the child knows of that.
func TestPulseOfAStoppedProcess(t *testing.T) {
	t.Parallel()
	const child, stop = "CDCLAB_PULSE_CHILD", 700 * time.Millisecond
	if os.Getenv(child) != "" {
		beatUntilAsked(t)
		return
	}
	command := exec.Command(os.Args[0], "-test.run=^TestPulseOfAStoppedProcess$")
	command.Env = append(os.Environ(), child+"=1")
	in, inErr := command.StdinPipe()
	out, outErr := command.StdoutPipe()
	if inErr != nil || outErr != nil {
		t.Fatal(inErr, outErr)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan() // the child beats
	began := time.Now()
	if err := command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(stop, func() {
		_ = command.Process.Signal(syscall.SIGCONT)
		fmt.Fprintln(in) // the child ends
	})
	lines.Scan()
	var lab reports.Lab
	if err := json.Unmarshal(lines.Bytes(), &lab); err != nil {
		t.Fatalf("%v: %s", err, lines.Bytes())
	}
	took := float64(time.Since(began).Milliseconds())
	if least := 0.9 * float64(stop.Milliseconds()); lab.LongestStopMs < least ||
		lab.LongestStopMs > took || lab.Beats < 1 {
		t.Errorf("%+v, want a stop of %v to %v ms", lab, least, took)
	}
	for lines.Scan() { // to the end, as Wait wants
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

// beatUntilAsked is the child: a line when the heart beats, and the account after a line of input.
func beatUntilAsked(t *testing.T) {
	ended, stop := context.WithCancel(t.Context())
	ctx := &eachTurn{Context: ended, turned: make(chan struct{}, 1)}
	asked := make(chan struct{})
	p := new(Pulse)
	go func() {
		<-ctx.turned
		fmt.Println("beating")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		stop()
		close(asked)
	}()
	p.Watch(ctx)
	<-asked
	text, err := json.Marshal(p.Lab(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(text))
}

// eachTurn is a context that tells of the second turn of Watch's loop, after the first beat.
type eachTurn struct {
	context.Context
	turns  int
	turned chan struct{}
}

func (c *eachTurn) Done() <-chan struct{} {
	if c.turns++; c.turns == 2 {
		c.turned <- struct{}{}
	}
	return c.Context.Done()
}
