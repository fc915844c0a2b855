package schedule

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inspected is a script with every executor, as k6 prints its options.
const inspected = `{"paused": null, "executionSegment": null, "scenarios": {
"f": {"executor": "per-vu-iterations", "vus": 2, "iterations": 7, "maxDuration": null},
"a": {"executor": "constant-arrival-rate", "startTime": null, "rate": 60, "timeUnit": "1m0s",
	"duration": "1m30s", "preAllocatedVUs": 2, "maxVUs": null, "exec": null, "env": null},
"b": {"executor": "ramping-arrival-rate", "startRate": 10, "timeUnit": "500ms",
	"stages": [{"duration": "10s", "target": 20}, {"duration": "0s", "target": 5}]},
"c": {"executor": "constant-vus", "startTime": "3s", "gracefulStop": "0s", "vus": 3,
	"duration": "5s"},
"d": {"executor": "ramping-vus", "startVUs": 1, "stages": [{"duration": "5s", "target": 3}]},
"e": {"executor": "shared-iterations", "vus": 2, "iterations": 7, "maxDuration": "30s",
	"exec": "cart"},
"g": {"executor": "externally-controlled", "vus": 2, "maxVUs": 5, "duration": "5s"},
"h": {"executor": "per-vu-iterations", "vus": null, "iterations": null, "maxDuration": null},
"i": {"executor": "constant-arrival-rate", "rate": 100, "timeUnit": "1s", "duration": "5m0s",
	"startTime": "5s"},
"j": {"executor": "constant-arrival-rate", "rate": 1, "timeUnit": "3s", "duration": "10s"}
}}`

// TestRead: each executor's load, with time unit, start and end.
func TestRead(t *testing.T) {
	t.Parallel()
	test, err := Read([]byte(inspected))
	if err != nil {
		t.Fatal(err)
	}
	type load struct {
		Text    string
		Length  time.Duration
		Planned int64
		Open    bool
	}
	want := map[string]load{
		"a": {"constant-arrival-rate 1/s 1m30s", 90 * time.Second, 90, true},
		"b": {"ramping-arrival-rate 20/s 10s to 40/s 0s to 10/s", 10 * time.Second, 300, true},
		"c": {"constant-vus 3 VUs 5s after 3s, graceful stop 0s", 5 * time.Second, 0, false},
		"d": {"ramping-vus 1 VU 5s to 3", 5 * time.Second, 0, false},
		"e": {"shared-iterations 7 by 2 VUs within 30s, exec cart", 30 * time.Second, 7, false},
		"f": {"per-vu-iterations 7 by each of 2 VUs within 10m0s", 10 * time.Minute, 14, false},
		"g": {"externally-controlled 2 VUs of 5 5s", 5 * time.Second, 0, false},
		"h": {"per-vu-iterations 1 by each of 1 VU within 10m0s", 10 * time.Minute, 1, false},
		"i": {"constant-arrival-rate 100/s 5m0s after 5s", 5 * time.Minute, 30_000, true},
		"j": {"constant-arrival-rate 0.333333/s 10s", 10 * time.Second, 4, true},
	}
	got := map[string]load{}
	var order []string
	for _, s := range test.Scenarios {
		planned, _ := s.Planned()
		got[s.Name] = load{s.String(), s.Length(), planned, s.Open()}
		order = append(order, s.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := strings.Join(order, ""); got != "abdefghjci" {
		t.Errorf("order %s, want the order of the starts, then of the names", got)
	}
	if test.End() != 10*time.Minute || test.Model() != "mixed" || test.HasFixedLength() {
		t.Errorf("end %v, model %q, fixed %v", test.End(), test.Model(), test.HasFixedLength())
	}
	if diff := cmp.Diff([]float64{1, 20, 1.0 / 3, 100}, test.Rates()); diff != "" {
		t.Error(diff)
	}
	only := test.Only(func(name string) bool { return name == "c" || name == "i" })
	if only.Length() != 302*time.Second || only.Model() != "mixed" || !only.HasFixedLength() {
		t.Errorf("%+v: length %v, model %q", only, only.Length(), only.Model())
	}
	if none := (Test{}); none.Length() != 0 || none.Model() != "" {
		t.Errorf("nothing: length %v, model %q", none.Length(), none.Model())
	}
}

// TestReadRefuses: options that keep the load from being what the lab believes.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"paused": true}`:                           "options.paused",
		`{"executionSegment": "0:1/2"}`:              "give --segment",
		`{"scenarios": {"a": {"duration": "soon"}}}`: "soon",
		`{"scenarios": {"a": {"duration": 5}}}`:      "duration",
		`[`:                                          "unexpected end",
	} {
		if test, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %q", text, test, err, want)
		}
	}
}
