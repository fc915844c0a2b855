package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// workflow is what the tests look at in a file of .github/workflows.
type workflow struct {
	On          any
	Permissions map[string]string
	Concurrency any
	Jobs        map[string]job
}

type job struct {
	Permissions map[string]string
	Timeout     int `yaml:"timeout-minutes"`
	Strategy    struct{ Matrix struct{ Proof []string } }
	Needs       any
	Steps       []step
}

type step struct {
	Uses, Run, If, Shell string
	With, Env            map[string]string
}

// action is what the tests look at in an action.yml.
type action struct {
	Inputs  map[string]struct{ Description, Default string }
	Outputs map[string]struct{ Description, Value string }
	Runs    struct{ Steps []map[string]any }
}

// flowFiles are the files of GitHub's Actions: workflows, and the actions of the project.
func flowFiles(t *testing.T) (workflows, actions []string) {
	t.Helper()
	workflows, err := filepath.Glob(".github/workflows/*.y*ml")
	inner, innerErr := filepath.Glob(".github/actions/*/action.yml")
	if err := errors.Join(err, innerErr); err != nil || len(workflows) < 5 || len(inner) == 0 {
		t.Fatalf("%d workflows, %d actions: %v", len(workflows), len(inner), err)
	}
	return workflows, append(inner, "action.yml")
}

