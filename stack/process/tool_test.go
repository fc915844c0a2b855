package process

import (
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func TestInstallerErrorShowsItsLastLines(t *testing.T) {
	t.Parallel()
	err := RunTool(expect.Context(t), Command{Path: "/bin/sh",
		Args: []string{"-c", "echo no such crate; exit 7"}})
	expect.Error(t, err, "no such crate", "exit status 7")
}
