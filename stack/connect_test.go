package stack

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeConnect answers each "METHOD /path?query" with a status and a body, and notes what it was asked.
func fakeConnect(t *testing.T, answers map[string]string) (Connect, *[]string) {
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
	return Connect{URL: server.URL}, &asked
}

func TestConnectAsks(t *testing.T) {
	t.Parallel()
	c, asked := fakeConnect(t, map[string]string{
		"PUT /connectors/lab/config": "200 {}", "PUT /connectors/lab/pause": "202", "PUT /connectors/lab/resume": "202",
		"POST /connectors/lab/restart?includeTasks=true&onlyFailed=true": "202", "DELETE /connectors/lab": "204",
		"GET /connectors/lab/config": `200 {"a":"b"}`,
		"GET /connector-plugins":     `200 [{"class":"x.Y","version":"3"}]`,
	})
	ctx := t.Context()
	err := errors.Join(c.Put(ctx, "lab", map[string]string{"k": "v"}), c.Pause(ctx, "lab"), c.Resume(ctx, "lab"),
		c.Restart(ctx, "lab", true), c.Delete(ctx, "lab"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`PUT /connectors/lab/config {"k":"v"}`, "PUT /connectors/lab/pause", "PUT /connectors/lab/resume",
		"POST /connectors/lab/restart?includeTasks=true&onlyFailed=true", "DELETE /connectors/lab"}
	if diff := cmp.Diff(want, *asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if config, err := c.Config(ctx, "lab"); err != nil || config["a"] != "b" {
		t.Errorf("config %v, %v", config, err)
	}
	if _, err := c.Config(ctx, "other"); !errors.Is(err, errNoConnector) {
		t.Errorf("a connector that is not there: %v", err)
	}
	if version, err := c.version(ctx, "x.Y"); err != nil || version != "3" {
		t.Errorf("version %q, %v", version, err)
	}
	if _, err := c.version(ctx, "x.Z"); err == nil || !strings.Contains(err.Error(), "no plugin x.Z") {
		t.Errorf("a plugin that is not there: %v", err)
	}
}

func TestConnectRefusal(t *testing.T) {
	t.Parallel()
	c, _ := fakeConnect(t, map[string]string{
		"PUT /connectors/lab/config": `400 {"error_code":400,"message":"Connector configuration is invalid: no such host"}`,
	})
	err := c.Put(t.Context(), "lab", nil)
	if err == nil || !strings.Contains(err.Error(), "400 Bad Request: Connector configuration is invalid: no such host") {
		t.Errorf("got %v", err)
	}
}

func TestConnectorHealth(t *testing.T) {
	t.Parallel()
	const trace = `"org.apache.kafka.connect.errors.ConnectException: An exception occurred in the change event producer.\n` +
		`\tat io.debezium.pipeline.ErrorHandler.setProducerThrowable(ErrorHandler.java:67)\n` +
		`Caused by: io.debezium.DebeziumException: slot is gone\n\t... 9 more\n"`
	for name, c := range map[string]struct {
		status, want string
		failed       bool
	}{
		"runs":    {`{"name":"lab","connector":{"state":"RUNNING"},"tasks":[{"id":0,"state":"RUNNING"}]}`, "", false},
		"no task": {`{"name":"lab","connector":{"state":"RUNNING"},"tasks":[]}`, "connector lab has no task yet", false},
		"paused":  {`{"name":"lab","connector":{"state":"PAUSED"},"tasks":[]}`, "connector lab is PAUSED", false},
		"failed": {`{"name":"lab","connector":{"state":"RUNNING"},"tasks":[{"id":0,"state":"FAILED","trace":` + trace + `}]}`,
			"task 0 of connector lab is FAILED: org.apache.kafka.connect.errors.ConnectException: An exception occurred in the " +
				"change event producer.; Caused by: io.debezium.DebeziumException: slot is gone", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, _ := fakeConnect(t, map[string]string{"GET /connectors/lab/status": "200 " + c.status})
			status, err := client.Status(t.Context(), "lab")
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := status.Health(); err != nil {
				got = err.Error()
			}
			if got != c.want || status.failed() != c.failed {
				t.Errorf("%q, failed %t; want %q, %t", got, status.failed(), c.want, c.failed)
			}
		})
	}
}

// TestProfiles: every profile can be read, and the README gives a reason for every setting of the
// recommended one.
func TestProfiles(t *testing.T) {
	t.Parallel()
	profiles := map[string]map[string]string{}
	for _, name := range Profiles() {
		config, err := readProfile(name)
		if err != nil || config["connector.class"] != debeziumClass || config["slot.name"] != slotName {
			t.Errorf("%s: %v, %v", name, config, err)
		}
		profiles[name] = config
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for key := range profiles[TunedProfile] {
		if !strings.Contains(string(readme), "`"+key+"`") {
			t.Errorf("README.md does not say why %s is what it is", key)
		}
	}
	schemas := profiles["tuned-schemas"]
	for _, key := range []string{"key.converter.schemas.enable", "value.converter.schemas.enable"} {
		if schemas[key] != "true" {
			t.Errorf("tuned-schemas has %s = %q", key, schemas[key])
		}
		schemas[key] = "false"
	}
	if diff := cmp.Diff(profiles[TunedProfile], schemas); diff != "" {
		t.Errorf("tuned-schemas differs in more than the schemas:\n%s", diff)
	}
	if _, err := readProfile("fast"); err == nil || !strings.Contains(err.Error(), `no profile "fast" of Debezium, want one of debezium-defaults, tuned`) {
		t.Errorf("an unknown profile: %v", err)
	}
}

func TestFindJava(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"old":     {`echo 'openjdk version "11.0.2" 2019-01-15' >&2`, "needs Java 17 or newer; "},
		"strange": {`echo hello`, `it says "hello\n"`},
		"right":   {`echo 'openjdk version "21" 2023-09-19' >&2`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			if err := os.Mkdir(filepath.Join(home, "bin"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(home, "bin", "java"), []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("JAVA_HOME", home)
			_, err := findJava(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Setenv("JAVA_HOME", t.TempDir())
	if _, err := findJava(t.Context()); err == nil || !strings.Contains(err.Error(), "needs Java 17 or newer (a JDK or JRE on PATH, or JAVA_HOME)") {
		t.Errorf("no Java: %v", err)
	}
}

// TestFindMaven: what cannot be fetched without mvn says so, and leaves nothing that looks fetched.
func TestFindMaven(t *testing.T) {
	bin, cache := t.TempDir(), t.TempDir()
	java := "#!/bin/sh\necho 'openjdk version \"21\" 2023-09-19' >&2\n"
	if err := os.WriteFile(filepath.Join(bin, "java"), []byte(java), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JAVA_HOME", "")
	t.Setenv("PATH", bin)
	for range 2 {
		_, err := findJVM(t.Context(), cache, func(line string) { t.Errorf("said %q", line) })
		wantError(t, err, "mvn is not on PATH: install Maven", "which fetches Kafka", "and Debezium")
	}
	if _, err := findJava(t.Context()); err != nil {
		t.Errorf("it is mvn alone that is missing: %v", err)
	}
}

// TestJVMCheck: a dist is taken only as it was fetched.
func TestJVMCheck(t *testing.T) {
	t.Parallel()
	j := &jvm{dist: t.TempDir()}
	jar := filepath.Join(j.dist, "a.jar")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(jar, "12345")
	if err := j.check(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("never fetched: %v", err)
	}
	write(j.manifest(), `{"a.jar":5}`)
	if err := j.check(); err != nil {
		t.Errorf("as fetched: %v", err)
	}
	write(jar, "1234")
	if err := j.check(); err == nil || !strings.Contains(err.Error(), "a.jar has 4 bytes, was fetched with 5") {
		t.Errorf("cut off: %v", err)
	}
}
