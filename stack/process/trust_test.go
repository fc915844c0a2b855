package process

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

// startVictim starts a process, and says whether the process leads a session as a lab's child does.
func startVictim(t *testing.T, leads bool) Identity {
	t.Helper()
	victim := exec.Command("/bin/sleep", "300")
	victim.SysProcAttr = &syscall.SysProcAttr{Setsid: leads}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		victim.Process.Kill()
		victim.Wait()
	})
	seen, err := Find(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return seen.Identity
}

// plantState writes the folder of a dead lab, in this user's folder below base, with the victim as
// a child.
func plantState(t *testing.T, base string, victim Identity) (user, folder string) {
	t.Helper()
	user, err := userFolder(base)
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(user, "stack-1")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, r := range []record{{}, {Name: "postgres", Identity: victim}} {
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, line...), '\n')
	}
	if err := os.WriteFile(filepath.Join(folder, stateName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return user, folder
}

// planted is something strange in a base: which path is changed, and how.
type planted struct {
	path  func(user, folder string) string
	plant func(path string) error
	// want is what the refusal says; empty for a folder to be cleaned up.
	want string
	// alone is true where the victim leads no session.
	alone bool
}

func theBase(user, _ string) string     { return filepath.Dir(user) }
func theUsers(user, _ string) string    { return user }
func theFolder(_, folder string) string { return folder }
func theState(_, folder string) string  { return filepath.Join(folder, stateName) }

// moveAside renames the file and returns its other path.
func moveAside(path string) (string, error) {
	to := filepath.Join(filepath.Dir(path), "moved-"+filepath.Base(path))
	return to, os.Rename(path, to)
}

func plantLink(path string) error {
	to, err := moveAside(path)
	if err != nil {
		return err
	}
	return os.Symlink(to, path)
}

func plantFIFO(path string) error {
	if _, err := moveAside(path); err != nil {
		return err
	}
	return syscall.Mkfifo(path, 0o600)
}

func plantFolder(path string) error {
	if _, err := moveAside(path); err != nil {
		return err
	}
	return os.Mkdir(path, 0o700)
}

// plantTwin gives the file a second name, as another user may where the system lets them.
func plantTwin(path string) error { return os.Link(path, path+"-twin") }

func plantSocket(path string) error {
	if _, err := moveAside(path); err != nil {
		return err
	}
	// The path of a socket is short: the socket is made elsewhere.
	folder, err := os.MkdirTemp("", "s")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	short := filepath.Join(folder, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	return errors.Join(listener.Close(), os.Rename(short, path))
}

// plantDevice puts /dev/zero there, which has no end.
func plantDevice(path string) error {
	if _, err := moveAside(path); err != nil {
		return err
	}
	return syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|5)
}

// plantLoop makes a link that leads to the link.
func plantLoop(path string) error {
	if _, err := moveAside(path); err != nil {
		return err
	}
	return os.Symlink(filepath.Base(path), path)
}

func openToAll(path string) error   { return os.Chmod(path, 0o777) }
func openToGroup(path string) error { return os.Chmod(path, 0o770) }
func giveAway(path string) error    { return os.Chown(path, os.Geteuid()+1, os.Getegid()) }
func plantNothing(string) error     { return nil }

var allPlanted = map[string]planted{
	"nothing strange":     {theUsers, plantNothing, "", false},
	"user's is a link":    {theUsers, plantLink, "no folder", false},
	"user's is a FIFO":    {theUsers, plantFIFO, "no folder", false},
	"user's is open":      {theUsers, openToAll, "open to writes", false},
	"user's is foreign":   {theUsers, giveAway, "belongs to user", false},
	"base is open":        {theBase, openToAll, "open to writes", false},
	"folder is a link":    {theFolder, plantLink, "no folder", false},
	"folder is a FIFO":    {theFolder, plantFIFO, "no folder", false},
	"folder is open":      {theFolder, openToGroup, "open to writes", false},
	"folder is foreign":   {theFolder, giveAway, "belongs to user", false},
	"state is a link":     {theState, plantLink, "is a link", false},
	"state is a FIFO":     {theState, plantFIFO, "no regular file", false},
	"state is a folder":   {theState, plantFolder, "no regular file", false},
	"state is open":       {theState, openToAll, "open to writes", false},
	"state is foreign":    {theState, giveAway, "belongs to user", false},
	"state is two files":  {theState, plantTwin, "has 2 names", false},
	"state is a socket":   {theState, plantSocket, "no regular file", false},
	"state is a device":   {theState, plantDevice, "no regular file", false},
	"state is a loop":     {theState, plantLoop, "is a link", false},
	"state is a group's":  {theState, openToGroup, "open to writes", false},
	"folder is a socket":  {theFolder, plantSocket, "no folder", false},
	"folder is a device":  {theFolder, plantDevice, "no folder", false},
	"folder is a loop":    {theFolder, plantLoop, "no folder", false},
	"folder is open too":  {theFolder, openToAll, "open to writes", false},
	"user's is a socket":  {theUsers, plantSocket, "no folder", false},
	"user's is a device":  {theUsers, plantDevice, "no folder", false},
	"user's is a loop":    {theUsers, plantLoop, "no folder", false},
	"user's is a group's": {theUsers, openToGroup, "open to writes", false},
	"base is foreign":     {theBase, giveAway, "belongs to user", false},
	"no session's leader": {theUsers, plantNothing, "which no lab started", true},
	"another of the user's": {theUsers, func(path string) error {
		return os.Rename(path, path+"-1")
	}, "", false},
	"state is huge": {theState, func(path string) error {
		return os.Truncate(path, 1<<40)
	}, "more than", false},
}

// TestCleanUpTrustsOwnership: whatever another user may have put into a base, or changed there, is
// left alone and told; without that, the same folder is cleaned up.
func TestCleanUpTrustsOwnership(t *testing.T) {
	t.Parallel()
	for name, c := range allPlanted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, victim := t.TempDir(), startVictim(t, !c.alone)
			if err := c.plant(c.path(plantState(t, base, victim))); err != nil {
				if errors.Is(err, syscall.EPERM) {
					t.Skip("only root gives files away")
				}
				t.Fatal(err)
			}
			var all []string
			if err := CleanUp([]string{base}, func(s string) { all = append(all, s) }); err != nil {
				t.Fatal(err)
			}
			said := strings.Join(all, "\n")
			if refused := strings.HasPrefix(said, "left alone"); refused != (c.want != "") ||
				!strings.Contains(said, c.want) {
				t.Errorf("said %q, want a refusal with %q", said, c.want)
			}
			if victim.Alive() != (c.want != "") {
				t.Errorf("the process is alive: %v", victim.Alive())
			}
		})
	}
}

