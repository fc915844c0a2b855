package faults

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/stack"
)

// connectWorker is a Kafka Connect with one connector, as far as the faults ask. A task with the
// faults' transform fails, and is restarted on request alone.
type connectWorker struct {
	stack.Component
	mu sync.Mutex
	// config is nil without a connector.
	config          map[string]string
	failed, mayFail bool
	restarts        int
}

const workerPath = "/connectors/" + stack.SourceConnector

func (w *connectWorker) ServeHTTP(answer http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Method != http.MethodPut && w.config == nil {
		answer.WriteHeader(http.StatusNotFound)
		return
	}
	var said any
	switch r.Method + " " + r.URL.Path {
	case "GET " + workerPath + "/config":
		said = w.config
	case "GET " + workerPath + "/status":
		state := map[string]any{"state": "RUNNING", "id": 0}
		if w.failed {
			state["state"], state["trace"] = "FAILED", "DataException: no number\n\tat Cast"
		}
		said = map[string]any{"name": stack.SourceConnector,
			"connector": map[string]string{"state": "RUNNING"}, "tasks": []any{state}}
	case "PUT " + workerPath + "/config":
		text, err := io.ReadAll(r.Body)
		w.config = nil
		if err = errors.Join(err, json.Unmarshal(text, &w.config)); err != nil {
			answer.WriteHeader(http.StatusBadRequest)
			return
		}
		w.failed = w.failed || w.config["transforms.chaos.type"] != ""
	case "POST " + workerPath + "/restart":
		w.failed, w.restarts = false, w.restarts+1
	case "DELETE " + workerPath:
		w.config = nil
	default:
		answer.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	_ = json.NewEncoder(answer).Encode(said)
}

func (w *connectWorker) Name() string { return stack.Connector }

func (w *connectWorker) MayFail(may bool) { w.mayFail = may }

func (w *connectWorker) Health(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed || w.config == nil {
		return errors.New("no task runs")
	}
	return nil
}

func newWorker(t *testing.T, fault string) (*connectWorker, *Injection) {
	t.Helper()
	w := &connectWorker{config: map[string]string{"name": "lab", "transforms": "route"}}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	kind, _ := Find(fault)
	site := Site{Target: stack.Connector, Part: w, Ends: []stack.Component{w},
		At: stack.Endpoints{ConnectURL: server.URL}}
	must(t, kind.Impossible(site))
	return w, kind.Bind(site)
}

// TestTaskFailed: the task fails by the fault's transform, and has the configuration from before
// and a restart at the end.
func TestTaskFailed(t *testing.T) {
	t.Parallel()
	w, i := newWorker(t, "task-failed")
	before := maps.Clone(w.config)
	proven(t, i, "", "the task has not failed")
	must(t, i.Inject(t.Context()))
	if w.config["transforms"] != "route,chaos" || !w.mayFail {
		t.Errorf("configuration %q, may fail %t", w.config, w.mayFail)
	}
	proven(t, i, "task 0 of connector cdclab is FAILED: DataException: no number", "")
	must(t, i.Undo(t.Context()))
	proven(t, i, "", "the task has not failed")
	if diff := cmp.Diff(before, w.config); diff != "" || w.mayFail || w.restarts != 1 {
		t.Errorf("may fail %t, %d restarts, configuration (-before +now):\n%s", w.mayFail,
			w.restarts, diff)
	}
	kind, _ := Find("task-failed")
	err := kind.Impossible(Site{Target: stack.Connector, Part: newProgram(t)})
	if err == nil || !strings.Contains(err.Error(), "no task of Kafka Connect") {
		t.Error(err)
	}
}

// TestConnectorRecreated: the connector is gone, and comes back as before.
func TestConnectorRecreated(t *testing.T) {
	t.Parallel()
	w, i := newWorker(t, "connector-recreated")
	before := maps.Clone(w.config)
	proven(t, i, "", "connector cdclab is there")
	must(t, i.Inject(t.Context()))
	proven(t, i, "Kafka Connect has no connector cdclab", "")
	if err := i.Inject(t.Context()); err == nil {
		t.Error("a connector that is gone was deleted")
	}
	_, i = newWorker(t, "connector-recreated")
	must(t, i.Undo(t.Context())) // nothing was done
	w, i = newWorker(t, "connector-recreated")
	must(t, errors.Join(i.Inject(t.Context()), i.Undo(t.Context())))
	if diff := cmp.Diff(before, w.config); diff != "" {
		t.Error(diff)
	}
}
