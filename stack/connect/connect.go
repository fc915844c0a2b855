// Package connect asks Kafka Connect over the REST API. The package starts no worker. Start reading
// at Client.
package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// connectLimit bounds a request to Kafka Connect. A rebalancing worker answers no request before
// the end of the rebalance.
const connectLimit = 20 * time.Second

// Client is a client of Kafka Connect's REST API (ConnectorsResource of Kafka 4.3). The methods are
// safe for concurrent use; an error holds the worker's answer.
type Client struct {
	// URL of a worker, such as "http://127.0.0.1:8083", perhaps with user and password.
	URL string
}

// Status is the state of a connector and of the tasks: RUNNING, PAUSED, STOPPED, FAILED, RESTARTING
// or UNASSIGNED.
type Status struct {
	Name      string       `json:"name"`
	Connector WorkerState  `json:"connector"`
	Tasks     []TaskStatus `json:"tasks"`
}

// WorkerState is a state and, of a failure, the Java stack trace.
type WorkerState struct {
	State string `json:"state"`
	Trace string `json:"trace"`
}

// TaskStatus is the state of a task.
type TaskStatus struct {
	ID int `json:"id"`
	WorkerState
}

const (
	stateRunning = "RUNNING"
	stateFailed  = "FAILED"
)

// ErrNoConnector is the answer for a missing connector.
var ErrNoConnector = errors.New("no such connector")

// Health is nil when the connector and every task run, and at least one task exists.
func (s *Status) Health() error {
	if s.Connector.State != stateRunning {
		return fmt.Errorf("connector %s is %s%s", s.Name, s.Connector.State,
			reason(s.Connector.Trace))
	}
	if len(s.Tasks) == 0 {
		return fmt.Errorf("connector %s has no task yet", s.Name)
	}
	for _, task := range s.Tasks {
		if task.State != stateRunning {
			return fmt.Errorf("task %d of connector %s is %s%s", task.ID, s.Name, task.State,
				reason(task.Trace))
		}
	}
	return nil
}

// Failed is true if the connector or a task has given up.
func (s *Status) Failed() bool {
	for _, task := range s.Tasks {
		if task.State == stateFailed {
			return true
		}
	}
	return s.Connector.State == stateFailed
}

// reason is a stack trace without frames: the exception and each cause.
func reason(trace string) string {
	var said []string
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "at ") || strings.HasPrefix(line, "... ") {
			continue
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return ""
	}
	return ": " + strings.Join(said, "; ")
}

// Put makes a connector, or changes the configuration, and then the tasks restart.
func (c Client) Put(ctx context.Context, name string, config map[string]string) error {
	return c.do(ctx, http.MethodPut, connectorPath(name)+"/config", config, nil)
}

// Config is the configuration of a connector.
func (c Client) Config(ctx context.Context, name string) (map[string]string, error) {
	var config map[string]string
	err := c.do(ctx, http.MethodGet, connectorPath(name)+"/config", nil, &config)
	return config, err
}

// Pause holds a connector's tasks; after Resume the tasks go on where they were.
func (c Client) Pause(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPut, connectorPath(name)+"/pause", nil, nil)
}

// Resume ends Pause.
func (c Client) Resume(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPut, connectorPath(name)+"/resume", nil, nil)
}

// Restart restarts a connector and its tasks; onlyFailed leaves alone everything that runs.
func (c Client) Restart(ctx context.Context, name string, onlyFailed bool) error {
	path := fmt.Sprintf("%s/restart?includeTasks=true&onlyFailed=%t", connectorPath(name),
		onlyFailed)
	return c.do(ctx, http.MethodPost, path, nil, nil)
}

// Delete removes a connector; the slot in PostgreSQL and the topics stay.
func (c Client) Delete(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, connectorPath(name), nil, nil)
}

// Status is the state of a connector.
func (c Client) Status(ctx context.Context, name string) (*Status, error) {
	var status Status
	err := c.do(ctx, http.MethodGet, connectorPath(name)+"/status", nil, &status)
	return &status, err
}

// Version is the version of a plugin's class, or of the worker for "".
func (c Client) Version(ctx context.Context, class string) (string, error) {
	if class == "" {
		var worker struct{ Version string }
		err := c.do(ctx, http.MethodGet, "/", nil, &worker)
		return worker.Version, err
	}
	var plugins []struct{ Class, Version string }
	if err := c.do(ctx, http.MethodGet, "/connector-plugins", nil, &plugins); err != nil {
		return "", err
	}
	for _, plugin := range plugins {
		if plugin.Class == class {
			return plugin.Version, nil
		}
	}
	return "", fmt.Errorf("no plugin %s in Kafka Connect", class)
}

func connectorPath(name string) string { return "/connectors/" + url.PathEscape(name) }

func (c Client) do(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("ask Kafka Connect: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, content)
	if err != nil {
		return fmt.Errorf("ask Kafka Connect: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask Kafka Connect: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("ask Kafka Connect: %s %s: %w", method, path, err)
	}
	switch {
	case response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("ask Kafka Connect: %s %s: %w", method, path, ErrNoConnector)
	case response.StatusCode >= http.StatusBadRequest:
		return fmt.Errorf("ask Kafka Connect: %s %s: %s: %s", method, path, response.Status,
			refusal(text))
	case into == nil || len(text) == 0:
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("ask Kafka Connect: %s %s: %w", method, path, err)
	}
	return nil
}

// refusal is the message of an error's answer, {"error_code": 400, "message": "..."}.
func refusal(answer []byte) string {
	var said struct{ Message string }
	if json.Unmarshal(answer, &said) == nil && said.Message != "" {
		return said.Message
	}
	return strings.TrimSpace(string(answer))
}
