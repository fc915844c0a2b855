package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const tipOfTopic = "0123456789abcdef0123456789abcdef01234567"

// pullRequest is a GitHub with a single pull request, 5, of forker:topic.
type pullRequest struct {
	mu       sync.Mutex
	comments []map[string]any
	// refuses is the status of every answer, 0 for an answer as documented.
	refuses int
}

func (p *pullRequest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses != 0 || r.Header.Get("Authorization") != "Bearer ghs_test" {
		w.WriteHeader(max(p.refuses, http.StatusUnauthorized))
		return
	}
	var sent struct{ Body string }
	_ = json.NewDecoder(r.Body).Decode(&sent)
	switch r.Method + " " + r.URL.Path {
	case "GET /repos/lab/cdclab/pulls":
		found := []map[string]any{}
		if r.URL.Query().Get("head") == "forker:topic" {
			found = append(found, map[string]any{"number": 5,
				"head": map[string]any{"sha": tipOfTopic}})
		}
		_ = json.NewEncoder(w).Encode(found)
	case "GET /repos/lab/cdclab/issues/5/comments":
		_ = json.NewEncoder(w).Encode(append([]map[string]any{}, p.comments...))
	case "POST /repos/lab/cdclab/issues/5/comments":
		p.comments = append(p.comments, map[string]any{"id": 1 + len(p.comments),
			"body": sent.Body, "user": map[string]any{"login": "github-actions[bot]"}})
		w.WriteHeader(http.StatusCreated)
	case "PATCH /repos/lab/cdclab/issues/comments/1":
		p.comments[0]["body"] = sent.Body
	default:
		http.NotFound(w, r)
	}
}

// runScript runs a script of .ci as a workflow's step does, with the lab of this test; out has the
// standard output and the standard error.
func runScript(t *testing.T, script string, args []string, env ...string) (out string, code int) {
	t.Helper()
	lab, err := exec.LookPath("cdclab")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(script, args...)
	command.Env = append(append(os.Environ(), "CDCLAB="+lab), env...)
	text, err := command.CombinedOutput()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), command.ProcessState.ExitCode()
}

// TestCommentScript: the script makes the comment, keeps the comment, writes it anew for another
// result, and fails with GitHub's reason; the token is never printed.
func TestCommentScript(t *testing.T) {
	t.Parallel()
	github := &pullRequest{}
	server := httptest.NewServer(github)
	t.Cleanup(server.Close)
	folder := t.TempDir()
	env := []string{"GITHUB_REPOSITORY=lab/cdclab", "HEAD=forker:topic", "COMMIT=" + tipOfTopic,
		"LINK=https://ci.example.com/run/1", "CDC_GITHUB_TOKEN=ghs_test",
		"CDC_GITHUB_URL=" + server.URL}
	comment := func(code int, want string, more ...string) {
		t.Helper()
		out, got := runScript(t, ".ci/comment", []string{folder}, append(env, more...)...)
		if got != code || !strings.Contains(out, want) || strings.Contains(out, "ghs_test") {
			t.Errorf("exit code %d, want %d and %q:\n%s", got, code, want, out)
		}
	}
	comment(3, "no gate.json and no run.json in "+folder)

	copyFile(t, "reports/testdata/good.json", filepath.Join(folder, "smoke", "run.json"))
	comment(0, "1 new, 0 changed, 0 there already")
	comment(0, "0 new, 0 changed, 1 there already")
	gateJSON := filepath.Join(folder, "gate", "gate.json")
	const stored = `{"schemaVersion": 1, "verdict": {"status": "fail", "reasons": [%q]}}`
	writeText(t, gateJSON, fmt.Sprintf(stored, "e2e p50 <img> of @all is worse"))
	comment(0, "0 new, 1 changed, 0 there already")
	comment(0, "no comment: the commit is not the last", "HEAD=forker:another")

	github.mu.Lock()
	comments := len(github.comments)
	body := fmt.Sprint(github.comments[0]["body"])
	github.mu.Unlock()
	if comments != 1 || !strings.Contains(body, "Gate: fail") ||
		!strings.Contains(body, "e2e p50 &lt;img&gt; of @<!-- -->all") ||
		!strings.Contains(body, "### PASS baseline") || !strings.Contains(body, "/run/1") {
		t.Errorf("%d comments:\n%s", comments, body)
	}

	writeText(t, gateJSON, "{")
	comment(3, gateJSON+": decode gate: at byte ")
	writeText(t, gateJSON, fmt.Sprintf(stored, "x"))
	comment(3, "status 401: the token may not", "CDC_GITHUB_TOKEN=ghs_other")
	github.mu.Lock()
	github.refuses = http.StatusBadGateway
	github.mu.Unlock()
	comment(3, "status 502")
	comment(3, "--head: want OWNER:BRANCH", "HEAD=:topic")
}

// TestGateScript: the verdict and the place of the table are outputs of the step, and a gate that
// cannot run has neither.
func TestGateScript(t *testing.T) {
	t.Parallel()
	output := filepath.Join(t.TempDir(), "output")
	out, code := runScript(t, ".ci/gate", nil, "BASE_CONSUMER=no-program", "HEAD_CONSUMER=go.mod",
		"MINUTES=2", "OUT="+filepath.Join(t.TempDir(), "gate"), "GITHUB_OUTPUT="+output)
	text, err := os.ReadFile(output)
	if err != nil || code != exitCouldNotRun || string(text) != "verdict=none\nreport=\n" ||
		!strings.Contains(out, "find the consumer on trial: ") {
		t.Errorf("exit code %d, %v, %q:\n%s", code, err, text, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, to, string(text))
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