// TestCleanUpKillsNoInit: the numbers that mean many processes, or the first, are never signalled.
func TestCleanUpKillsNoInit(t *testing.T) {
	t.Parallel()
	for _, pid := range []int{-1, 0, 1} {
		if (Identity{PID: pid}).leadsSession() {
			t.Errorf("process %d counts as a child of a lab", pid)
		}
		expect.Error(t, Identity{PID: pid}.Signal(syscall.Signal(0)), "no process of the lab")
		expect.Error(t, killTree(Identity{PID: pid}), "no process of the lab")
	}
}

// TestChildrenWithoutRecord: a child whose lab died before the record was written, and what an
// ended child leaves, belong to the folder as well.
func TestChildrenWithoutRecord(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux shows the environment of a process")
	}
	base := t.TempDir()
	f, err := NewFolderIn(base, false)
	if err != nil {
		t.Fatal(err)
	}
	family, orphan := startFamily(t, f).tree(), startFamily(t, f)
	all := append(family, orphan.tree()...)
	if err := orphan.identity.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-orphan.Done
	// The lab dies with a state file that names nobody.
	if err := errors.Join(f.state.Close(), os.Truncate(f.File(stateName), 0)); err != nil {
		t.Fatal(err)
	}
	if err := CleanUp([]string{base}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		if one.Alive() {
			t.Errorf("process %d is left", one.PID)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(base, "*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	live := testFolder(t)
	orphan = startFamily(t, live)
	child := orphan.tree()[1]
	if err := orphan.identity.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-orphan.Done
	if err := live.Close(false); err != nil || child.Alive() {
		t.Errorf("after the end of a live lab: %v, alive %v", err, child.Alive())
	}
}

// TestFolderIsPrivate: nobody but the user sees what a run writes, and a name taken by a stranger
// does not stop a lab.
func TestFolderIsPrivate(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	taken := filepath.Join(base, userPrefix())
	if err := os.Symlink(t.TempDir(), taken); err != nil {
		t.Fatal(err)
	}
	f, err := NewFolderIn(base, false)
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.Start(shell("writer", "echo words; umask"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done
	if err := f.WriteFiles(map[string][]byte{"settings": nil}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		filepath.Dir(f.Path): 0o700, f.Path: 0o700, f.File(stateName): 0o600,
		f.File("writer.log"): 0o600, f.File("settings"): 0o600,
	} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want || strings.HasPrefix(path, taken+"/") {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
	if err := f.Close(false); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(base, "*")); len(left) != 1 {
		t.Errorf("left are %v", left)
	}
	if err := os.Chmod(base, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err = NewFolderIn(base, false)
	expect.Error(t, err, "open to writes of other users", "set TMPDIR")
}

// TestEndAll: every child is gone at once, its folder too, and no child starts any more.
func TestEndAll(t *testing.T) {
	base := t.TempDir()
	f, err := NewFolderIn(base, false)
	if err != nil {
		t.Fatal(err)
	}
	p := startFamily(t, f)
	tree := p.tree()
	if err := EndAll(); err != nil {
		t.Fatal(err)
	}
	for _, one := range tree {
		if one.Alive() {
			t.Errorf("process %d is still there", one.PID)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(base, "*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	_, err = f.Start(shell("late", "sleep 300"))
	expect.Error(t, err, "the lab is ending")
}

// TestSecondClose: whoever ends the lab next goes on only when nothing of the folder is left.
func TestSecondClose(t *testing.T) {
	for name, second := range map[string]func(*Folder) error{
		"Close":  func(f *Folder) error { return f.Close(false) },
		"EndAll": func(*Folder) error { return EndAll() },
	} {
		t.Run(name, func(t *testing.T) {
			f, err := NewFolderIn(t.TempDir(), false)
			if err != nil {
				t.Fatal(err)
			}
			slow := shell("slow", "trap 'sleep 0.5; exit' QUIT; touch ready; "+
				"while :; do sleep 0.1; done")
			slow.Quit = syscall.SIGQUIT
			if _, err := f.Start(slow); err != nil {
				t.Fatal(err)
			}
			expect.True(t, "the trap is set", func() bool {
				_, err := os.Stat(f.File("ready"))
				return err == nil
			})
			first := make(chan error)
			go func() { first <- f.Close(false) }()
			expect.True(t, "the first Close is under way", func() bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.closed
			})
			if err := second(f); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(f.Path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the folder is still there: %v", err)
			}
			if err := <-first; err != nil {
				t.Error(err)
			}
		})
	}
}
