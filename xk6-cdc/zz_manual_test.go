package cdc

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestManualK6(t *testing.T) {
	if os.Getenv("MANUAL") == "" {
		t.Skip()
	}
	target, source := startServer(t), startDatabase(t)
	startCopier(t, source, target, "labtest")
	out := os.Getenv("OUT")
	args := append([]string{"run", "--no-usage-report", "--no-color", "--address", ""}, strings.Fields(os.Getenv("ARGS"))...)
	command := exec.Command("/tmp/xk6bin/k6", args...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "CDC_POSTGRES_DSN="+source.dsn(), "CDC_MONGO_URI="+target.uri(), "CDC_MONGO_DATABASE=labtest",
		"CDC_LEDGER="+out+"/ledger", "CDC_STARTED="+out+"/started")
	err := command.Run()
	t.Log(err)
}
