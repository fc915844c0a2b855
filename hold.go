package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/stack"
)

// held is what `up` leaves in the cache folder for `status` and `down`, which run elsewhere. The
// start time tells the holder from a later process with its number.
type held struct {
	PID           int             `json:"pid"`
	StartedUnixMs int64           `json:"startedUnixMs"`
	Endpoints     stack.Endpoints `json:"endpoints"`
}

var errNothingHeld = errors.New("nothing is held; `cdclab up` brings a stack up")

// up holds a stack until the context ends.
func up(ctx context.Context, t terminal, args []string) (int, error) {
	config := experiments.DefaultConfig()
	set := flags("up", t)
	stackFlags(set, &config.Stack, &config.Programs)
	if _, err := parse(set, args, 0, 0); err != nil {
		return 0, err
	}
	if other, err := readHeld(); err == nil {
		return 0, fmt.Errorf("process %d holds a stack already; `cdclab down` ends it", other.PID)
	}
	root, err := experiments.FindRoot()
	if err != nil {
		return 0, err
	}
	programs, err := experiments.Build(ctx, root, config.Programs, t.err)
	if err != nil {
		return 0, err
	}
	config.Stack.ConsumerPath, config.Stack.Say = programs.Consumer, t.say
	s, err := stack.Up(ctx, config.Stack)
	if err != nil {
		return 0, err
	}
	note, err := writeHeld(s.Endpoints())
	if err == nil {
		err = hold(ctx, t, s, programs)
	}
	downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err = errors.Join(err, s.Down(downCtx))
	os.Remove(note) // last: `down` waits for it
	return exitPass, err
}

func hold(ctx context.Context, t terminal, s *stack.Stack, programs experiments.Programs) error {
	for _, note := range s.Notes() {
		t.say(note)
	}
	e := s.Endpoints()
	fmt.Fprintf(t.out, "export CDC_POSTGRES_DSN='%s'\nexport CDC_MONGO_URI='%s'\nexport CDC_MONGO_DATABASE='%s'\nexport CDC_KAFKA_BROKERS='%s'\n",
		e.PostgresDSN, e.MongoURI, e.MongoDatabase, strings.Join(e.KafkaBrokers, ","))
	fmt.Fprintf(t.out, "# data: %s\n# consumer: %s\n", s.Dir(), strings.Join(e.ConsumerMetricsURLs, " "))
	for _, page := range []struct{ of, url string }{
		{"kafka", e.KafkaMetricsURL}, {"connector", e.ConnectorMetricsURL}, {"Kafka Connect", e.ConnectURL},
	} {
		if page.url != "" {
			fmt.Fprintf(t.out, "# %s: %s\n", page.of, page.url)
		}
	}
	fmt.Fprintf(t.out, "# then: %s run experiments/scenarios/smoke.js\n", programs.K6)
	t.say("the stack is up; Ctrl-C ends it")
	select {
	case <-ctx.Done():
		return nil
	case sentence := <-s.Died():
		return errors.New(sentence)
	}
}

func heldPath() (string, error) {
	dir, err := stack.CacheDir("")
	return filepath.Join(dir, "up.json"), err
}

func writeHeld(endpoints stack.Endpoints) (string, error) {
	path, err := heldPath()
	if err != nil {
		return "", err
	}
	started, err := startedUnixMs(os.Getpid())
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(held{os.Getpid(), started, endpoints})
	if err != nil {
		return "", fmt.Errorf("note what is held: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("note what is held: %w", err)
	}
	// It names a database that has no password, on loopback; still it is for nobody else.
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", fmt.Errorf("note what is held: %w", err)
	}
	return path, nil
}

// readHeld is errNothingHeld when nobody holds a stack, also when the holder died.
func readHeld() (*held, error) {
	path, err := heldPath()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNothingHeld
	}
	if err != nil {
		return nil, fmt.Errorf("read what is held: %w", err)
	}
	var h held
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fmt.Errorf("read what is held: %s: %w", path, err)
	}
	if started, err := startedUnixMs(h.PID); err != nil || started != h.StartedUnixMs {
		return nil, errNothingHeld
	}
	return &h, nil
}

// startedUnixMs is an error for a process that is gone, or dead and not yet asked about.
func startedUnixMs(pid int) (int64, error) {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	if states, err := p.Status(); err != nil || slices.Contains(states, process.Zombie) {
		return 0, errors.Join(fmt.Errorf("process %d is dead", pid), err)
	}
	started, err := p.CreateTime()
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return started, nil
}

// statusLimit bounds how long a part may take to answer.
const statusLimit = 5 * time.Second

// status dials each endpoint of the held stack, and asks the connector whether it runs; a part that does
// not answer, and a connector that does not run, make it fail.
func status(ctx context.Context, t terminal, args []string) (int, error) {
	if _, err := parse(flags("status", t), args, 0, 0); err != nil {
		return 0, err
	}
	h, err := readHeld()
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(t.out, "held by process %d\n", h.PID)
	code := exitPass
	show := func(name, address string, ask func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, statusLimit)
		defer cancel()
		answer := "answers"
		if err := ask(ctx); err != nil {
			answer, code = err.Error(), exitFail
		}
		fmt.Fprintf(t.out, "  %-10s %-22s %s\n", name, address, answer)
	}
	dial := func(name, address string) {
		show(name, address, func(ctx context.Context) error {
			connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return connection.Close()
		})
	}
	dial(stack.Postgres, hostOf(h.Endpoints.PostgresDSN))
	dial(stack.Kafka, h.Endpoints.KafkaBrokers[0])
	dial(stack.Mongo, hostOf(h.Endpoints.MongoURI))
	if url := cmp.Or(h.Endpoints.ConnectURL, h.Endpoints.ConnectorMetricsURL); url != "" {
		show(stack.Connector, hostOf(url), h.Endpoints.ConnectorHealth)
	}
	for n, url := range h.Endpoints.ConsumerMetricsURLs {
		dial(stack.ConsumerName(n+1), hostOf(url))
	}
	return code, nil
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	return u.Host
}

// down asks the holder to end and waits until it is gone.
func down(ctx context.Context, t terminal, args []string) (int, error) {
	if _, err := parse(flags("down", t), args, 0, 0); err != nil {
		return 0, err
	}
	h, err := readHeld()
	if err != nil {
		return 0, err
	}
	if err := syscall.Kill(h.PID, syscall.SIGTERM); err != nil {
		return 0, fmt.Errorf("end process %d: %w", h.PID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := readHeld(); errors.Is(err, errNothingHeld) {
			t.say("ended")
			return exitPass, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("process %d does not end: %w", h.PID, ctx.Err())
		case <-tick.C:
		}
	}
}
