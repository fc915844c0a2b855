package observers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told is a notification as an Alertmanager 0.35 sends one.
const told = `{"version":"4","groupKey":"{}/{severity=\"critical\"}:{}","status":"STATUS",
"receiver":"cdclab-critical","groupLabels":{"alertname":"MongoLost"},"commonLabels":{},
"commonAnnotations":{},"externalURL":"http://x:9093","truncatedAlerts":0,"alerts":[{
"status":"STATUS","labels":{"alertname":"MongoLost","severity":"critical","component":"mongodb"},
"annotations":{"summary":"the connection is lost"},"startsAt":"2026-11-29T12:00:00.5Z",
"endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"f00d"}]}`

func send(t *testing.T, url, body string, want int) {
	t.Helper()
	answer, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != want {
		t.Errorf("%s: %s, want %d", url, answer.Status, want)
	}
}

// TestWebhook: an alert counts once however often Alertmanager repeats the notification, its end is
// kept, and nobody without the path is heard.
func TestWebhook(t *testing.T) {
	t.Parallel()
	var lines []string
	w, err := newWebhook(func(line string) { lines = append(lines, line) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(t.Context()); err != nil {
			t.Log(err) // the context of a test ends before its clean-up
		}
	})
	firing := strings.ReplaceAll(told, "STATUS", "firing")
	send(t, w.url, firing, http.StatusOK)
	send(t, w.url, firing, http.StatusOK)
	send(t, w.url, "{", http.StatusBadRequest)
	send(t, w.url[:strings.LastIndex(w.url, "/")]+"/", firing, http.StatusNotFound)
	if got := w.alerts(); len(got) != 1 || !got[0].Resolved.IsZero() || got[0].Notified.IsZero() {
		t.Fatalf("%+v", got)
	}
	send(t, w.url, strings.ReplaceAll(told, "STATUS", "resolved"), http.StatusOK)
	got := w.alerts()
	if len(got) != 1 || got[0].Resolved.Before(got[0].Notified) || got[0].Name != "MongoLost" ||
		got[0].Summary != "the connection is lost" ||
		!got[0].Started.Equal(time.Date(2026, 11, 29, 12, 0, 0, 5e8, time.UTC)) {
		t.Fatalf("%+v", got)
	}
	want := []string{"alert MongoLost (critical mongodb): the connection is lost",
		"alert MongoLost is over after 0s"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// TestExplain: an alert is of the last fault that began before the notification.
func TestExplain(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(1_800_000_000+int64(s), 0) }
	got := explain([]Alert{{Name: "Before", Notified: at(5)},
		{Name: "MongoLost", Notified: at(32)}}, []Fault{
		{"kill consumer", at(10)}, {"kill mongodb", at(20)}, {"kill kafka", at(40)}})
	if got[0].Fault != "" || got[1].Fault != "kill mongodb" || got[1].SecondsFromFault != 12 {
		t.Errorf("%+v", got)
	}
	if !strings.HasSuffix(got[1].String(), "; notified 12.0 s after kill mongodb") {
		t.Error(got[1].String())
	}
}

// TestConfigurationOfTheTree: each text that is replaced stands in the committed file.
func TestConfigurationOfTheTree(t *testing.T) {
	t.Parallel()
	o := Options{Tree: "../.."}
	for name, old := range map[string][]string{
		prometheusFile: {"alertmanager:9093", "localhost:9090", "/etc/prometheus/rules",
			"evaluation_interval: 5s"},
		alertmanagerFile: {"/run/secrets/webhook_url", "group_wait: 10s", "group_interval: 1m"},
	} {
		for _, text := range old {
			if _, err := o.replace(name, text, "x"); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := o.replace(prometheusFile, "no such text", "x"); err == nil {
		t.Error("a text that is not there was replaced")
	}
}
