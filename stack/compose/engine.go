package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/moby/client"

	"github.com/cdclab/cdclab/stack/process"
)

const (
	// leastMajor and leastMinor are of the first Compose that knows `!reset`, in
	// local/compose.yaml.
	leastMajor, leastMinor = 2, 24
	// leastMemory is the sum of what the parts of the profile core take under load, with room.
	leastMemory = 3 << 30
	// memoryOfObserve is what the profile observe takes besides.
	memoryOfObserve = 2 << 30
)

// An Engine is a Docker engine with Compose.
type Engine struct {
	docker string
	api    *client.Client
	host   string
}

// FindEngine finds docker on PATH, Compose, and the engine of the present Docker context. The error
// of each that is missing says what to do.
func FindEngine(ctx context.Context) (*Engine, error) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return nil, fmt.Errorf("docker is not on PATH: the compose stack needs Docker with "+
			"Compose %d.%d or newer: %w", leastMajor, leastMinor, err)
	}
	e := &Engine{docker: docker}
	if err := e.checkCompose(ctx); err != nil {
		return nil, err
	}
	host, err := e.read(ctx, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
	if err != nil {
		return nil, fmt.Errorf("ask docker for the address of its engine: %w", err)
	}
	e.host = host
	if e.api, err = client.New(client.FromEnv, client.WithHost(host)); err != nil {
		return nil, fmt.Errorf("reach the Docker engine at %s: %w", host, err)
	}
	ctx, cancel := context.WithTimeout(ctx, process.StartGrace)
	defer cancel()
	if _, err := e.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return nil, fmt.Errorf("no Docker engine answers at %s: start Docker, or set DOCKER_HOST "+
			"(%w)", host, err)
	}
	return e, nil
}

// Usable is nil where a Compose Stack can be brought up: FindEngine and CheckMemory have no error.
func Usable(ctx context.Context) error {
	e, err := FindEngine(ctx)
	if err != nil {
		return err
	}
	return errors.Join(e.CheckMemory(ctx, false), e.api.Close())
}

// read returns the output of docker with arguments.
func (e *Engine) read(ctx context.Context, args ...string) (string, error) {
	text, err := process.ReadTool(ctx, process.Command{Kind: process.Tool, Path: e.docker,
		Args: args})
	return string(bytes.TrimSpace(text)), err
}

var composeVersion = regexp.MustCompile(`^v?(\d+)\.(\d+)`)

func (e *Engine) checkCompose(ctx context.Context) error {
	said, err := e.read(ctx, "compose", "version", "--short")
	if err != nil {
		return fmt.Errorf("docker has no Compose: install the plugin docker-compose %d.%d or "+
			"newer: %w", leastMajor, leastMinor, err)
	}
	found := composeVersion.FindStringSubmatch(said)
	if found == nil { // a build of one's own calls itself "dev"
		return nil
	}
	major, _ := strconv.Atoi(found[1])
	minor, _ := strconv.Atoi(found[2])
	if major < leastMajor || major == leastMajor && minor < leastMinor {
		return fmt.Errorf("docker compose is %s, too old: the stack needs %d.%d or newer", said,
			leastMajor, leastMinor)
	}
	return nil
}

// CheckMemory wants as much memory in the engine's machine as the profiles take.
func (e *Engine) CheckMemory(ctx context.Context, observe bool) error {
	wanted := int64(leastMemory)
	if observe {
		wanted += memoryOfObserve
	}
	found, err := e.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return fmt.Errorf("ask the Docker engine for its memory: %w", err)
	}
	if found.Info.MemTotal < wanted {
		return fmt.Errorf("the Docker engine has %s of memory, and the compose stack takes %s: "+
			"give the engine more", gibibytes(found.Info.MemTotal), gibibytes(wanted))
	}
	return nil
}

// dataFolder returns the folder where the engine keeps its data, in the engine's machine.
func (e *Engine) dataFolder(ctx context.Context) (string, error) {
	found, err := e.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return "", fmt.Errorf("ask the Docker engine where its data is: %w", err)
	}
	return found.Info.DockerRootDir, nil
}

func gibibytes(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// takenPort finds the port in the engine's words for a port in use.
var takenPort = regexp.MustCompile(
	`(?:Bind for |listen tcp\d? |exposing port TCP |bind host port (?:for )?)` +
		`((?:\d+\.\d+\.\d+\.\d+|\[[\da-f:]+\]):\d+)` +
		`.*(?:already allocated|already in use|not available)`)

// explain makes a sentence of an error of the engine's.
func explain(err error) error {
	if found := takenPort.FindStringSubmatch(fmt.Sprint(err)); found != nil {
		return fmt.Errorf("%s is in use by something else: end that, or choose another port (%w)",
			found[1], errors.New(strings.TrimSpace(err.Error())))
	}
	return err
}
