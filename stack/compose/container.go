package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/cdclab/cdclab/stack/process"
)

const (
	// startGrace is how long a container may take until its part serves.
	startGrace = 2 * time.Minute
	// stopSeconds are how long a container may take to end in good order.
	stopSeconds = 15
	// pollEvery is how often a container is looked at.
	pollEvery = 100 * time.Millisecond
	// tailLines of a dead container's log go into the error.
	tailLines = "12"
)

// Container is a part of a Project as a Component: one container.
type Container struct {
	name    string
	project *Project
	id      string
	// serves asks the part itself, and returns the part's version, "" where the part has none.
	serves func(ctx context.Context) (version string, err error)

	mu      sync.Mutex
	version string
	// ended is closed when the container of the last start has ended; nil before the first.
	ended chan struct{}
	// starts counts them.
	starts int
	// expected is true while the lab itself ends the container.
	expected bool
}

// Name is the Component's name.
func (c *Container) Name() string { return c.name }

// Version is how the part names itself; "" before Start.
func (c *Container) Version() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// PIDs is empty: the numbers of the engine's machine say nothing here.
func (c *Container) PIDs() []int { return nil }

// Starts counts the starts. Kill ends a start that is counted, also before the part serves.
func (c *Container) Starts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.starts
}

// Ended is closed when the container of the last start has ended; nil before the first start.
func (c *Container) Ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func (c *Container) api() *client.Client { return c.project.engine.api }

func (c *Container) inspect(ctx context.Context) (container.InspectResponse, error) {
	found, err := c.api().ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	return found.Container, err
}

// Start starts the container and returns when its part serves; the error of a dead container holds
// the end of its log.
func (c *Container) Start(ctx context.Context) error {
	found, err := c.inspect(ctx)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	if found.State.Running {
		return fmt.Errorf("start %s: it is running", c.name)
	}
	began := time.Now()
	if _, err := c.api().ContainerStart(ctx, c.id, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start %s: %w", c.name, explain(err))
	}
	ended := make(chan struct{})
	c.mu.Lock()
	c.ended, c.expected = ended, false
	c.starts++
	c.mu.Unlock()
	go c.watch(ended, began)
	ctx, cancel := context.WithTimeoutCause(ctx, startGrace,
		fmt.Errorf("%w: %v passed", context.DeadlineExceeded, startGrace))
	defer cancel()
	version, err := c.untilServing(ctx, ended, began)
	if err != nil {
		return errors.Join(err, c.Kill())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = version
	return nil
}

func (c *Container) untilServing(ctx context.Context, ended chan struct{},
	began time.Time) (version string, err error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		version, err := c.serves(ctx)
		if err == nil {
			return version, nil
		}
		select {
		case <-ended:
			return "", c.died(began)
		case <-ctx.Done():
			return "", fmt.Errorf("start %s: %w while waiting for it to serve (%w)%s", c.name,
				context.Cause(ctx), err, c.logTail(began))
		case <-tick.C:
		}
	}
}

// watch reports a container that ends without the lab's doing.
func (c *Container) watch(ended chan struct{}, began time.Time) {
	defer close(ended)
	waited := c.api().ContainerWait(c.project.life, c.id, client.ContainerWaitOptions{
		Condition: container.WaitConditionNotRunning})
	select {
	case <-waited.Result:
	case <-waited.Error:
	}
	c.mu.Lock()
	expected := c.expected
	c.mu.Unlock()
	if !expected && c.project.life.Err() == nil {
		c.project.folder.Report(c.died(began).Error())
	}
}

// died describes the end of a container that was expected to live.
func (c *Container) died(since time.Time) error {
	how := "ended"
	if found, err := c.inspect(context.Background()); err == nil {
		how = fmt.Sprintf("exit status %d", found.State.ExitCode)
		if found.State.OOMKilled {
			how += ", out of memory"
		}
		if found.State.Error != "" {
			how += ", " + found.State.Error
		}
	}
	return fmt.Errorf("%s (container %.12s) ended by itself: %s%s", c.name, c.id, how,
		c.logTail(since))
}

func (c *Container) expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected = true
}

// Stop asks the part to end, and kills the container after some seconds.
func (c *Container) Stop(ctx context.Context) error {
	found, err := c.inspect(ctx)
	if err != nil {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	if !found.State.Running {
		return nil
	}
	c.expect()
	if found.State.Paused { // a frozen part would act on the signal only after a thaw
		if err := c.Resume(); err != nil {
			return err
		}
	}
	seconds := stopSeconds
	if _, err := c.api().ContainerStop(ctx, c.id,
		client.ContainerStopOptions{Timeout: &seconds}); err != nil {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	return nil
}

// Kill ends the container with SIGKILL and waits until the container is gone.
func (c *Container) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), process.StartGrace)
	defer cancel()
	found, err := c.inspect(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("kill %s: %w", c.name, err)
	case !found.State.Running:
		return fmt.Errorf("kill %s: it is not running", c.name)
	}
	c.expect()
	_, err = c.api().ContainerKill(ctx, c.id, client.ContainerKillOptions{Signal: "SIGKILL"})
	if err != nil {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	select {
	case <-c.Ended():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill %s: %w", c.name, ctx.Err())
	}
}

