package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/cdclab/cdclab/stack"
	child "github.com/cdclab/cdclab/stack/process"
)

// commandKinds are the faults of parts that the lab did not start, made by a person's own commands.
func commandKinds() []Kind {
	return []Kind{{
		Name: "command", Family: "command",
		Does:    "runs a command of yours that breaks the target, and later one that mends it",
		Targets: everyPart, Ends: Lasts, Stacks: []string{stack.External},
		Parameters: []Parameter{
			{Name: "do", Type: commandType, Does: "a line for /bin/sh that breaks the target"},
			{Name: "proof", Type: commandType, Does: "a line that succeeds (exit code 0) while " +
				"the target is broken, and fails before and afterwards"},
			{Name: "undo", Type: commandType, Does: "a line that mends the target; it also runs " +
				"where the lab is killed in the middle"},
		},
		Verified: "proof failed before, and succeeds",
		Undone:   "undo succeeded, and proof fails again",
		bind:     runCommands,
	}}
}

const (
	// commandLimit bounds each command but undo.
	commandLimit = 30 * time.Second
	// mostSaid bounds the output of a command in a sentence.
	mostSaid = 200
)

// runCommands lets the commands of the Site break and mend the target.
func runCommands(s Site) *Injection {
	var undo *undoing
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) (err error) {
		switch said, err := runLine(ctx, s.With["proof"]); {
		case err == nil:
			return fmt.Errorf("proof succeeds without the fault, and proves nothing: %s", said)
		case !hasFailed(err):
			return fmt.Errorf("proof: %w", err)
		}
		if undo, err = prepareUndo(s.With["undo"]); err != nil {
			return fmt.Errorf("undo: %w", err)
		}
		if _, err = runLine(ctx, s.With["do"]); err != nil {
			return fmt.Errorf("do: %w", err)
		}
		return nil
	}
	i.During = func(ctx context.Context) (string, error) {
		said, err := runLine(ctx, s.With["proof"])
		if err != nil {
			return "", fmt.Errorf("proof: %w", err)
		}
		return strings.Trim("proof succeeds: "+said, ": "), nil
	}
	i.Undo = func(ctx context.Context) error {
		if undo == nil {
			return nil
		}
		if err := undo.run(ctx); err != nil {
			return fmt.Errorf("undo: %w", err)
		}
		undo = nil
		return until(ctx, func() error {
			if _, err := runLine(ctx, s.With["proof"]); !hasFailed(err) {
				return errors.Join(errors.New("undo succeeded, and proof did not fail"), err)
			}
			return nil
		})
	}
	return i
}

// hasFailed is true if a line ran, and said no. The shell's 126 and 127 mean that nothing ran.
func hasFailed(err error) bool {
	var ended *exec.ExitError
	const notExecutable = 126
	return errors.As(err, &ended) && ended.Exited() && ended.ExitCode() < notExecutable
}

// shell is a command for the line, in a session of its own: a Ctrl-C on the lab's terminal does not
// reach it. The output goes to a file without a name, so that what a line leaves running neither
// keeps the lab waiting, nor ends for want of a reader.
func shell(ctx context.Context, line string) (*exec.Cmd, *os.File, error) {
	output, err := os.CreateTemp("", "cdclab-command-*")
	if err == nil {
		err = os.Remove(output.Name())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("keep the output: %w", err)
	}
	command := child.NewCommand(ctx, child.Tool, nil, "/bin/sh", "-c", line)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	return command, output, nil
}

// said is the beginning of a command's output, on one line.
func said(output *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(output, 0, mostSaid))
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "?")), " ")
}

// withOutput adds a command's output to its error.
func withOutput(err error, output *os.File) error {
	if text := said(output); err != nil && text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// runLine runs the line and returns the beginning of the output.
func runLine(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	command, output, err := shell(ctx, line)
	if err != nil {
		return "", err
	}
	defer output.Close()
	if err := command.Run(); err != nil {
		return "", errors.Join(ctx.Err(), withOutput(err, output))
	}
	return said(output), nil
}

// undoing is a started shell that runs a line as soon as its standard input ends: by run, or by the
// end of the lab, also by SIGKILL.
type undoing struct {
	begin  io.Closer
	ended  chan struct{}
	failed error
}

func prepareUndo(line string) (*undoing, error) {
	command, output, err := shell(context.Background(), "cat >/dev/null\n"+line)
	if err != nil {
		return nil, err
	}
	begin, err := command.StdinPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		return nil, errors.Join(err, output.Close())
	}
	u := &undoing{begin: begin, ended: make(chan struct{})}
	go func() {
		defer close(u.ended)
		defer output.Close()
		u.failed = withOutput(command.Wait(), output)
	}()
	return u, nil
}

// run runs the line. When ctx ends, the line goes on without the lab.
func (u *undoing) run(ctx context.Context) error {
	if err := u.begin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case <-u.ended:
		return u.failed
	case <-ctx.Done():
		return fmt.Errorf("the command has not ended: %w", ctx.Err())
	}
}
