package chaos

import (
	"fmt"
	"slices"
	"time"

	"github.com/cdclab/cdclab/stack"
)

// On tells the Plan the kind of stack, and says which Faults no such stack can have, a sentence
// each.
func (p *Plan) On(kindOfStack string) []string {
	p.stack = kindOfStack
	var sentences []string
	for i := range p.Method {
		f := &p.Method[i]
		if err := p.impossible(f); err != nil {
			sentences = append(sentences, p.notApplicable(f, err))
		}
	}
	return sentences
}

// notApplicable is the sentence about a Fault that cannot be applied, with the reason.
func (p *Plan) notApplicable(f *Fault, reason error) string {
	return p.refuse(f.node, "fault", fmt.Sprintf("%s cannot be applied to %s: %v", f.Kind,
		f.Target, reason)).Error()
}

// impossible returns why the Plan's kind of stack cannot have the Fault.
func (p *Plan) impossible(f *Fault) error {
	if p.stack == "" {
		return nil
	}
	return f.line().ImpossibleOn(p.stack, f.Target)
}

// Obstacles says which Faults cannot be applied to the running s, a sentence each; the Faults that
// On names are left out.
func (p *Plan) Obstacles(s *stack.Stack) []string {
	var sentences []string
	for i := range p.Method {
		f := &p.Method[i]
		if p.impossible(f) != nil {
			continue
		}
		if _, err := p.bind(f, s); err != nil {
			sentences = append(sentences, p.notApplicable(f, err))
		}
	}
	return sentences
}

// Proxies names the Proxies needed by the Plan on its kind of stack, each once, sorted.
func (p *Plan) Proxies() []string {
	var names []string
	for _, f := range p.Method {
		if f.line().OnProxy() && p.impossible(&f) == nil {
			names = append(names, f.Target)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Disks names the parts whose data has to be on a Disk of the part's own.
func (p *Plan) Disks() (names []string) {
	for _, f := range p.Method {
		if f.line().OnDisk && p.impossible(&f) == nil {
			names = append(names, f.Target)
		}
	}
	return names
}

// Profile is the configuration of Debezium that the Plan needs on its kind of stack; "" is any.
func (p *Plan) Profile() string {
	for _, f := range p.Method {
		if f.line().Snapshots && p.impossible(&f) == nil && p.stack != stack.Embedded {
			return stack.WhenNeededProfile
		}
	}
	return ""
}

// CheckConsumers refuses a group of fewer consumers than the Plan is made for.
func (p *Plan) CheckConsumers(n int) error {
	if n >= max(1, p.Consumers) {
		return nil
	}
	return p.refuse(p.body, "consumers",
		fmt.Sprintf("the plan is made for %d consumers, and there is %d", p.Consumers, n))
}

// CheckLength refuses a load that ends before the last Fault is over. length is of the measured
// load.
func (p *Plan) CheckLength(length time.Duration) error {
	for i := range p.Method {
		if f := &p.Method[i]; length <= f.end() {
			return p.refuse(f.node, "at", fmt.Sprintf("the load ends after %v, %s of %s after %v: "+
				"nothing would be left to recover under", length, f.Kind, f.Target, f.end()))
		}
	}
	return nil
}

// CheckGiven refuses a Fault of a part that the lab did not start.
func (p *Plan) CheckGiven(name string) error {
	for i := range p.Method {
		if f := &p.Method[i]; f.Target == name {
			return p.refuse(f.node, "target",
				fmt.Sprintf("%s of %s: the lab breaks nothing that it did not start", f.Kind, name))
		}
	}
	for i := range p.Rollbacks {
		if r := &p.Rollbacks[i]; r.Target == name {
			return p.refuse(r.node, "target", fmt.Sprintf(
				"rollback %s of %s: the lab did not start the part", r.Action, name))
		}
	}
	return nil
}

// CheckExternal refuses the Plan for a pipeline that the lab did not start, unless mayBreak names
// the Plan. Nor can the lab start a part of such a pipeline in a rollback.
func (p *Plan) CheckExternal(mayBreak string) error {
	if p.Name != mayBreak {
		return p.refuse(p.body, "name", fmt.Sprintf("the lab breaks nothing that it did not "+
			"start, unless told so: --yes-break %s, and not %q", p.Name, mayBreak))
	}
	if len(p.Rollbacks) > 0 {
		r := &p.Rollbacks[0]
		return p.refuse(r.node, "action", fmt.Sprintf("the lab cannot %s a %s that it did not "+
			"start: undo is a member of each fault", r.Action, r.Target))
	}
	return nil
}
