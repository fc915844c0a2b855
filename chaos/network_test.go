package chaos

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/stack/proxy"
)

// wire is a Proxy controlled by the test: the wire carries flow bytes a second.
type wire struct {
	begin  time.Time
	flow   float64
	toxics map[string]proxy.Toxic
	last   proxy.Toxic
	// forgets: toxics vanish, as when somebody resets the proxy.
	forgets bool
	// silentFrom is when the proxy's container answers no more; 0 is never.
	silentFrom time.Duration
}

func (w *wire) site() faults.Site {
	return faults.Site{Target: "consumer-mongo", Wire: faults.Wire{
		Name: "consumer-mongo",
		Add: func(t proxy.Toxic) error {
			w.last = t
			if !w.forgets {
				w.toxics[t.Name] = t
			}
			return nil
		},
		Remove: func(name string) error {
			if _, ok := w.toxics[name]; !ok {
				return fmt.Errorf("no toxic %s", name)
			}
			delete(w.toxics, name)
			return nil
		},
		Bytes: func() (int64, error) {
			if w.silentFrom > 0 && time.Since(w.begin) >= w.silentFrom {
				return 0, errors.New("toxiproxy does not answer")
			}
			return int64(w.flow * time.Since(w.begin).Seconds()), nil
		},
	}}
}

// bind binds every Fault to the wire.
func (w *wire) bind(f *Fault) (*faults.Injection, error) {
	site, kind := w.site(), f.line()
	site.With = f.With.WithDefaults(kind)
	return kind.Bind(site), nil
}

// TestSilentProxies: bytes not counted are no evidence, whether the container falls silent before
// the fault, in the middle or at the end.
func TestSilentProxies(t *testing.T) {
	t.Parallel()
	for _, from := range []time.Duration{time.Second, 2 * time.Second, 6 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			line := &wire{begin: time.Now(), flow: 100, toxics: map[string]proxy.Toxic{},
				silentFrom: from}
			fault := Fault{At: time.Second, Kind: "partition", Target: "consumer-mongo",
				For: 5 * time.Second}
			w := run(t.Context(), &Plan{Method: []Fault{fault}}, line.bind, line.begin, nil)[0]
			if w.Applied || w.Evidence != "" || w.ProxyBytes != 0 || w.Err == nil ||
				!strings.Contains(w.Err.Error(), "toxiproxy does not answer") {
				t.Errorf("silent from %v: %+v", from, w)
			}
			if len(line.toxics) > 0 {
				t.Errorf("left on the proxy: %v", line.toxics)
			}
		})
	}
}

func TestProxyFaults(t *testing.T) {
	t.Parallel()
	late := Fault{At: time.Second, Kind: "latency", Target: "consumer-mongo", For: 5 * time.Second,
		With: faults.Values{"latency": "100ms"}}
	split := Fault{At: time.Second, Kind: "partition", Target: "consumer-mongo",
		For: 5 * time.Second}
	for name, c := range map[string]struct {
		fault    Fault
		flow     float64
		forgets  bool
		evidence string
		err      string
	}{
		"latency": {late, 100, false, "500 bytes through proxy consumer-mongo " +
			"with chaos-latency-up, chaos-latency-down", ""},
		"partition": {split, 2, false, "10 bytes through proxy consumer-mongo " +
			"with chaos-partition-up, chaos-partition-down", ""},
		"bypassed": {late, 0, false, "", "no bytes through proxy consumer-mongo"},
		"reset": {late, 100, true, "500 bytes through proxy consumer-mongo " +
			"with chaos-latency-up, chaos-latency-down", "no toxic chaos-latency-up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				line := &wire{begin: time.Now(), flow: c.flow, toxics: map[string]proxy.Toxic{},
					forgets: c.forgets}
				plan := &Plan{Method: []Fault{c.fault}}
				w := run(t.Context(), plan, line.bind, line.begin, nil)[0]
				if w.Applied != (c.err == "") || w.Evidence != c.evidence ||
					w.ProxyBytes != int64(5*c.flow) {
					t.Errorf("%+v", w)
				}
				if c.err != "" && (w.Err == nil || !strings.Contains(w.Err.Error(), c.err)) {
					t.Errorf("error %v, want %s", w.Err, c.err)
				}
				if name == "latency" && line.last.Attributes["latency"] != int64(100) {
					t.Errorf("latency toxic %+v, want 100 ms", line.last)
				}
				if len(line.toxics) > 0 {
					t.Errorf("left on the proxy: %v", line.toxics)
				}
			})
		})
	}
}
