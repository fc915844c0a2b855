// Package faults is the table of faults. A Kind is a line of the table: the fault's name in a plan,
// the targets and parameters, the stacks where the lab can apply the fault, and how the fault is
// applied, proven and undone. The package keeps no time and judges no run; package chaos does.
// Start reading at Kind and Table; each family has a file
// (process, network, broker, connector, database with mongo, resources, clock, group, command).
package faults

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/proxy"
)

// Ending says when a fault is undone.
type Ending string

// The endings of faults.
const (
	// Lasts is undone when the plan's "for" is over.
	Lasts Ending = "for"
	// Restarts is undone by a start of the target, "restart-after" the injection.
	Restarts Ending = "restart-after"
	// AtOnce is over as soon as the fault was seen.
	AtOnce Ending = "at once"
)

// networkFamily has the faults on proxies; each family has a file here.
const networkFamily = "network"

// Kind is a line of the table.
type Kind struct {
	// Name is the word of the plans.
	Name   string `json:"name"`
	Family string `json:"family"`
	// Does says what the fault does to the target.
	Does string `json:"does"`
	// Targets are names of parts or of proxies. The name consumer stands for every consumer.
	Targets []string `json:"targets"`
	Ends    Ending   `json:"ends"`
	// Parameters are the members of the plan's fault beyond at, for, restart-after and repeat.
	Parameters []Parameter `json:"parameters"`
	// Stacks are the kinds of stack on which the lab can apply the fault.
	Stacks []string `json:"stacks"`
	// LeastFor is a "for" long enough for the evidence; 0 is a fault that shows at once.
	LeastFor time.Duration `json:"-"`
	// Verified says which evidence proves the fault while it lasts, Undone how the fault ends.
	Verified string `json:"verified"`
	Undone   string `json:"undone"`
	// Loses says which data is lost by the fault itself, in a sound pipeline too; "" is none.
	Loses string `json:"loses,omitempty"`
	// Shared is true if faults of other Kinds may be on the same target meanwhile.
	Shared bool `json:"shared"`
	// Alone is true if no other fault may be at work on any target meanwhile.
	Alone bool `json:"alone,omitempty"`
	// OnDisk is a fault for a target whose data is on a Disk of its own.
	OnDisk bool `json:"-"`
	// Snapshots is a fault after which the connector has to read all rows again by itself.
	Snapshots bool `json:"-"`

	// notOn names targets that a kind of stack has, and not for this fault.
	notOn map[string][]string
	// lacks returns what this machine lacks for the fault; nil is a Kind for every machine. Nobody
	// asks for a stack of containers, which bring their own.
	lacks func() error
	// unable returns why the fault cannot be applied at the Site; nil is a Kind for every Site.
	unable func(Site) error
	bind   func(Site) *Injection
}

var table = slices.Concat(processKinds(), networkKinds(), brokerKinds(), connectorKinds(),
	databaseKinds(), mongoKinds(), resourceKinds(), clockKinds(),
	groupKinds(), commandKinds())

// Table lists every Kind by family, then in the family's order.
func Table() []Kind { return slices.Clone(table) }

