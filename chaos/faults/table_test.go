package faults

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/proxy"
)

// TestTable: each line is complete, and its defaults are values of its parameters.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, k := range Table() {
		if seen[k.Name] || k.Name == "" {
			t.Errorf("two faults named %q", k.Name)
		}
		seen[k.Name] = true
		for _, word := range []string{k.Family, k.Does, k.Verified, k.Undone, string(k.Ends)} {
			if word == "" {
				t.Errorf("%s: a word is missing: %+v", k.Name, k)
			}
		}
		if len(k.Targets) == 0 || len(k.Stacks) == 0 || k.bind == nil {
			t.Errorf("%s: nowhere to apply", k.Name)
		}
		if slices.Contains(k.Stacks, stack.External) && !k.OnProxy() && k.Family != "command" {
			t.Errorf("%s: of an external stack the lab breaks nothing but through proxies and "+
				"commands that were named", k.Name)
		}
		for _, p := range k.Parameters {
			if err := p.Check(p.Example()); err != nil || p.Does == "" {
				t.Errorf("%s: parameter %+v: %v", k.Name, p, err)
			}
		}
		for _, target := range k.Targets {
			if k.OnProxy() != slices.Contains(proxy.Names(), target) {
				t.Errorf("%s: target %s", k.Name, target)
			}
		}
	}
	if !slices.IsSorted(Names()) || len(Names()) != len(seen) {
		t.Errorf("names %q", Names())
	}
}

// TestParameters: a value outside of its parameter is refused, with the value in the message.
func TestParameters(t *testing.T) {
	t.Parallel()
	length := Parameter{Type: lengthType, Least: 100}
	number := Parameter{Type: numberType, Least: 1, Most: 9}
	command := Parameter{Type: commandType}
	word := Parameter{Type: wordType, Words: []string{"up", "down"}}
	for _, c := range []struct {
		of   Parameter
		text string
		good bool
	}{
		{length, "100ms", true}, {length, "99ms", false}, {length, "1500us", false},
		{length, "-1s", false}, {length, "5", false}, {length, "", false},
		{number, "1", true}, {number, "9", true}, {number, "0", false}, {number, "10", false},
		{number, "2.5", false}, {number, "0x2", false}, {number, "99999999999999999999", false},
		{word, "up", true}, {word, "sideways", false}, {word, "", false},
		{command, "kill -9 7 && exit 3", true}, {command, " ", false}, {command, "", false},
	} {
		err := c.of.Check(c.text)
		if (err == nil) != c.good || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s %q: %v, want good %v", c.of.Type, c.text, err, c.good)
		}
	}
}

// TestWithoutSnapshots: a Debezium that would wait for an operator is told before the run.
func TestWithoutSnapshots(t *testing.T) {
	t.Parallel()
	kind, _ := Find("slot-dropped")
	for profile, want := range map[string]string{"": "", stack.WhenNeededProfile: "",
		stack.TunedProfile: "with the profile tuned Debezium's task fails and waits for an " +
			"operator: want tuned-when-needed"} {
		got := ""
		if err := kind.Impossible(Site{Target: stack.Connector, Profile: profile}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", profile, got, want)
		}
	}
}

// TestImpossibleOn: what a kind of stack cannot have is said with the reason.
func TestImpossibleOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ fault, stack, target, want string }{
		{"latency", stack.Embedded, proxy.ConsumerMongo, ""},
		{"latency", stack.Embedded, proxy.ConnectorPostgres, ""},
		{"latency", stack.Native, proxy.ConsumerKafka, ""},
		{"latency", stack.Embedded, proxy.ConsumerKafka, "has no proxy consumer-kafka"},
		{"broker-errors", stack.Embedded, stack.Kafka, ""},
		{"broker-errors", stack.Native, stack.Kafka, "to the stacks embedded, and not to native"},
		{"kill", stack.External, stack.Consumer, "and not to external"},
		{"latency", stack.External, proxy.ConsumerKafka, ""},
		{"command", stack.External, stack.Mongo, ""},
		{"command", stack.Embedded, stack.Mongo, "to the stacks external, and not to embedded"},
	} {
		kind, _ := Find(c.fault)
		err := kind.ImpossibleOn(c.stack, c.target)
		if (err == nil) != (c.want == "") ||
			err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %s on %s: %v, want %q", c.fault, c.target, c.stack, err, c.want)
		}
	}
}

// TestTargetsOn: what a stack cannot have is left out, and nothing else.
func TestTargetsOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault, stack string
		want         []string
	}{
		{"kill", stack.Embedded, []string{stack.Postgres, stack.Kafka, stack.Connector, stack.Mongo,
			stack.Consumer, stack.ConsumerName(2)}},
		{"pause", stack.Embedded, []string{stack.Postgres, stack.Kafka, stack.Mongo, stack.Consumer,
			stack.ConsumerName(2)}},
		// The others have no process of their own.
		{"slowed", stack.Embedded, []string{stack.Postgres, stack.Mongo, stack.Consumer,
			stack.ConsumerName(2)}},
		{"latency", stack.Embedded, proxy.EmbeddedNames()},
		{"broker-errors", stack.Native, nil},
		{"kill", stack.External, nil},
		{"hold", stack.External, proxy.Names()},
	} {
		kind, _ := Find(c.fault)
		got := kind.TargetsOn(c.stack, 2)
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(c.want))) {
			t.Errorf("%s on %s: %q, want %q", c.fault, c.stack, got, c.want)
		}
	}
}

// TestWrite: each fault and parameter is in the printed table, with what this machine lacks, and
// the table is JSON too.
func TestWrite(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := Write(&text); err != nil {
		t.Fatal(err)
	}
	lacking := 0
	for _, k := range Table() {
		if !strings.Contains(text.String(), "\n  "+k.Name+": "+k.Does+"\n") {
			t.Errorf("%s is not in the table", k.Name)
		}
		if k.lacks != nil && k.lacks() != nil {
			lacking++
			if !strings.Contains(text.String(), "\n      not here  "+k.lacks().Error()+"\n") {
				t.Errorf("%s: the table does not say %v", k.Name, k.lacks())
			}
		}
		for _, p := range k.Parameters {
			if !strings.Contains(text.String(), p.Name+" (") {
				t.Errorf("%s: %s is not in the table", k.Name, p.Name)
			}
		}
	}
	if n := strings.Count(text.String(), "\n      not here  "); n != lacking {
		t.Errorf("the table has %d faults that cannot be applied on this machine, want %d", n,
			lacking)
	}
	coded, err := json.Marshal(Table())
	var back []Kind
	if err == nil {
		err = json.Unmarshal(coded, &back)
	}
	if err != nil || len(back) != len(Table()) || back[0].Name != Table()[0].Name {
		t.Errorf("JSON: %v, %d lines", err, len(back))
	}
}
