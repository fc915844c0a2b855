package observers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/stack/process"
)

// Alert is a fired alert of which the Alertmanager notified the lab.
type Alert struct {
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels"`
	Summary string            `json:"summary"`
	// Started is when the alert fired in Prometheus, Notified when the lab was told, and Resolved
	// when the lab was told of the alert's end, zero for not yet.
	Started  time.Time `json:"started"`
	Notified time.Time `json:"notified"`
	Resolved time.Time `json:"resolved,omitzero"`
	// Fault is the last fault of the plan before the alert, "" without one, and SecondsFromFault
	// the time from the fault's beginning to the notification.
	Fault            string  `json:"fault,omitempty"`
	SecondsFromFault float64 `json:"seconds_from_fault,omitempty"`
}

// String is the alert in a line for a person.
func (a Alert) String() string {
	where := strings.TrimSpace(a.Labels["severity"] + " " + a.Labels["component"])
	text := fmt.Sprintf("alert %s (%s): %s", a.Name, where, a.Summary)
	if a.Fault != "" {
		text += fmt.Sprintf("; notified %.1f s after %s", a.SecondsFromFault, a.Fault)
	}
	return text
}

// Fault is a fault of a chaos plan, and when the fault began.
type Fault struct {
	Name  string
	Began time.Time
}

// webhook receives the notifications of the Alertmanager on loopback.
type webhook struct {
	server *http.Server
	// url holds a random path, because every user of the machine reaches loopback.
	url string
	say func(string)

	mu    sync.Mutex
	fired []Alert
	// seen is the place in fired, by the alert's fingerprint and start.
	seen map[string]int
}

func newWebhook(say func(string)) (*webhook, error) {
	listener, err := net.Listen("tcp", process.Loopback(0))
	if err != nil {
		return nil, fmt.Errorf("receive alerts: %w", err)
	}
	path := "/" + rand.Text()
	w := &webhook{url: "http://" + listener.Addr().String() + path, say: say,
		seen: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, w.receive)
	w.server = telemetry.ServePages(listener, mux)
	return w, nil
}

// notification is what an Alertmanager sends, version 4.
// https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
type notification struct {
	Alerts []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    time.Time         `json:"startsAt"`
		Fingerprint string            `json:"fingerprint"`
	} `json:"alerts"`
}

// mostNotification bounds a notification, in bytes.
const mostNotification = 4 << 20

func (w *webhook) receive(answer http.ResponseWriter, request *http.Request) {
	now := time.Now()
	var told notification
	err := json.NewDecoder(io.LimitReader(request.Body, mostNotification)).Decode(&told)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	for _, one := range told.Alerts {
		w.note(one.Fingerprint+one.StartsAt.String(), one.Status == "resolved", Alert{
			Name: one.Labels["alertname"], Labels: one.Labels,
			Summary: one.Annotations["summary"], Started: one.StartsAt, Notified: now})
	}
}

// note keeps the first notification of an alert, and the first of its end.
func (w *webhook) note(key string, resolved bool, a Alert) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, known := w.seen[key]
	switch {
	case resolved && known && w.fired[at].Resolved.IsZero():
		w.fired[at].Resolved = a.Notified
		w.say(fmt.Sprintf("alert %s is over after %v", a.Name,
			a.Notified.Sub(w.fired[at].Notified).Round(time.Second)))
	case !resolved && !known:
		w.seen[key] = len(w.fired)
		w.fired = append(w.fired, a)
		w.say(a.String())
	}
}

// alerts returns the alerts so far, in the order of their notifications.
func (w *webhook) alerts() []Alert {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.fired)
}

func (w *webhook) close(ctx context.Context) error {
	if err := w.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("end the receiver of alerts: %w", err)
	}
	return nil
}

// explain names for each alert the last fault that began before the notification.
func explain(alerts []Alert, faults []Fault) []Alert {
	for i := range alerts {
		var last time.Time
		for _, f := range faults {
			if f.Began.After(alerts[i].Notified) || f.Began.Before(last) {
				continue
			}
			last = f.Began
			alerts[i].Fault = f.Name
			alerts[i].SecondsFromFault = alerts[i].Notified.Sub(f.Began).Seconds()
		}
	}
	return alerts
}
