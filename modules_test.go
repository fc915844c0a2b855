package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// extension is the folder of the k6 extension, a module of its own.
const extension = "xk6-cdc"

// alone runs the go command in a module's folder without the workspace, as a user of the module
// alone does.
func alone(t *testing.T, folder string, args ...string) string {
	t.Helper()
	command := exec.Command("go", args...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOWORK=off")
	text, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("in %s: %s: %v\n%s", folder, command, err, text)
	}
	return string(text)
}

func TestModuleTidy(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{".", extension} {
		alone(t, folder, "mod", "tidy", "-diff")
	}
}

// TestOtherUnix: the room with files for one system alone compiles on a user's macOS too.
func TestOtherUnix(t *testing.T) {
	t.Parallel()
	command := exec.Command("go", "build", "./stack/process")
	command.Env = append(os.Environ(), "GOOS=darwin", "CGO_ENABLED=0")
	if text, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestLabIsFreeOfK6: k6 is under the AGPL, and the lab is not: no package and no test of the lab
// links any of k6, and the lab's module does not ask for k6's.
func TestLabIsFreeOfK6(t *testing.T) {
	t.Parallel()
	isK6 := func(path string) bool {
		return strings.HasPrefix(path, "go.k6.io/") || strings.Contains(path, "/xk6-") ||
			strings.Contains(path, "grafana/k6") || strings.Contains(path, "grafana/sobek")
	}
	for _, args := range [][]string{{"list", "-m", "all"}, {"list", "-deps", "-test", "./..."}} {
		list := strings.Fields(alone(t, ".", args...))
		if i := slices.IndexFunc(list, isK6); i >= 0 {
			t.Errorf("go %s has %s", strings.Join(args, " "), list[i])
		}
	}
	if !slices.ContainsFunc(strings.Fields(alone(t, extension, "list", "-deps", "./...")), isK6) {
		t.Error("not even the extension links k6: this test looks at the wrong thing")
	}
}

// TestWorkspaceVersions: the workspace builds each program with the versions of its module, so that
// the measured consumer equals the consumer built by a user of the lab's module.
func TestWorkspaceVersions(t *testing.T) {
	t.Parallel()
	list := []string{"list", "-deps", "-test", "-f",
		"{{with .Module}}{{.Path}} {{.Version}}{{end}}",
		"./..."}
	for _, folder := range []string{".", extension} {
		command := exec.Command("go", list...)
		command.Dir = folder
		text, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		together := lines(string(text))
		for _, one := range lines(alone(t, folder, list...)) {
			if !slices.Contains(together, one) &&
				!strings.HasPrefix(one, strings.TrimSuffix(module, "/")) {
				t.Errorf("%s asks for %s, which the workspace does not build: go work sync, then "+
					"go mod tidy in both", folder, one)
			}
		}
	}
}

// lines are the lines of the text, each once.
func lines(text string) []string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(all)
	return slices.Compact(all)
}

// TestReadmeBuildsThePinnedK6: the README's line of xk6 builds the k6 that the extension is tested
// with.
func TestReadmeBuildsThePinnedK6(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(alone(t, extension, "list", "-m", "-f", "{{.Version}}",
		"go.k6.io/k6"))
	if line := " xk6 build " + version + " --with "; !strings.Contains(string(text), line) {
		t.Errorf("README.md does not hold %q", line)
	}
}
