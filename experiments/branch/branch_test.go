package branch

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repositoryOf makes a repository with a commit of one file.
func repositoryOf(t *testing.T) (root string, git func(args ...string) string) {
	t.Helper()
	root = t.TempDir()
	git = func(args ...string) string {
		t.Helper()
		command := exec.Command("git", append([]string{"-C", root, "-c", "user.name=a",
			"-c", "user.email=a@b"}, args...)...)
		text, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, text)
		}
		return strings.TrimSpace(string(text))
	}
	git("init", "--quiet", "--initial-branch", "main")
	if err := write("code.go", "package x\n")(root); err != nil {
		t.Fatal(err)
	}
	git("add", "--all")
	git("commit", "--quiet", "-m", "code")
	return root, git
}

// write returns a use that writes a file.
func write(name, text string) func(string) error {
	return func(dir string) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
	}
}

// TestLend: a branch begins empty, grows by a commit for each change, and leaves the checkout and
// git's list of worktrees as they were.
func TestLend(t *testing.T) {
	t.Parallel()
	root, git := repositoryOf(t)
	lend := func(message string, use func(string) error) error {
		return Lend(t.Context(), root, "history", message, use)
	}
	if err := lend("first", write("a.json", "1")); err != nil {
		t.Fatal(err)
	}
	if err := lend("second", write("b.json", "2")); err != nil {
		t.Fatal(err)
	}
	if err := lend("nothing new", write("b.json", "2")); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("no room")
	err := lend("broken", func(dir string) error {
		return errors.Join(write("c.json", "3")(dir), failed)
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v, want the error of use", err)
	}
	if files := git("ls-tree", "--name-only", "history"); files != "a.json\nb.json" {
		t.Errorf("the branch has %q", files)
	}
	if log := git("log", "--format=%s", "history"); log != "second\nfirst" {
		t.Errorf("the branch's log is %q", log)
	}
	if status := git("status", "--porcelain", "--branch"); status != "## main" {
		t.Errorf("the checkout is %q", status)
	}
	if trees := git("worktree", "list"); strings.Contains(trees, "\n") {
		t.Errorf("worktrees are left: %s", trees)
	}
}

// TestLendOfARemote: a clone without the branch goes on where the remote's branch ends.
func TestLendOfARemote(t *testing.T) {
	t.Parallel()
	root, _ := repositoryOf(t)
	if err := Lend(t.Context(), root, "history", "first", write("a.json", "1")); err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	text, err := exec.Command("git", "clone", "--quiet", root, clone).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := Lend(t.Context(), clone, "history", "second", func(dir string) error {
		text, err := os.ReadFile(filepath.Join(dir, "a.json"))
		if string(text) != "1" {
			t.Errorf("got %q", text)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestLendToAReader: without a message nothing is kept, whatever use does, and no branch begins.
func TestLendToAReader(t *testing.T) {
	t.Parallel()
	root, git := repositoryOf(t)
	read := func(want string) {
		t.Helper()
		err := Lend(t.Context(), root, "history", "", func(dir string) error {
			found, err := filepath.Glob(filepath.Join(dir, "*.json"))
			if names := strings.Join(found, " "); filepath.Base(names) != want {
				t.Errorf("the folder has %q, want %q", names, want)
			}
			return errors.Join(err, write("page.html", "x")(dir))
		})
		if err != nil {
			t.Error(err)
		}
	}
	read(".")
	if branches := git("branch", "--list", "history"); branches != "" {
		t.Errorf("got %q, want no branch", branches)
	}
	if err := Lend(t.Context(), root, "history", "first", write("a.json", "1")); err != nil {
		t.Fatal(err)
	}
	read("a.json")
	if log := git("log", "--format=%s", "history"); log != "first" {
		t.Errorf("the branch's log is %q", log)
	}
	if trees := git("worktree", "list"); strings.Contains(trees, "\n") {
		t.Errorf("worktrees are left: %s", trees)
	}
}

func TestLendRefuses(t *testing.T) {
	t.Parallel()
	root, _ := repositoryOf(t)
	for _, name := range []string{"", "-f", "a b", "..", "a..b", "x.lock", "main"} {
		err := Lend(t.Context(), root, name, "x", func(string) error { return nil })
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}