func readYAML(t *testing.T, path string, into any) (text string) {
	t.Helper()
	read, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(read, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(read)
}

// TestActionsAreLinted: actionlint finds nothing in the workflows, and nothing in the steps of the
// actions, which actionlint reads as steps of a job.
func TestActionsAreLinted(t *testing.T) {
	t.Parallel()
	workflows, actions := flowFiles(t)
	files := workflows
	for i, path := range actions {
		made := filepath.Join(t.TempDir(), fmt.Sprintf("%d.yml", i))
		if err := os.WriteFile(made, asWorkflow(t, path), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, made)
	}
	if text := lint(files...); text != "" {
		t.Error(text)
	}
}

// lint returns what actionlint says, without the programs that may be absent. The tool's modules
// have a file of their own, because in go.mod they would lift a module of k6's.
func lint(files ...string) string {
	command := exec.Command("go", append([]string{"tool", "-modfile=.ci/actionlint.mod",
		"actionlint", "-no-color", "-shellcheck=", "-pyflakes="}, files...)...)
	command.Env = append(os.Environ(), "GOWORK=off") // go takes one of the two
	// On standard error go tells, too, of a module that is not in the cache yet.
	var said bytes.Buffer
	command.Stderr = &said
	text, err := command.Output()
	if err != nil && len(text) == 0 {
		return fmt.Sprintf("%v: %s", err, &said)
	}
	return string(text)
}

// asWorkflow makes a reusable workflow of an action: the same inputs, steps and outputs.
func asWorkflow(t *testing.T, path string) []byte {
	t.Helper()
	var a action
	readYAML(t, path, &a)
	inputs, outputs := map[string]any{}, map[string]string{}
	lab := map[string]any{"runs-on": "ubuntu-24.04", "steps": a.Runs.Steps}
	made := map[string]any{"on": map[string]any{"workflow_call": map[string]any{"inputs": inputs}},
		"jobs": map[string]any{"action": lab}}
	for name, input := range a.Inputs {
		inputs[name] = map[string]string{"type": "string", "default": input.Default}
		if input.Description == "" {
			t.Errorf("%s: input %s has no description", path, name)
		}
	}
	for name, output := range a.Outputs {
		outputs[name], lab["outputs"] = output.Value, outputs
	}
	for i, step := range a.Runs.Steps {
		if step["run"] != nil && step["shell"] == nil {
			t.Errorf("%s: step %d has no shell", path, i+1)
		}
	}
	text, err := yaml.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestLintFinds: the way in which TestActionsAreLinted asks finds mistakes.
func TestLintFinds(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		`property "bas" is not defined`: "inputs: {base: {description: x}}\n" +
			"runs: {steps: [{run: 'a ${{ inputs.bas }}', shell: bash}]}\n",
		`step must run script with "run"`: "runs: {steps: [{rum: a, shell: bash}]}\n",
		`property "gate" is not defined`: "outputs: {x: {value: '${{ steps.gate.outputs.x }}'}}\n" +
			"runs: {steps: [{run: a, shell: bash}]}\n",
	} {
		folder := t.TempDir()
		from, to := filepath.Join(folder, "action.yml"), filepath.Join(folder, "made.yml")
		if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, asWorkflow(t, from), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lint(to); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestActionsArePinned: each action of others is used by its commit, because a tag may move.
func TestActionsArePinned(t *testing.T) {
	t.Parallel()
	workflows, actions := flowFiles(t)
	used := regexp.MustCompile(`(?m)^ *(?:- )?uses: *(\S+)(.*)`)
	pinned := regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	versions := map[string]string{}
	for _, file := range append(workflows, actions...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range used.FindAllStringSubmatch(string(text), -1) {
			name, version, _ := strings.Cut(found[1]+found[2], "@")
			if name == "./" || strings.HasPrefix(name, "./.github/actions/") {
				continue
			}
			if !pinned.MatchString(name + "@" + version) {
				t.Errorf("%s uses %s%s: want its commit, and # the version", file, found[1],
					found[2])
			}
			if before := versions[name]; before != "" && before != version {
				t.Errorf("%s uses %s at %s, another file at %s", file, name, version, before)
			}
			versions[name] = version
		}
	}
}

// mayWrite are the jobs with a right to write, and the right.
var mayWrite = map[string]string{"comment.yml comment": "pull-requests",
	"nightly.yml history": "contents"}

// TestActionsLeastPrivileges: each job names its rights and its longest time. Two jobs may write,
// and check out nothing of a pull request. Credentials stay in the checkout of the job with a push
// alone. No secret is near a pull request.
func TestActionsLeastPrivileges(t *testing.T) {
	t.Parallel()
	workflows, _ := flowFiles(t)
	wrote := 0
	for _, path := range workflows {
		var w workflow
		text, name := readYAML(t, path, &w), filepath.Base(path)
		if w.Permissions == nil || len(w.Permissions) > 0 || w.Concurrency == nil {
			t.Errorf("%s: want `permissions: {}` and a concurrency group for all jobs", path)
		}
		if strings.Contains(text, "pull_request_target") || strings.Contains(text, "secrets.") &&
			strings.Contains(text, "pull_request") {
			t.Errorf("%s: a pull request near rights or secrets", path)
		}
		for id, job := range w.Jobs {
			if job.Permissions == nil || job.Timeout == 0 {
				t.Errorf("%s: job %s: want permissions and timeout-minutes", path, id)
			}
			may := mayWrite[name+" "+id]
			for right, level := range job.Permissions {
				switch {
				case level == "write" && right == may:
					wrote++
				case level != "read":
					t.Errorf("%s: job %s may %s %s", path, id, level, right)
				}
			}
			for _, step := range job.Steps {
				keeps := step.With["persist-credentials"] != "false"
				if strings.HasPrefix(step.Uses, "actions/checkout@") &&
					keeps != (may == "contents") {
					t.Errorf("%s: job %s: credentials stay in the checkout: %t", path, id, keeps)
				}
				if may != "" && step.With["ref"]+step.With["repository"] != "" {
					t.Errorf("%s: job %s checks %v out and may write", path, id, step.With)
				}
			}
		}
	}
	if wrote != len(mayWrite) {
		t.Errorf("%d jobs may write, want %d", wrote, len(mayWrite))
	}
}

// TestActionsQuoteStrangers: nothing of an event gets into a shell but as the value of a variable.
func TestActionsQuoteStrangers(t *testing.T) {
	t.Parallel()
	workflows, actions := flowFiles(t)
	check := func(path, run string) {
		run = strings.ReplaceAll(run, "${{ matrix.proof }}", "")
		if strings.Contains(run, "${{") {
			t.Errorf("%s: an expression in a shell's text: %s", path, run)
		}
	}
	for _, path := range workflows {
		var w workflow
		readYAML(t, path, &w)
		for _, job := range w.Jobs {
			for _, step := range job.Steps {
				check(path, step.Run)
			}
		}
	}
	for _, path := range actions {
		var a action
		readYAML(t, path, &a)
		for _, step := range a.Runs.Steps {
			check(path, fmt.Sprint(step["run"]))
		}
	}
}

// foreign are the commands of workflows that are no recipe of the lab, by their beginnings: reading
// artefacts, and what a person deploys.
var foreign = []string{"gh run download ", `bash -euo pipefail -c "$DEPLOY"`}

// TestActionsRunRecipes: every command of a workflow is a recipe, the lab or a script of the
// project, which runs on any machine, too; the recipes and the lab take the arguments.
func TestActionsRunRecipes(t *testing.T) {
	t.Parallel()
	line := commandLine{recipes: readRecipes(t)}
	workflows, _ := flowFiles(t)
	checked := 0
	for _, path := range workflows {
		var w workflow
		readYAML(t, path, &w)
		for _, job := range w.Jobs {
			proofs := append(job.Strategy.Matrix.Proof, "")
			for _, step := range job.Steps {
				for _, proof := range proofs {
					command := strings.ReplaceAll(step.Run, "${{ matrix.proof }}", proof)
					if command == "" || command != step.Run && proof == "" ||
						slices.ContainsFunc(foreign, func(beginning string) bool {
							return strings.HasPrefix(command, beginning)
						}) {
						continue
					}
					checked++
					if err := checkStep(line, command); err != nil {
						t.Errorf("%s: %s: %v", path, command, err)
					}
				}
			}
		}
	}
	if checked < 15 {
		t.Errorf("the workflows run %d recipes: this test looks at the wrong thing", checked)
	}
}

func checkStep(line commandLine, command string) error {
	script, _, _ := strings.Cut(command, " ")
	if !strings.HasPrefix(script, ".ci/") {
		return line.check(command)
	}
	info, err := os.Stat(script)
	if err == nil && info.Mode()&0o111 == 0 {
		err = fmt.Errorf("%s cannot be run", script)
	}
	return err
}

// TestDeploymentWaits: the deployment needs every other job of the workflow, and no condition lets
// the deployment go on after a failure.
func TestDeploymentWaits(t *testing.T) {
	t.Parallel()
	var w workflow
	text := readYAML(t, ".github/workflows/main.yml", &w)
	var others []string
	for id := range w.Jobs {
		if id != "deploy" {
			others = append(others, id)
		}
	}
	slices.Sort(others)
	needs := fmt.Sprint(w.Jobs["deploy"].Needs)
	for _, id := range others {
		if !strings.Contains(needs, id) {
			t.Errorf("the deployment needs %s, and not %s", needs, id)
		}
	}
	deploy := text[strings.Index(text, "\n  deploy:"):]
	if len(others) < 3 || strings.Contains(deploy, "always()") ||
		strings.Contains(deploy, "cancelled()") || strings.Contains(deploy, "failure()") ||
		strings.Contains(text, "continue-on-error") {
		t.Errorf("others %q; the deployment is\n%s", others, deploy)
	}
}

// TestNothingIsFetchedWithoutSum: no script and no recipe runs programs fetched by name alone. Go's
// modules have go.sum, and all other programs sums.txt in stack/programs.
func TestNothingIsFetchedWithoutSum(t *testing.T) {
	t.Parallel()
	fetching := regexp.MustCompile(`\b(uvx|pipx|npx|pip3? install|npm install|curl|wget|` +
		`cargo install|@latest)\b`)
	scripts, err := filepath.Glob(".ci/*")
	if err != nil || len(scripts) < 4 {
		t.Fatalf("%q, %v", scripts, err)
	}
	workflows, actions := flowFiles(t)
	for _, file := range slices.Concat([]string{"just", "justfile"}, scripts, workflows, actions) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := fetching.Find(text); found != nil {
			t.Errorf("%s runs %s", file, found)
		}
	}
}
