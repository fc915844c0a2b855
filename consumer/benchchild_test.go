package consumer

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// benchChild is a consumer process in its group. The broker gives the process no records until open
// is called.
type benchChild struct {
	kafka   *benchKafka
	group   string
	command *exec.Cmd
	process *process.Process
	address string
	output  bytes.Buffer
	ended   chan error
	open    func()
}

func (k *benchKafka) start(b *testing.B, program, uri, group string, flags ...string) *benchChild {
	b.Helper()
	gate := make(chan struct{})
	k.gate.Store(&gate)
	c := &benchChild{kafka: k, group: group, ended: make(chan error, 1),
		open: func() { k.gate.Store(nil); close(gate) }}
	listen := filepath.Join(b.TempDir(), group+".address")
	args := append([]string{"--brokers", strings.Join(k.cluster.ListenAddrs(), ","),
		"--group", group, "--database", group, "--log-level", "warn", "--listen-file", listen},
		flags...)
	args = append(args, strings.Fields(os.Getenv("CDCLAB_BENCH_FLAGS"))...)
	if os.Getenv("CDCLAB_BENCH_PROFILE") != "" {
		args = append(args, "--pprof")
	}
	c.command = exec.Command(program, args...)
	c.command.Env = append(os.Environ(), "CDC_CONSUMER_MONGO_URI="+uri)
	c.command.Stderr = &c.output
	if err := c.command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.command.Process.Kill() })
	go func() { c.ended <- c.command.Wait() }()
	var err error
	if c.process, err = process.NewProcess(int32(c.command.Process.Pid)); err != nil {
		b.Fatal(err)
	}
	c.until(b, "ready", time.Minute, func() bool {
		text, _ := os.ReadFile(listen)
		c.address = strings.TrimSpace(string(text))
		answer, err := http.Get("http://" + c.address + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return c
}

// until fails the benchmark when the process ends, or the time, before the condition holds.
func (c *benchChild) until(b *testing.B, what string, limit time.Duration, holds func() bool) {
	b.Helper()
	deadline := time.After(limit)
	for tick := time.Tick(10 * time.Millisecond); !holds(); {
		select {
		case <-tick:
		case err := <-c.ended:
			b.Fatalf("the consumer ended before it was %s: %v\n%s", what, err, c.said())
		case <-deadline:
			b.Fatalf("the consumer is not %s after %v\n%s", what, limit, c.said())
		}
	}
}

// catchUp waits until the group is at most so many records behind, and returns the largest RSS seen
// meanwhile. A consumer at a standstill fails the benchmark.
func (c *benchChild) catchUp(b *testing.B, most int64) (peakRSS int64) {
	b.Helper()
	lag, moved := int64(-1), time.Now()
	c.until(b, "through the topic", 10*time.Minute, func() bool {
		peakRSS = max(peakRSS, c.rss(b))
		now := c.kafka.behind(b, c.group)
		if now != lag {
			lag, moved = now, time.Now()
		} else if now > most && time.Since(moved) > consumertest.Patience {
			b.Fatalf("the consumer stands still, %d records behind\n%s", now, c.said())
		}
		return now <= most
	})
	return peakRSS
}

// drain opens the broker and waits until the group has committed all of the topic.
func (c *benchChild) drain(b *testing.B) drained {
	b.Helper()
	before := c.cpuSeconds(b)
	profiled := c.profile(b)
	d := drained{began: time.Now()}
	c.open()
	d.peakRSS = c.catchUp(b, 0)
	d.wall, d.cpuSeconds = time.Since(d.began), c.cpuSeconds(b)-before
	d.peakRSS = max(d.peakRSS, c.highWater())
	<-profiled
	return d
}

func (c *benchChild) cpuSeconds(b *testing.B) float64 {
	b.Helper()
	times, err := c.process.Times()
	if err != nil {
		b.Fatalf("read the consumer's CPU time: %v", err)
	}
	return times.User + times.System
}

func (c *benchChild) rss(b *testing.B) int64 {
	b.Helper()
	memory, err := c.process.MemoryInfo()
	if err != nil {
		b.Fatalf("read the consumer's memory: %v", err)
	}
	return int64(memory.RSS)
}

// highWater is the kernel's own peak of the RSS, 0 where there is no /proc.
func (c *benchChild) highWater() (bytes int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.process.Pid))
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}

// profile stores the CPU profile of the seconds from now, where the environment asks for a profile.
func (c *benchChild) profile(b *testing.B) <-chan struct{} {
	done := make(chan struct{})
	path := os.Getenv("CDCLAB_BENCH_PROFILE")
	if path == "" {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		answer, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.address,
			profileSeconds))
		if err != nil {
			b.Errorf("profile the consumer: %v", err)
			return
		}
		defer answer.Body.Close()
		var profile bytes.Buffer
		if _, err := profile.ReadFrom(answer.Body); err != nil ||
			answer.StatusCode != http.StatusOK {
			b.Errorf("profile the consumer: %s, %v", answer.Status, err)
			return
		}
		name := strings.NewReplacer("/", "-", "=", "-").Replace(b.Name())
		if err := os.WriteFile(path+"."+name, profile.Bytes(), 0o644); err != nil {
			b.Error(err)
		}
	}()
	return done
}

func (c *benchChild) metrics(b *testing.B) map[string]*dto.MetricFamily {
	b.Helper()
	answer, err := http.Get("http://" + c.address + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		b.Fatalf("read the consumer's metrics: %v", err)
	}
	return families
}

// settled fails the benchmark unless each event met its end without a dead letter, because a
// consumer is fast when dropping events.
func (c *benchChild) settled(b *testing.B, want int) {
	b.Helper()
	ends := outcomesOf(c.metrics(b))
	sum := 0
	for _, n := range ends {
		sum += n
	}
	if said := c.said(); said != "" {
		b.Logf("the consumer's log ends:\n%s", said)
	}
	if sum != want || ends[telemetry.OutcomeDeadLetter] != 0 {
		b.Fatalf("%d events met an end, want %d and no dead letter: %v\n%s", sum, want, ends,
			c.said())
	}
}

// outcomesOf are the events by outcome.
func outcomesOf(families map[string]*dto.MetricFamily) map[string]int {
	ends := map[string]int{}
	for _, m := range families[telemetry.MetricEvents].GetMetric() {
		for _, l := range m.GetLabel() {
			if n := int(m.GetCounter().GetValue()); l.GetName() == "outcome" && n > 0 {
				ends[l.GetValue()] += n
			}
		}
	}
	return ends
}

// said is the end of the consumer's log.
func (c *benchChild) said() string {
	lines := strings.Split(strings.TrimSpace(c.output.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func (c *benchChild) stop(b *testing.B) {
	b.Helper()
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	select {
	case err := <-c.ended:
		if err != nil {
			b.Fatalf("the consumer ended with %v\n%s", err, c.said())
		}
	case <-time.After(consumertest.Patience):
		b.Fatalf("the consumer does not end\n%s", c.said())
	}
}
