package connect

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeConnect answers each "METHOD /path?query" with a status and a body, and notes the requests.
func fakeConnect(t *testing.T, answers map[string]string) (Client, *[]string) {
	t.Helper()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		question := r.Method + " " + r.URL.RequestURI()
		asked = append(asked, strings.TrimSpace(question+" "+string(body)))
		status, text, _ := strings.Cut(answers[question], " ")
		switch status {
		case "":
			w.WriteHeader(http.StatusNotFound)
		case "400":
			w.WriteHeader(http.StatusBadRequest)
		}
		io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	return Client{URL: server.URL}, &asked
}

func TestConnectAsks(t *testing.T) {
	t.Parallel()
	c, asked := fakeConnect(t, map[string]string{
		"PUT /connectors/lab/config": "200 {}",
		"PUT /connectors/lab/pause":  "202",
		"PUT /connectors/lab/resume": "202",

		"POST /connectors/lab/restart?includeTasks=true&onlyFailed=true": "202",

		"DELETE /connectors/lab":     "204",
		"GET /connectors/lab/config": `200 {"a":"b"}`,
		"GET /connector-plugins":     `200 [{"class":"x.Y","version":"3"}]`,
	})
	ctx := t.Context()
	err := errors.Join(c.Put(ctx, "lab", map[string]string{"k": "v"}), c.Pause(ctx, "lab"),
		c.Resume(ctx, "lab"), c.Restart(ctx, "lab", true), c.Delete(ctx, "lab"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`PUT /connectors/lab/config {"k":"v"}`, "PUT /connectors/lab/pause",
		"PUT /connectors/lab/resume",
		"POST /connectors/lab/restart?includeTasks=true&onlyFailed=true", "DELETE /connectors/lab"}
	if diff := cmp.Diff(want, *asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if config, err := c.Config(ctx, "lab"); err != nil || config["a"] != "b" {
		t.Errorf("config %v, %v", config, err)
	}
	if _, err := c.Config(ctx, "other"); !errors.Is(err, ErrNoConnector) {
		t.Errorf("a connector that is not there: %v", err)
	}
	if version, err := c.Version(ctx, "x.Y"); err != nil || version != "3" {
		t.Errorf("version %q, %v", version, err)
	}
	if _, err := c.Version(ctx, "x.Z"); err == nil ||
		!strings.Contains(err.Error(), "no plugin x.Z") {
		t.Errorf("a plugin that is not there: %v", err)
	}
}

func TestConnectRefusal(t *testing.T) {
	t.Parallel()
	c, _ := fakeConnect(t, map[string]string{
		"PUT /connectors/lab/config": `400 {"error_code":400,` +
			`"message":"Connector configuration is invalid: no such host"}`,
	})
	err := c.Put(t.Context(), "lab", nil)
	if err == nil || !strings.Contains(err.Error(),
		"400 Bad Request: Connector configuration is invalid: no such host") {
		t.Errorf("got %v", err)
	}
}

func TestConnectorHealth(t *testing.T) {
	t.Parallel()
	const trace = `"org.apache.kafka.connect.errors.ConnectException: ` +
		`An exception occurred in the change event producer.\n` +
		`\tat io.debezium.pipeline.ErrorHandler.setProducerThrowable(ErrorHandler.java:67)\n` +
		`Caused by: io.debezium.DebeziumException: slot is gone\n\t... 9 more\n"`
	for name, c := range map[string]struct {
		status, want string
		failed       bool
	}{
		"runs": {`{"name":"lab","connector":{"state":"RUNNING"},` +
			`"tasks":[{"id":0,"state":"RUNNING"}]}`, "", false},
		"no task": {`{"name":"lab","connector":{"state":"RUNNING"},"tasks":[]}`,
			"connector lab has no task yet", false},
		"paused": {`{"name":"lab","connector":{"state":"PAUSED"},"tasks":[]}`,
			"connector lab is PAUSED", false},
		"failed": {`{"name":"lab","connector":{"state":"RUNNING"},` +
			`"tasks":[{"id":0,"state":"FAILED","trace":` + trace + `}]}`,
			"task 0 of connector lab is FAILED: " +
				"org.apache.kafka.connect.errors.ConnectException: " +
				"An exception occurred in the change event producer.; " +
				"Caused by: io.debezium.DebeziumException: slot is gone",
			true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, _ := fakeConnect(t, map[string]string{
				"GET /connectors/lab/status": "200 " + c.status,
			})
			status, err := client.Status(t.Context(), "lab")
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := status.Health(); err != nil {
				got = err.Error()
			}
			if got != c.want || status.Failed() != c.failed {
				t.Errorf("%q, failed %t; want %q, %t", got, status.Failed(), c.want, c.failed)
			}
		})
	}
}
