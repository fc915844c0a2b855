package matrix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/chaos/faults"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/wholefile"
)

// Runner runs a plan, stored at path, on a stack of the kind with the seed, and leaves the run in
// folder. A run that was interrupted is an error.
type Runner func(ctx context.Context, kind string, seed uint64, path, folder string) (*reports.Run,
	error)

// Walk runs the missing cells of a Matrix.
type Walk struct {
	Matrix *Matrix
	// Folder holds the Matrix, and a folder for each Cell.
	Folder string
	// Limit bounds the whole Walk: no Cell is begun that would probably end later. 0 is no bound.
	Limit time.Duration
	Run   Runner
	// Say receives a line for each Cell. Now is the clock.
	Say func(string)
	Now func() time.Time
}

// The names of the table's files in the folder.
const (
	FileName = "matrix.json"
	PageName = "matrix.html"
)

// firstGuess is how long a Cell takes while no Cell was run.
const firstGuess = 45 * time.Second

// mostFailures in a row end a Walk: the stack is broken, and each Cell would wait in vain.
const mostFailures = 3

// Do runs each of the cells that can be run and has no Result, and stores the Matrix after each.
// Do ends early when ctx ends, or when the Limit leaves no time; a later Do goes on from there.
func (w *Walk) Do(ctx context.Context, cells []*Cell) error {
	began, longest, failures := w.Now(), firstGuess, 0
	if err := w.save(); err != nil {
		return err
	}
	for i, c := range cells {
		if c.Result != nil || c.Impossible != "" {
			continue
		}
		from := w.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case w.Limit > 0 && from.Sub(began)+longest > w.Limit:
			w.Say(fmt.Sprintf("matrix: the time of %v is over", w.Limit))
			return nil
		}
		err := w.one(ctx, c)
		if ctx.Err() != nil && c.Result == nil {
			return nil
		}
		took := w.Now().Sub(from)
		if longest == firstGuess || took > longest {
			longest = took
		}
		if failures++; c.Result != nil {
			failures, c.Failed, c.Result.TookSeconds = 0, "", took.Seconds()
		}
		if err != nil {
			c.Failed = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		w.Say(fmt.Sprintf("%d/%d %s", i+1, len(cells), c.line()))
		if err := w.save(); err != nil {
			return err
		}
		if failures == mostFailures {
			return fmt.Errorf("matrix: %d cells in a row could not be run, the last: %s", failures,
				c.Failed)
		}
	}
	return nil
}

// one runs a Cell in a new folder: the rest of a run that was killed is removed.
func (w *Walk) one(ctx context.Context, c *Cell) error {
	kind, _ := faults.Find(c.Fault)
	plan := chaos.DrawSingle(chaos.Draft{Seed: c.Seed, Stack: c.Stack, Consumers: 1,
		Rate: w.Matrix.Rate}, kind, c.Target)
	text, err := plan.Text()
	if err != nil {
		return err
	}
	folder := filepath.Join(w.Folder, c.name())
	path := filepath.Join(folder, "plan.yaml")
	err = errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o755))
	if err == nil {
		err = wholefile.Write(path, text)
	}
	if err != nil {
		return fmt.Errorf("prepare the folder of a cell: %w", err)
	}
	run, err := w.Run(ctx, c.Stack, c.Seed, path, folder)
	if err != nil {
		return err
	}
	if c.Result = resultOf(kind, run); c.Result.Status != reports.Pass {
		return nil
	}
	// The raw ledger of a sound run tells no more than the run: 20 seeds would fill a disk.
	err = os.Remove(filepath.Join(folder, "ledger.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the ledger of a cell: %w", err)
	}
	return nil
}

// save stores the Matrix and the page.
func (w *Walk) save() error {
	text, err := w.Matrix.encode()
	if err != nil {
		return err
	}
	page, err := w.Matrix.page()
	if err != nil {
		return err
	}
	return errors.Join(wholefile.Write(filepath.Join(w.Folder, FileName), text),
		wholefile.Write(filepath.Join(w.Folder, PageName), page))
}