// Pause freezes all processes of the container.
func (c *Container) Pause() error {
	_, err := c.api().ContainerPause(context.Background(), c.id, client.ContainerPauseOptions{})
	if err != nil {
		return fmt.Errorf("pause %s: %w", c.name, err)
	}
	return nil
}

// Resume thaws the container after Pause.
func (c *Container) Resume() error {
	_, err := c.api().ContainerUnpause(context.Background(), c.id, client.ContainerUnpauseOptions{})
	if err != nil {
		return fmt.Errorf("resume %s: %w", c.name, err)
	}
	return nil
}

// Health is nil when the container runs and its part serves.
func (c *Container) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, process.HealthLimit)
	defer cancel()
	found, err := c.inspect(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("look at %s: %w", c.name, err)
	case found.State.Paused:
		return fmt.Errorf("%s is paused", c.name)
	case !found.State.Running:
		return fmt.Errorf("%s does not run: %s, exit status %d", c.name, found.State.Status,
			found.State.ExitCode)
	}
	if _, err := c.serves(ctx); err != nil {
		return fmt.Errorf("look at %s: %w", c.name, err)
	}
	return nil
}

// Published returns the address of this machine for a port of the container ("9300/tcp").
func (c *Container) Published(ctx context.Context, port string) (string, error) {
	found, err := c.inspect(ctx)
	if err != nil {
		return "", fmt.Errorf("find port %s of %s: %w", port, c.name, err)
	}
	for inside, bindings := range found.NetworkSettings.Ports {
		if inside.String() == port && len(bindings) > 0 {
			return net.JoinHostPort("127.0.0.1", bindings[0].HostPort), nil
		}
	}
	return "", fmt.Errorf("%s has no port %s", c.name, port)
}

// logTail says how the log since a start ends.
func (c *Container) logTail(since time.Time) string {
	text, err := c.log(tailLines, since)
	switch {
	case err != nil:
		return ""
	case len(bytes.TrimSpace(text)) == 0:
		return "; its log is empty"
	}
	return "; its log ends:\n  " + strings.ReplaceAll(string(bytes.TrimSpace(text)), "\n", "\n  ")
}

// log returns the last lines ("all" for all) of the container's output since a time; the zero time
// is the beginning.
func (c *Container) log(lines string, since time.Time) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), process.StartGrace)
	defer cancel()
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: lines}
	if !since.IsZero() {
		options.Since = since.Format(time.RFC3339Nano)
	}
	stream, err := c.api().ContainerLogs(ctx, c.id, options)
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", c.name, err)
	}
	defer stream.Close()
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, stream); err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", c.name, err)
	}
	return text.Bytes(), nil
}

// saveLog writes the whole log into the folder, beside those of the lab's children.
func (c *Container) saveLog() error {
	text, err := c.log("all", time.Time{})
	if err != nil {
		return err
	}
	return os.WriteFile(c.project.folder.File(c.name+".log"), text, 0o600)
}

// Usage is what a container has used since its start, and uses now.
type Usage struct {
	// Started tells one start of a container from the next.
	Started    string
	CPUSeconds float64
	// ThrottledSeconds is how long the kernel kept the container from running, by LimitCPU.
	ThrottledSeconds float64
	// MemoryBytes is without the part of the page cache that the kernel would give away first.
	MemoryBytes, MemoryLimit   float64
	DiskReadBytes, DiskWritten float64
}

// Usage asks the engine.
func (c *Container) Usage(ctx context.Context) (Usage, error) {
	answer, err := c.api().ContainerStats(ctx, c.id, client.ContainerStatsOptions{})
	if err != nil {
		return Usage{}, fmt.Errorf("ask what %s uses: %w", c.name, err)
	}
	defer answer.Body.Close()
	u, err := readUsage(answer.Body)
	if err != nil {
		return Usage{}, fmt.Errorf("ask what %s uses: %w", c.name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	u.Started = strconv.Itoa(c.starts)
	return u, nil
}

// readUsage reads the engine's numbers, of control groups of version 1 or 2.
func readUsage(answer io.Reader) (Usage, error) {
	var stats container.StatsResponse
	if err := json.NewDecoder(answer).Decode(&stats); err != nil {
		return Usage{}, err
	}
	u := Usage{CPUSeconds: float64(stats.CPUStats.CPUUsage.TotalUsage) / 1e9,
		ThrottledSeconds: float64(stats.CPUStats.ThrottlingData.ThrottledTime) / 1e9,
		MemoryLimit:      float64(stats.MemoryStats.Limit)}
	cache, isVersion1 := stats.MemoryStats.Stats["total_inactive_file"]
	if !isVersion1 {
		cache = stats.MemoryStats.Stats["inactive_file"]
	}
	u.MemoryBytes = float64(stats.MemoryStats.Usage - min(cache, stats.MemoryStats.Usage))
	for _, entry := range stats.BlkioStats.IoServiceBytesRecursive {
		switch strings.ToLower(entry.Op) {
		case "read":
			u.DiskReadBytes += float64(entry.Value)
		case "write":
			u.DiskWritten += float64(entry.Value)
		}
	}
	return u, nil
}
