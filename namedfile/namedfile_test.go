package namedfile

import (
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// TestOddFiles: no name leads to a wait or to a file without an end.
func TestOddFiles(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	fifo := filepath.Join(folder, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(folder, "long")
	if err := os.WriteFile(long, make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:                            "fifo is a pipe, and nobody writes",
		folder:                          " is a folder",
		"/dev/zero":                     "/dev/zero is a device",
		"/dev/full":                     "/dev/full is a device",
		long:                            "long has more than 10 bytes",
		filepath.Join(folder, "absent"): "no such file",
		"":                              "no such file",
	} {
		if _, err := Read(path, 10); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
	}
	if text, err := Read(long, 11); err != nil || len(text) != 11 {
		t.Errorf("a regular file: %q, %v", text, err)
	}
	if _, err := ReadIn(os.DirFS(folder), "fifo", 10); err == nil {
		t.Error("a pipe in a folder was read")
	}
	files := fstest.MapFS{"ten": {Data: make([]byte, 10)}}
	if text, err := ReadIn(files, "ten", 10); err != nil || len(text) != 10 {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := ReadIn(files, "ten", 9); err == nil {
		t.Error("a long file of a folder was read")
	}
}

// TestSilentPipe: one SIGTERM ends the wait for a writer who says nothing.
func TestSilentPipe(t *testing.T) { // not parallel: the signal is for the whole process
	survived := make(chan os.Signal, 1)
	signal.Notify(survived, syscall.SIGTERM)
	defer signal.Stop(survived)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ended := make(chan error)
	go func() {
		_, err := Read(fifo, Small)
		ended <- err
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), "ended while") {
				t.Errorf("got %v", err)
			}
			return
		case <-tick.C: // a signal before the read is lost
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestPipes: what a shell passes as <(command) is read to the end, also when the writer is slow.
func TestPipes(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Opened for both, a pipe has a writer without waiting for a reader.
	writer, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	go func() {
		_, _ = writer.WriteString("some")
		_ = writer.Close()
	}()
	if text, err := io.ReadAll(file); err != nil || string(text) != "some" {
		t.Errorf("%q, %v", text, err)
	}
}
