package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/reports/impact"
	"github.com/cdclab/cdclab/stack/servertest/expect"
)

const head = `name: p
steady-state:
  # a comment is no member
  recovery: 30s
method:
`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse([]byte(head + `
  - {at: 8s, fault: latency, target: consumer-mongo, for: 5s, latency: 100ms}
  - at: 1m
    fault: kill
    target: consumer
    restart-after: 2s
  - {at: 0s, fault: pause, target: mongo, for: 1500ms}
  - {at: 20s, fault: partition, target: consumer-mongo, for: 5s}
  - {at: 9s, fault: stop, target: kafka}
  - {at: 100ms, fault: kill, target: connector, restart-after: 1s, repeat: every 3s for 10s}
  - {at: 9s, fault: bandwidth, target: consumer-mongo, for: 1s, direction: up, rate: 20}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Plan{
		Name: "p", SteadyState: SteadyState{Recovery: 30 * time.Second},
		Method: []Fault{
			{At: 8 * time.Second, Kind: "latency", Target: "consumer-mongo", For: 5 * time.Second,
				With: faults.Values{"latency": "100ms", "jitter": "0s", "direction": "both"}},
			{At: time.Minute, Kind: "kill", Target: "consumer", RestartAfter: 2 * time.Second},
			{Kind: "pause", Target: "mongo", For: 1500 * time.Millisecond},
			{At: 20 * time.Second, Kind: "partition", Target: "consumer-mongo",
				For: 5 * time.Second, With: faults.Values{"direction": "both"}},
			{At: 9 * time.Second, Kind: "stop", Target: "kafka"},
			{At: 100 * time.Millisecond, Kind: "kill", Target: "connector",
				RestartAfter: time.Second,
				Repeat:       Repeat{3 * time.Second, 10 * time.Second}},
			{At: 9 * time.Second, Kind: "bandwidth", Target: "consumer-mongo", For: time.Second,
				With: faults.Values{"direction": "up", "rate": "20"}},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Plan{}, Fault{}),
		cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"consumer-mongo"}, got.Proxies()); diff != "" {
		t.Error(diff)
	}
	if end := got.Method[5].end(); end != 7100*time.Millisecond {
		t.Errorf("the end of a repeated fault is %v, want 7.1s", end)
	}
	if got.End() != 62*time.Second {
		t.Errorf("End() = %v, want 1m2s", got.End())
	}
}

// mistakes are broken plans with the errors of each.
var mistakes = map[string]struct{ text, want string }{
	"empty": {"", "1:1: "},
	"two documents": {head + "  - {at: 1s, fault: kill, target: mongo}\n---\na: b\n",
		"1:1: 2 YAML documents"},
	"no YAML": {"name: [", "1:7: "},
	"a list":  {"- a\n- b\n", "1:1: "},
	"unknown member": {head + "  - at: 1s\n    fault: kill\n    target: mongo\n    until: 3s\n",
		`9:5: unknown field "until"`},
	"unknown top member": {"name: p\nsteadystate: {}\n", `2:1: unknown field "steadystate"`},
	"unknown allowance": {"name: p\nsteady-state:\n  phantom: 1\n",
		`3:3: unknown field "phantom"`},
	"twice":   {"name: p\nname: q\n", "2:1: "},
	"no name": {"steady-state: {recovery: 1s}\n", "1:"},
	"no recovery": {"name: p\nmethod:\n  - {at: 1s, fault: kill, target: mongo}\n",
		"1:7: want recovery"},
	"bad recovery": {"name: p\nsteady-state:\n  recovery: soon\n",
		`3:13: recovery: "soon" is not a length`},
	"no method": {"name: p\nsteady-state: {recovery: 1s}\n",
		"want at least one fault"},
	"null fault":      {head + "  -\n", "6:"},
	"fault is a text": {head + "  - kill\n", "6:5: "},
	"unknown fault": {head + "  - at: 1s\n    fault: kil\n    target: mongo\n",
		`7:12: unknown fault "kil"; there are `},
	"unknown target": {head + "  - at: 1s\n    fault: kill\n    target: mango\n",
		`8:13: unknown target "mango" of kill; there are postgres, kafka`},
	"proxy is killed": {head + "  - {at: 1s, fault: kill, target: consumer-mongo}\n",
		`unknown target "consumer-mongo" of kill`},
	"latency on a part": {head + "  - {at: 1s, fault: latency, target: mongo, for: 1s, " +
		"latency: 1s}\n",
		`unknown target "mongo" of latency; there are consumer-mongo`},
	"negative at": {head + "  - at: -1s\n    fault: kill\n    target: mongo\n",
		`6:9: at: "-1s" is not a length from 0s`},
	"no unit": {head + "  - fault: kill\n    target: mongo\n    at: 8\n",
		"8:9: at: want a length with its unit"},
	"for without end": {head + "  - {at: 1s, fault: pause, target: mongo}\n",
		"pause wants for"},
	"for of a kill": {head + "  - at: 1s\n    fault: kill\n    target: mongo\n    for: 2s\n",
		"9:10: kill has no for"},
	"restart of a pause": {head + "  - {at: 1s, fault: pause, target: mongo, for: 1s, " +
		"restart-after: 1s}\n",
		"pause has no restart-after"},
	"latency of a stop": {head + "  - {at: 1s, fault: stop, target: mongo, latency: 1s}\n",
		"stop has no latency"},
	"no latency": {head + "  - {at: 1s, fault: latency, target: consumer-mongo, for: 1s}\n",
		"latency wants latency"},
	"overlap": {head + "  - at: 9s\n    fault: kill\n    target: mongo\n" +
		"  - {at: 5s, fault: pause, target: mongo, for: 5s}\n",
		"6:9: kill of mongo at 9s overlaps its pause from 5s to 10s"},
	"same time": {head + "  - {at: 5s, fault: kill, target: mongo}\n" +
		"  - {at: 5s, fault: kill, target: mongo}\n",
		"7:10: kill of mongo at 5s overlaps its kill"},
	"repeat of what": {head + "  - at: 1s\n    fault: kill\n    target: mongo\n" +
		"    repeat: 3s\n",
		`9:13: repeat: "3s" is not of the form every 3s for 5m`},
	"repeat as a list": {head + "  - at: 1s\n    fault: kill\n    target: mongo\n" +
		"    repeat: [3s, 5m]\n",
		"9:13: repeat: want a text"},
	"repeat of nothing": {head + "  - at: 1s\n    fault: kill\n    target: mongo\n" +
		"    repeat: every 0s for 5m\n",
		`9:13: repeat: "0s" is not a length above 0s`},
	"repeat once": {head + "  - at: 1s\n    fault: kill\n    target: mongo\n" +
		"    repeat: every 3s for 5s\n",
		"9:13: repeat: every 3s fits 5s only 1 times"},
	"repeat too soon": {head + "  - at: 1s\n    fault: pause\n    target: mongo\n    for: 3s\n" +
		"    repeat: every 3s for 1m\n",
		"10:13: pause lasts 3s and comes again after 3s"},
	"overlap of a repeat": {head + "  - {at: 1s, fault: kill, target: mongo, " +
		"repeat: every 2s for 10s}\n" +
		"  - at: 9s\n    fault: kill\n    target: mongo\n",
		"7:9: kill of mongo at 9s overlaps its kill from 1s to 9s"},
	"negative rate": {"load:\n  rate: -1\n" + head +
		"  - {at: 1s, fault: kill, target: mongo}\n", "2:9: rate: -1 is not"},
	"short load": {"load:\n  duration: 5s\n" + head +
		"  - {at: 9s, fault: kill, target: mongo}\n", "2:11: the load ends after 5s"},
	"bad load": {"load: {durration: 5s}\n" + head,
		`unknown field "durration"`},
	"too many": {"consumers: 9\n" + head +
		"  - {at: 9s, fault: kill, target: mongo}\n", "1:12: consumers: 9, want 1 to 8"},
	"a second that is not there": {head + "  - {at: 1s, fault: kill, target: consumer-2}\n",
		`unknown target "consumer-2" of kill; ` +
			`there are postgres, kafka, connector, mongo, consumer`},
	"latency below Toxiproxy's": {head + "  - at: 1s\n    fault: latency\n" +
		"    target: consumer-mongo\n    for: 2s\n    latency: 900us\n",
		`10:14: latency: "900us" cannot be applied: want whole milliseconds`},
	"latency between Toxiproxy's": {head + "  - {at: 1s, fault: latency, " +
		"target: consumer-mongo, for: 2s, latency: 1.5ms}\n",
		`latency: "1.5ms" cannot be applied`},
	"a moment's pause": {head + "  - {at: 1s, fault: pause, target: mongo, for: 10ns}\n",
		`for: "10ns" cannot be applied`},
	"repeat by microseconds": {head + "  - at: 1s\n    fault: kill\n    target: mongo\n" +
		"    repeat: every 1500us for 5m\n",
		`9:13: repeat: "1500us" cannot be applied`},
	"no latency of a kill": {head + "  - at: 1s\n    fault: kill\n    target: mongo\n" +
		"    latency: 0s\n", "9:14: kill has no latency"},
	"no rate": {"load:\n  rate: 0\n" + head +
		"  - {at: 1s, fault: kill, target: mongo}\n", "2:9: rate: 0 is not"},
	"no load": {"load:\n  duration: 0s\n" + head +
		"  - {at: 1s, fault: kill, target: mongo}\n", "2:13: duration: 0s is no load"},
	"no consumers": {"consumers: 0\n" + head +
		"  - {at: 9s, fault: kill, target: mongo}\n", "1:12: consumers: 0, want 1 to 8"},
	"half a write": {"load:\n  rate: 10.7\n" + head +
		"  - {at: 1s, fault: kill, target: mongo}\n", "2:9: rate: 10.7 is not a whole number"},
	"less than a write": {"load:\n  rate: 0.5\n" + head +
		"  - {at: 1s, fault: kill, target: mongo}\n", "2:9: rate: 0.5 is not a whole number"},
	"half a consumer": {"consumers: 1.9\n" + head +
		"  - {at: 1s, fault: kill, target: mongo}\n",
		"1:12: consumers: 1.9 is not a whole number"},
	"no degradation": {"expectations: {degradation: 0}\n" + head, "1:29: degradation: 0 is not"},
	"half a degradation": {"expectations: {degradation: 2.5}\n" + head,
		"1:29: degradation: 2.5 is not a whole number"},
	"no lag": {"expectations: {lag: 0}\n" + head, "1:21: lag: 0 is not a number of writes"},
	"half a lag": {strings.Replace(head, "recovery: 30s", "recovery: 30s\n  lag: 1.5", 1),
		"5:8: lag: 1.5 is not a whole number"},
	"a lag below none": {strings.Replace(head, "recovery: 30s", "recovery: 30s\n  lag: -1", 1),
		"5:8: lag: -1 is not a number of writes above 0"},
	"unknown action": {head + "  - {at: 1s, fault: kill, target: mongo}\n" +
		"rollbacks:\n  - {action: pray, target: mongo}\n",
		`8:14: unknown action "pray" of a rollback; there are start, restart`},
	"rollback of nothing": {head + "  - {at: 1s, fault: kill, target: mongo}\n" +
		"rollbacks:\n  - {action: start, target: consumer-2}\n",
		`8:29: unknown target "consumer-2" of a rollback; there are postgres`},
	"rollback of more": {head + "  - {at: 1s, fault: kill, target: mongo}\n" +
		"rollbacks:\n  - {action: start, target: mongo, at: 1s}\n", `unknown field "at"`},
	"empty rollback": {head + "  - {at: 1s, fault: kill, target: mongo}\nrollbacks:\n  -\n",
		"rollback 1 is empty"},
	"unknown expectation": {"expectations: {loss: 1}\n" + head, `1:16: unknown field "loss"`},
	"no number": {head + "  - {at: 1s, fault: slicer, target: consumer-mongo, for: 1s, size: 0}\n",
		`6:68: size: "0" is not a whole number from 1 to`},
	"no direction": {head + "  - {at: 1s, fault: partition, target: consumer-mongo, for: 1s, " +
		"direction: sideways}\n", `direction: "sideways" is none of both, up, down`},
	"no rate of a bandwidth": {head + "  - {at: 1s, fault: bandwidth, target: consumer-mongo, " +
		"for: 1s}\n", "bandwidth wants rate, such as rate: 1"},
	"a list for a parameter": {head + "  - {at: 1s, fault: bandwidth, target: consumer-mongo, " +
		"for: 1s, rate: [1]}\n", "rate: want a value"},
	"one kind twice on a shared target": {head +
		"  - {at: 1s, fault: slot-held, target: postgres, for: 9s}\n" +
		"  - {at: 5s, fault: slot-held, target: postgres, for: 1s}\n",
		"7:10: slot-held of postgres at 5s overlaps its slot-held from 1s to 10s"},
	"a kill of a shared target": {head +
		"  - {at: 1s, fault: slot-held, target: postgres, for: 9s}\n" +
		"  - {at: 5s, fault: kill, target: postgres}\n",
		"7:10: kill of postgres at 5s overlaps its slot-held"},
	"a pause beside a fault that works alone": {head +
		"  - {at: 1s, fault: restored, target: postgres, for: 9s}\n" +
		"  - {at: 5s, fault: pause, target: mongo, for: 1s}\n",
		"7:10: pause of mongo at 5s overlaps restored of postgres from 1s to 10s"},
	"a fault that works alone beside a pause": {head +
		"  - {at: 1s, fault: pause, target: mongo, for: 9s}\n" +
		"  - {at: 5s, fault: restored, target: postgres, for: 1s}\n",
		"7:10: restored of postgres at 5s overlaps pause of mongo from 1s to 10s"},
	"length of a fault at once": {head + "  - {at: 1s, fault: restart, target: mongo, for: 1s}\n",
		"restart has no for"},
	"a quoted member": {head + "  - {\"at\": 900us, fault: kill, target: mongo}\n",
		`at: "900us" cannot be applied`},
	"too long": {head + "  - {at: 2000000h, fault: kill, target: mongo}\n",
		`"2000000h" is not a length`},
}

func TestParseNamesTheMistakeAndItsPlace(t *testing.T) {
	t.Parallel()
	for name, c := range mistakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan, err := parse([]byte(c.text))
			if err == nil {
				t.Fatalf("parsed as %+v", plan)
			}
			if plan != nil {
				t.Error("an error and a plan")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestCommandLines: a person's command is one line, in any form of YAML that keeps the line whole.
func TestCommandLines(t *testing.T) {
	t.Parallel()
	const want = `echo "a: b" # 'c'`
	for form, value := range map[string]string{"quoted": `'echo "a: b" # ''c'''`,
		"literal": "|\n      " + want, "folded": ">-\n      echo\n      \"a: b\" # 'c'"} {
		plan, err := parse([]byte(head + "  - at: 1s\n    fault: command\n    target: mongo\n" +
			"    for: 1s\n    proof: p\n    undo: u\n    do: " + value + "\n"))
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		text, err := plan.Text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(text)
		if err != nil || plan.Method[0].With["do"] != want || again.Method[0].With["do"] != want {
			t.Errorf("%s: %q, and from %s\n%v", form, plan.Method[0].With["do"], text, err)
		}
	}
	_, err := parse([]byte(head + "  - {at: 1s, fault: command, target: mongo, for: 1s, " +
		`proof: p, undo: u, do: "a\nb"}`))
	expect.Error(t, err, `"a\nb" is not one line for /bin/sh`)
}

func TestExpected(t *testing.T) {
	t.Parallel()
	plan, err := parse([]byte("expectations: {steady-within: 1500ms, degradation: 20, lag: 900}\n" +
		strings.Replace(head, "recovery: 30s", "recovery: 30s\n  p95: 250ms\n  lag: 40", 1) +
		"  - {at: 1s, fault: kill, target: mongo}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := impact.Expected{P95Ms: 250, SteadySeconds: 1.5, Degradation: 20,
		SteadyLag: 40, Lag: 900}
	if diff := cmp.Diff(want, plan.Expected()); diff != "" {
		t.Error(diff)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(path, []byte("name: p\nnome: q\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path+":2:1: ") {
		t.Errorf("got %v, want %s:2:1", err, path)
	}
	if _, err := Load("no-such-plan"); err == nil ||
		!strings.Contains(err.Error(), "no-such-plan") {
		t.Errorf("got %v", err)
	}
}

// TestBuiltInPlans: each loads by name, and ends within a smoke run with time left to recover.
func TestBuiltInPlans(t *testing.T) {
	t.Parallel()
	files, err := builtIn.ReadDir("plans")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file.Name(), ".yaml")
		plan, err := Load(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if plan.Name != name || plan.Description == "" {
			t.Errorf("%s: name %q, description %q", name, plan.Name, plan.Description)
		}
		length := plan.Load.Duration
		if length == 0 {
			length = 20 * time.Second // of a smoke run
		}
		if plan.End() > length-5*time.Second {
			t.Errorf("%s ends after %v of %v: no time to recover", name, plan.End(), length)
		}
	}
}

func FuzzPlan(f *testing.F) {
	for _, name := range []string{"consumer-kill", "mongo-latency"} {
		text, err := builtIn.ReadFile("plans/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(head + "  - &a {at: 1s, fault: kill, target: mongo}\n" +
		"  - *a\n  - <<: *a\n    at: 9s\n"))
	f.Add([]byte("? [a]\n: !!binary x\n---\n%"))
	f.Fuzz(func(t *testing.T, text []byte) {
		plan, err := parse(text)
		if err != nil {
			if !strings.Contains(err.Error(), ":") || plan != nil {
				t.Errorf("plan %v, error without a place: %v", plan, err)
			}
			return
		}
		if plan.End() < 0 || len(plan.Method) == 0 {
			t.Errorf("a valid plan with end %v and %d faults", plan.End(), len(plan.Method))
		}
		_ = plan.Proxies()
	})
}