// Find returns the Kind of a name.
func Find(name string) (Kind, bool) {
	for _, k := range table {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// Names lists the names of the Kinds, sorted.
func Names() []string {
	var names []string
	for _, k := range table {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return names
}

// OnProxy is true if the Kind's targets are proxies and not parts.
func (k Kind) OnProxy() bool { return slices.Contains(everyProxy, k.Targets[0]) }

// TargetsOf lists the targets in a stack with so many consumers.
func (k Kind) TargetsOf(consumers int) []string {
	var names []string
	for _, name := range k.Targets {
		names = append(names, name)
		for n := 2; name == stack.Consumer && n <= consumers; n++ {
			names = append(names, stack.ConsumerName(n))
		}
	}
	return names
}

// TargetsOn lists the targets of TargetsOf on which a stack of the kind, on this machine, can have
// the fault.
func (k Kind) TargetsOn(kindOfStack string, consumers int) []string {
	return slices.DeleteFunc(k.TargetsOf(consumers), func(target string) bool {
		return k.ImpossibleOn(kindOfStack, target) != nil
	})
}

// ImpossibleOn returns why no stack of the kind, on this machine, can have the fault on the target,
// or nil.
func (k Kind) ImpossibleOn(kindOfStack, target string) error {
	if !slices.Contains(k.Stacks, kindOfStack) {
		return fmt.Errorf("the lab applies %s to the stacks %s, and not to %s", k.Name,
			strings.Join(k.Stacks, ", "), kindOfStack)
	}
	proxies := proxy.Names()
	if kindOfStack == stack.Embedded {
		proxies = proxy.EmbeddedNames()
	}
	if k.OnProxy() && !slices.Contains(proxies, target) {
		return fmt.Errorf("the %s stack has no proxy %s: it has %s", kindOfStack, target,
			strings.Join(proxies, ", "))
	}
	if slices.Contains(k.notOn[kindOfStack], target) {
		return fmt.Errorf("%s cannot be applied to %s on the %s stack", k.Name, target, kindOfStack)
	}
	if k.lacks != nil && kindOfStack != stack.Compose {
		return k.lacks()
	}
	return nil
}

// Impossible returns why the fault cannot be applied at the Site, or nil.
func (k Kind) Impossible(s Site) error {
	switch {
	case k.Snapshots && s.Profile != "" && s.Profile != stack.WhenNeededProfile:
		return fmt.Errorf("with the profile %s Debezium's task fails and waits for an operator: "+
			"want %s", s.Profile, stack.WhenNeededProfile)
	case k.unable == nil:
		return nil
	}
	return k.unable(s)
}

// Bind binds the Kind to the Site.
func (k Kind) Bind(s Site) *Injection { return k.bind(s) }

// Write prints the table for a person, each fault with its parameters and with what this machine
// lacks for the fault.
func Write(w io.Writer) error {
	var b bytes.Buffer
	family := ""
	for _, k := range table {
		if k.Family != family {
			family = k.Family
			fmt.Fprintf(&b, "\n%s\n", family)
		}
		fmt.Fprintf(&b, "  %s: %s\n", k.Name, k.Does)
		fmt.Fprintf(&b, "      targets   %s\n", strings.Join(k.Targets, ", "))
		fmt.Fprintf(&b, "      stacks    %s\n", strings.Join(k.Stacks, ", "))
		fmt.Fprintf(&b, "      members   %s\n", strings.Join(k.members(), "; "))
		fmt.Fprintf(&b, "      evidence  %s\n", k.Verified)
		fmt.Fprintf(&b, "      undone    %s\n", k.Undone)
		if k.Loses != "" {
			fmt.Fprintf(&b, "      loses     %s\n", k.Loses)
		}
		if k.lacks != nil {
			if err := k.lacks(); err != nil {
				fmt.Fprintf(&b, "      not here  %v\n", err)
			}
		}
	}
	fmt.Fprintf(&b, "\nEvery fault has at and may have repeat; \"consumer\" is also consumer-2 "+
		"and so on.\n")
	_, err := w.Write(bytes.TrimLeft(b.Bytes(), "\n"))
	return err
}

// members are the members of a plan's fault of this Kind, with types and defaults.
func (k Kind) members() []string {
	var all []string
	switch k.Ends {
	case Lasts:
		all = append(all, "for (length)")
	case Restarts:
		all = append(all, "restart-after (length, default 0s)")
	case AtOnce:
		all = append(all, "ends at once")
	}
	for _, p := range k.Parameters {
		kind := p.Type
		if p.Type == wordType {
			kind = strings.Join(p.Words, "|")
		}
		if p.Default != "" {
			kind += ", default " + p.Default
		}
		all = append(all, fmt.Sprintf("%s (%s): %s", p.Name, kind, p.Does))
	}
	return all
}

// Types of Parameters.
const (
	lengthType = "length"
	numberType = "number"
	wordType   = "word"
	// commandType is a line for a shell.
	commandType = "command"
)

// Parameter is a member of a plan's fault.
type Parameter struct {
	Name string `json:"name"`
	// Type is length (such as 5s), number (whole), word (one of Words), or command (a line for
	// /bin/sh).
	Type string `json:"type"`
	// Default is the value of a plan that is silent; "" is a Parameter that every plan gives.
	Default string   `json:"default,omitempty"`
	Words   []string `json:"words,omitempty"`
	// Least and Most bound a number. A length is at least Least milliseconds.
	Least int64 `json:"least"`
	Most  int64 `json:"most,omitempty"`
	// Does says what the value changes, with the unit of a number.
	Does string `json:"does"`
}

// Check refuses a text that is no value of the Parameter.
func (p Parameter) Check(text string) error {
	switch p.Type {
	case lengthType:
		length, err := ReadLength(text)
		if err == nil && length < time.Duration(p.Least)*time.Millisecond {
			err = fmt.Errorf("%s is too short: at least %dms", text, p.Least)
		}
		return err
	case commandType:
		if strings.TrimSpace(text) == "" || strings.ContainsAny(text, "\n\x00") {
			return fmt.Errorf("%q is not one line for /bin/sh", text)
		}
		return nil
	case numberType:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < p.Least || n > p.Most {
			return fmt.Errorf("%q is not a whole number from %d to %d", text, p.Least, p.Most)
		}
		return nil
	}
	if !slices.Contains(p.Words, text) {
		return fmt.Errorf("%q is none of %s", text, strings.Join(p.Words, ", "))
	}
	return nil
}

// Example is a value for a message to a person.
func (p Parameter) Example() string {
	switch {
	case p.Default != "":
		return p.Default
	case p.Type == lengthType:
		return "5s"
	case p.Type == commandType:
		return "./" + p.Name + ".sh"
	case p.Type == numberType:
		return strconv.FormatInt(max(p.Least, 1), 10)
	}
	return p.Words[0]
}

// Parameter returns the named Parameter of the Kind.
func (k Kind) Parameter(name string) (Parameter, bool) {
	for _, p := range k.Parameters {
		if p.Name == name {
			return p, true
		}
	}
	return Parameter{}, false
}

// Values are the checked Parameters of a fault by their names.
type Values map[string]string

// WithDefaults adds the defaults of the Kind's other Parameters.
func (v Values) WithDefaults(k Kind) Values {
	full := Values{}
	for _, p := range k.Parameters {
		if p.Default != "" {
			full[p.Name] = p.Default
		}
	}
	maps.Copy(full, v)
	return full
}

// Length is the value of a length, 0 without a value.
func (v Values) Length(name string) time.Duration {
	length, _ := ReadLength(v[name]) // checked with the plan
	return length
}

// Number is the value of a number, 0 without a value.
func (v Values) Number(name string) int {
	n, _ := strconv.Atoi(v[name]) // checked with the plan
	return n
}

// maxLength keeps sums of lengths from overflowing.
const maxLength = 1000 * time.Hour

// ReadLength reads a length of a plan. A length is in whole milliseconds, because neither Toxiproxy
// nor the timeline knows a shorter time, and a plan must not say more than is done.
func ReadLength(text string) (time.Duration, error) {
	length, err := time.ParseDuration(text)
	switch {
	case err != nil || length < 0 || length > maxLength:
		return 0, fmt.Errorf("%q is not a length from 0s to %v", text, maxLength)
	case length%time.Millisecond != 0:
		return 0, fmt.Errorf("%q cannot be applied: want whole milliseconds", text)
	}
	return length, nil
}

// What most faults can be applied to. Of an external pipeline the lab breaks nothing, except
// through proxies and commands that a person names.
var (
	everyStack = stack.Started
	everyKind  = append(slices.Clone(stack.Started), stack.External)
	everyPart  = []string{stack.Postgres, stack.Kafka, stack.Connector, stack.Mongo,
		stack.Consumer}
	everyProxy = proxy.Names()
)
