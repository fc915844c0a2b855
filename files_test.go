package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOddFilesAreRefused: whatever a command reads by name may be a pipe without a writer, or a
// device without an end; no command waits, and each says which file.
func TestOddFilesAreRefused(t *testing.T) {
	t.Parallel()
	folder, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	pipes := map[string]string{}
	for _, name := range []string{"run.json", "plan.yaml", "load.js"} {
		pipes[name] = filepath.Join(folder, name)
		if err := syscall.Mkfifo(pipes[name], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	recording := filepath.Join(t.TempDir(), "empty.jsonl")
	if err := os.WriteFile(recording, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bench := "bench --duration 1s --out " + out + " "
	for _, file := range []string{"FIFO", "/dev/zero"} {
		for _, command := range []string{
			"report run.json", "report reports/testdata/good.json --against run.json",
			"compare run.json run.json", "merge run.json run.json --out " + out,
			"annotate run.json --grafana http://127.0.0.1:1", "baseline save run.json",
			"comment run.json",
			"history add run.json --dir " + out, bench + "--chaos plan.yaml",
			bench + "suite --suite plan.yaml", bench + "load.js", "replay run.json",
			"check --postgres postgres://127.0.0.1:1/x --mongo mongodb://127.0.0.1:1 " +
				"--ledger run.json",
		} {
			names := file
			var args []string
			for _, arg := range strings.Fields(command) {
				if path, is := pipes[arg]; is && file == "FIFO" {
					arg, names = path, path
				} else if is {
					arg = file
				}
				args = append(args, arg)
			}
			expectRefusal(t, args, names)
		}
	}
	for _, command := range []string{
		"compare " + folder + " vs " + folder, "history list --dir " + folder, "trend " + folder,
		"replay --specs " + folder + " " + recording,
	} {
		expectRefusal(t, strings.Fields(command), folder)
	}
}

// expectRefusal runs a command that is to end at once, with an error that names the file.
func expectRefusal(t *testing.T, args []string, names string) {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	var text bytes.Buffer
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, terminal{&text, &text}) }()
	select {
	case code := <-done:
		if code != exitCouldNotRun || !strings.Contains(text.String(), names) {
			t.Errorf("%q: exit %d, want %q in %s", args, code, names, text.String())
		}
	case <-time.After(5 * time.Second):
		t.Errorf("%q still reads after 5 s", args)
	}
}
