package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// RunTool runs a command to its end; the error holds the command's last lines of output. Name and
// Output of the command are not used, and without a Log the output is kept for the error alone.
// Each tool has a folder, for temporary files too: the next lab ends the tool of a lab that died.
func RunTool(ctx context.Context, c Command) error {
	return inOwnFolder(func(f *Folder) error { return f.runTool(ctx, c) })
}

// ReadTool is RunTool for a command of which the standard output is wanted; the error holds the
// last lines of the rest.
func ReadTool(ctx context.Context, c Command) (output []byte, err error) {
	err = inOwnFolder(func(f *Folder) error {
		c.Output = f.File("output")
		if err := f.runTool(ctx, c); err != nil {
			return err
		}
		output, err = os.ReadFile(c.Output)
		return err
	})
	return output, err
}

// inOwnFolder lends do a folder. Memory is for data: a compiler's temporary files are large.
func inOwnFolder(do func(*Folder) error) error {
	f, err := NewFolderIn(os.TempDir(), false)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close(false))
}

func (f *Folder) runTool(ctx context.Context, c Command) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(c.Path), err)
	}
	if c.Owner == nil { // another user does not get there
		c.Env = append([]string{"TMPDIR=" + f.Path}, c.Env...)
	}
	if c.Dir == "" {
		here, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("start %s: %w", filepath.Base(c.Path), err)
		}
		c.Dir = here
	}
	c.Name, c.Log, c.Task = filepath.Base(c.Path), cmp.Or(c.Log, f.File("tool.log")), true
	p, err := f.Start(c)
	if err != nil {
		return err
	}
	err = p.Await(ctx, 0, 0)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	if err != nil {
		lines, readErr := p.lastLines()
		return errors.Join(fmt.Errorf("%s %s: %w\n  %s", c.Name, strings.Join(c.Args, " "), err,
			lines), readErr)
	}
	return nil
}
