package compose

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/stack/process"
)

// Command is a person's command of Compose on the Project of compose.yaml. Data, ports and secrets
// stay from one command to the next.
type Command struct {
	// Tree is the root of the source tree, and Local takes the images of local/build.sh.
	Tree  string
	Local bool
	// Observe adds the profile observe.
	Observe bool
	// Args are Compose's; none are "up --detach --wait".
	Args []string
	// In, Out and Err are the command's.
	In       io.Reader
	Out, Err io.Writer
}

// secretsFolder is beside compose.yaml, where `docker compose` finds the secrets without the lab.
const secretsFolder = "secrets"

// Run checks the engine, makes missing secrets, and runs the command. The error of a failed command
// names a port in use, or a secret that the data was not made with.
func (c Command) Run(ctx context.Context) error {
	engine, err := FindEngine(ctx)
	if err != nil {
		return err
	}
	defer engine.api.Close()
	if len(c.Args) == 0 {
		c.Args = []string{"up", "--detach", "--wait"}
	}
	folder := filepath.Join(c.Tree, "stack", "compose")
	secrets, err := MakeSecrets(filepath.Join(folder, secretsFolder))
	if err != nil {
		return err
	}
	isUp := slices.Contains(c.Args, "up")
	if isUp {
		if err := engine.CheckMemory(ctx, c.Observe); err != nil {
			return err
		}
	}
	var said bytes.Buffer
	err = c.run(ctx, engine, c.Args, c.Out, io.MultiWriter(c.Err, &said))
	if err != nil && ctx.Err() == nil {
		if found := takenPort.FindStringSubmatch(said.String()); found != nil {
			return fmt.Errorf("%s is in use by something else: end that, or choose another port "+
				"(stack/compose/README.md names the variables)", found[1])
		}
	}
	if isUp && ctx.Err() == nil {
		address := func(ctx context.Context, service, port string) string {
			var out bytes.Buffer
			_ = c.run(ctx, engine, []string{"port", service, port}, &out, io.Discard)
			return string(bytes.TrimSpace(out.Bytes()))
		}
		if wrong := secrets.tryLogins(ctx, address); wrong != nil {
			return wrong
		}
	}
	return err
}

func (c Command) run(ctx context.Context, engine *Engine, args []string,
	out, errors io.Writer) error {
	folder := filepath.Join(c.Tree, "stack", "compose")
	all := []string{"compose", "--file", filepath.Join(folder, "compose.yaml")}
	if c.Local {
		all = append(all, "--file", filepath.Join(folder, "local", "compose.yaml"))
	}
	for _, profile := range c.profiles(args[0]) {
		all = append(all, "--profile", profile)
	}
	data, err := engine.dataFolder(ctx)
	if err != nil {
		return err
	}
	command := process.NewCommand(ctx, process.Tool, []string{"CDCLAB_ENGINE_DATA=" + data},
		engine.docker, append(all, args...)...)
	command.Dir, command.Stdin, command.Stdout, command.Stderr = folder, c.In, out, errors
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	const farewell = 30 * time.Second
	command.WaitDelay = farewell
	if err := command.Run(); err != nil {
		return fmt.Errorf("docker compose %s: %w", args[0], err)
	}
	return nil
}

// making are the commands of Compose that make something of each service. Other commands are about
// the containers that are there.
var making = []string{"up", "create", "run", "build", "pull", "push", "config", "watch"}

// profiles returns the profiles asked for, and for a command that makes nothing all profiles:
// Compose leaves the containers of other profiles alone.
func (c Command) profiles(command string) []string {
	switch {
	case !slices.Contains(making, command):
		return []string{"core", "observe", "load"}
	case c.Observe:
		return []string{"core", "observe"}
	}
	return []string{"core"}
}
