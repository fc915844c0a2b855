package toolkit

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cdclab/cdclab/chaos"
)

// builtIn names the plans of the folder chaos/plans.
func builtIn(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("../plans/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return names
}

// TestRoundTripOfAll: each member of a plan comes back from an experiment.
func TestRoundTripOfAll(t *testing.T) {
	t.Parallel()
	plan, err := chaos.Parse("all.yaml", []byte(`name: all
description: Every member.
load: {rate: 100, duration: 1m}
consumers: 2
steady-state: {recovery: 30s, p95: 500ms, lag: 40}
expectations: {steady-within: 20s, degradation: 30, lag: 900}
method:
  - {at: 5s, fault: kill, target: consumer-2, restart-after: 1s, repeat: every 3s for 9s}
rollbacks:
  - {action: start, target: consumer-2}
  - {action: restart, target: mongo}
`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := Export(plan, "all.json", "runs/all")
	if err != nil {
		t.Fatal(err)
	}
	back, err := Import("all.json", text)
	hidden := cmpopts.IgnoreUnexported(chaos.Plan{}, chaos.Fault{}, chaos.Rollback{})
	if diff := cmp.Diff(plan, back, hidden); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if len(back.Rollbacks) != 2 || back.SteadyState.Lag != 40 || back.Expectations.Lag != 900 {
		t.Errorf("%+v", back)
	}
	const action = "then start consumer-2, restart mongo"
	if !strings.Contains(string(text), action) {
		t.Errorf("the experiment does not name the rollbacks:\n%s", text)
	}
}

// TestRoundTrip: an exported plan comes back whole.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, name := range builtIn(t) {
		plan, err := chaos.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := Export(plan, name+".json", "runs/"+name)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Import(name+".json", text)
		hidden := cmpopts.IgnoreUnexported(chaos.Plan{}, chaos.Fault{})
		if diff := cmp.Diff(plan, back, hidden); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
		var e experiment
		if err := json.Unmarshal(text, &e); err != nil || len(e.Method) != 1 ||
			!strings.Contains(e.Method[0].Name, plan.Method[0].Kind) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"no JSON": {"name: p", "import x.json: invalid character"},
		"foreign": {`{"version": "1.0.0", "title": "t", "method": []}`, "no extension cdclab"},
		"no plan": {`{"extensions": [{"name": "cdclab"}]}`, "no extension cdclab"},
		"bad fault": {`{"extensions": [{"name": "cdclab", "plan": {"name": "p"}}]}`,
			"want recovery"},
	} {
		plan, err := Import("x.json", []byte(c.text))
		if err == nil || plan != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := Import("x.json", []byte("{}")); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}

// TestToolkitValidates asks the real Chaos Toolkit (PyPI: chaostoolkit) of each exported plan.
func TestToolkitValidates(t *testing.T) {
	t.Parallel()
	program := os.Getenv("CDCLAB_CHAOSTOOLKIT")
	if program == "" {
		t.Skip("CDCLAB_CHAOSTOOLKIT names no program chaos of the Chaos Toolkit")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "cdclab"), "../..")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the lab: %v\n%s", err, text)
	}
	for _, name := range builtIn(t) {
		plan, err := chaos.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name+".json")
		text, err := Export(plan, file, filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		validate := exec.Command(program, "--no-version-check", "validate", file)
		validate.Dir = dir
		validate.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		answer, err := validate.CombinedOutput()
		const valid = "experiment syntax and semantic look valid"
		if err != nil || !strings.Contains(string(answer), valid) {
			t.Errorf("%s: %v\n%s", name, err, answer)
		}
	}
}
