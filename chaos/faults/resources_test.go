package faults

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
)

// TestHeldMemory: the memory of a fault's process counts with the process's children, and is gone
// with the group.
func TestHeldMemory(t *testing.T) {
	t.Parallel()
	const megabytes = 16
	holder := exec.Command("/bin/sh", "-c", memoryScript(megabytes))
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, holder.Start())
	t.Cleanup(func() {
		if err := syscall.Kill(-holder.Process.Pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		if err := holder.Wait(); err == nil {
			t.Error("ended by itself")
		}
	})
	must(t, until(t.Context(), func() error {
		held, err := treeMemory(t.Context(), holder.Process.Pid)
		if err == nil && held < megabytes<<20 {
			err = errors.New(fmt.Sprint(held, " bytes so far"))
		}
		return err
	}))
}
