// Package gameday holds a game day before the people at the terminal: plans in sequence, each told,
// voted on and run. People note observations, and may end the day at once. The package runs no plan
// itself. Start reading at Day, then at Host.
package gameday

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/stack"
)

// Day is the file of a game day.
type Day struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	// Stack is the kind of stack; a silent file means stack.Embedded.
	Stack string `yaml:"stack"`
	// Scenario makes the load; a silent file means smoke.
	Scenario string `yaml:"scenario"`
	// GuardRails are read out before the first plan.
	GuardRails []string `yaml:"guard-rails"`
	Plans      []Step   `yaml:"plans"`
}

// Step is a plan of a Day.
type Step struct {
	// Plan is a path from where the command runs, or the name of a plan of the lab.
	Plan string `yaml:"plan"`
	// Narration tells what is going to happen, BlastRadius who and what may be hurt.
	Narration   string `yaml:"narration"`
	BlastRadius string `yaml:"blast-radius"`
	// Hypothesis is what the people vote on.
	Hypothesis string `yaml:"hypothesis"`
	// Vote is nil where the people at the terminal are asked.
	Vote *Vote `yaml:"vote"`
	// Pause is the longest wait before the plan; without a Pause, people begin by Enter.
	Pause time.Duration `yaml:"pause"`

	// PlanName is the name in the plan's file.
	PlanName string `yaml:"-"`
}

// Vote counts who expects that a hypothesis holds, and who does not.
type Vote struct {
	Yes int `yaml:"yes"`
	No  int `yaml:"no"`
}

// Load reads the Day at path, and every plan of the Day, so that no mistake shows in the middle of
// the day.
func Load(path string) (*Day, error) {
	text, err := namedfile.Read(path, namedfile.Small)
	if err != nil {
		return nil, fmt.Errorf("read the game day: %w", err)
	}
	d, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("read the game day %s: %w", path, err)
	}
	return d, nil
}

func parse(text []byte) (*Day, error) {
	d := &Day{}
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(d)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	d.Stack, d.Scenario = cmp.Or(d.Stack, stack.Embedded), cmp.Or(d.Scenario, "smoke")
	switch {
	case d.Stack != stack.External && !slices.Contains(stack.Started, d.Stack):
		return nil, fmt.Errorf("stack: %q is none of %s, %s", d.Stack,
			strings.Join(stack.Started, ", "), stack.External)
	case d.Name == "":
		return nil, errors.New("want name")
	case len(d.Plans) == 0:
		return nil, errors.New("want at least one of plans")
	}
	for i, s := range d.Plans {
		for _, member := range []struct{ name, text string }{{"plan", s.Plan},
			{"narration", s.Narration}, {"blast-radius", s.BlastRadius},
			{"hypothesis", s.Hypothesis}} {
			if strings.TrimSpace(member.text) == "" {
				return nil, fmt.Errorf("plans[%d]: want %s", i, member.name)
			}
		}
		if s.Pause < 0 || s.Vote != nil && (s.Vote.Yes < 0 || s.Vote.No < 0) {
			return nil, fmt.Errorf("plans[%d]: a pause or a vote below 0", i)
		}
		plan, err := chaos.Load(s.Plan)
		if err != nil {
			return nil, fmt.Errorf("plans[%d]: %w", i, err)
		}
		d.Plans[i].PlanName = plan.Name
		if impossible := plan.On(d.Stack); len(impossible) > 0 {
			return nil, fmt.Errorf("plans[%d]: %s", i, impossible[0])
		}
		if d.Stack == stack.External {
			if err := plan.CheckExternal(plan.Name); err != nil {
				return nil, fmt.Errorf("plans[%d]: %w", i, err)
			}
		}
	}
	return d, nil
}
