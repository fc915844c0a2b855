// Package matrix is the table of every fault on every stack with several seeds, a run for each
// cell. The package chooses the cells, has a runner run the missing cells within a time, and shows
// the table. The package brings no stack up and judges no run. Start reading at Matrix, then at
// Walk.
package matrix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// Cell is a run of a fault on a target of a stack, with a seed.
type Cell struct {
	Stack  string `json:"stack"`
	Family string `json:"family"`
	Fault  string `json:"fault"`
	Target string `json:"target"`
	Seed   uint64 `json:"seed"`
	// Impossible is why no such stack can have the fault; "" for a cell that can be run.
	Impossible string `json:"impossible,omitempty"`
	// Result is nil until the cell was run.
	Result *Result `json:"result,omitempty"`
	// Failed is why the last try left no Result.
	Failed string `json:"failed,omitempty"`
}

// name is unique in a Matrix, and is a name of a folder.
func (c *Cell) name() string {
	return fmt.Sprintf("%s-%s-%s-%d", c.Stack, c.Fault, c.Target, c.Seed)
}

// title names the Cell.
func (c *Cell) title() string {
	return fmt.Sprintf("%s, seed %d", title(c.Fault, c.Target, c.Stack), c.Seed)
}

// Matrix is the table, as stored in a file.
type Matrix struct {
	// Rate is the load of every cell, in operations a second.
	Rate  int     `json:"rate"`
	Cells []*Cell `json:"cells"`
}

// Choice chooses cells.
type Choice struct {
	Stacks []string
	// FirstSeed is the first of Seeds seeds.
	FirstSeed uint64
	Seeds     int
	// Kinds is a pattern of path.Match for the names of faults; "" is every fault.
	Kinds string
}

// Choose lists the cells, for each seed every fault on the first possible target, then every fault
// on the second target and so on, so that a Matrix without the time for all has tried every kind.
func Choose(choice Choice) ([]*Cell, error) {
	if len(choice.Stacks) == 0 {
		return nil, errors.New("no stack: want at least one of " +
			strings.Join(stack.Started, ", "))
	}
	var all []*Cell
	for n := range choice.Seeds {
		var rounds [][]*Cell
		for _, name := range choice.Stacks {
			for _, kind := range faults.Table() {
				if choice.Kinds != "" {
					match, err := path.Match(choice.Kinds, kind.Name)
					if err != nil {
						return nil, fmt.Errorf("kinds %q: %w", choice.Kinds, err)
					}
					if !match {
						continue
					}
				}
				possible := 0
				for _, target := range kind.TargetsOf(1) {
					c := &Cell{Stack: name, Family: kind.Family, Fault: kind.Name, Target: target,
						Seed: choice.FirstSeed + uint64(n)}
					if err := kind.ImpossibleOn(name, target); err != nil {
						c.Impossible = err.Error()
					}
					if possible == len(rounds) {
						rounds = append(rounds, nil)
					}
					rounds[possible] = append(rounds[possible], c)
					if c.Impossible == "" {
						possible++
					}
				}
			}
		}
		all = append(all, slices.Concat(rounds...)...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("kinds %q: the table of faults has no such fault", choice.Kinds)
	}
	return all, nil
}

// Add adds the cells that the Matrix lacks, and returns the cells of the Matrix in their places.
func (m *Matrix) Add(chosen []*Cell) []*Cell {
	there := map[string]*Cell{}
	for _, c := range m.Cells {
		there[c.name()] = c
	}
	wanted := make([]*Cell, len(chosen))
	for i, c := range chosen {
		stored := there[c.name()]
		switch {
		case stored == nil:
			stored = c
			m.Cells = append(m.Cells, c)
		case stored.Result == nil:
			// The machine may have now what a fault needs, or no longer.
			stored.Impossible = c.Impossible
		}
		wanted[i] = stored
	}
	return wanted
}

// largest bounds the file of a Matrix: a year of weekly seeds has less.
const largest = 64 << 20

// Load reads the Matrix stored at path; a Matrix without cells where no file is.
func Load(path string, rate int) (*Matrix, error) {
	text, err := namedfile.Read(path, largest)
	if errors.Is(err, fs.ErrNotExist) {
		return &Matrix{Rate: rate}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load the matrix: %w", err)
	}
	m, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("load the matrix: %s: %w", path, err)
	}
	if m.Rate != rate {
		return nil, fmt.Errorf("load the matrix: %s has a load of %d/s, and not of %d/s: give "+
			"another --out", path, m.Rate, rate)
	}
	return m, nil
}

// decode refuses what the lab does not write.
func decode(text []byte) (*Matrix, error) {
	var m Matrix
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("byte %d: %w", d.InputOffset(), err)
	}
	seen := map[string]bool{}
	for i, c := range m.Cells {
		if c == nil || !known(c) {
			return nil, fmt.Errorf("cells[%d]: the table of faults has no such cell", i)
		}
		if seen[c.name()] {
			return nil, fmt.Errorf("cells[%d]: %s comes twice", i, c.name())
		}
		seen[c.name()] = true
		if r := c.Result; r != nil && !slices.Contains(
			[]reports.Status{reports.Pass, reports.Fail, reports.Unknown}, r.Status) {
			return nil, fmt.Errorf("cells[%d].result.status: %.20q is no verdict", i, r.Status)
		}
	}
	return &m, nil
}

// known is true for a Cell of the table of faults.
func known(c *Cell) bool {
	kind, ok := faults.Find(c.Fault)
	return ok && kind.Family == c.Family && slices.Contains(kind.TargetsOf(1), c.Target) &&
		slices.Contains(stack.Started, c.Stack)
}

// encode is the Matrix as JSON, with a line for each member.
func (m *Matrix) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the matrix: %w", err)
	}
	return append(text, '\n'), nil
}
