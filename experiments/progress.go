package experiments

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressEvery is how often a log gets a line of progress; a terminal has k6's own, in place.
const progressEvery = 10 * time.Second

// progressTo is what k6 writes its progress to: the terminal itself, or a filter before a log.
func progressTo(w io.Writer) io.Writer {
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return file
	}
	return &progress{to: w}
}

// progress lets through one of k6's "running (...)" lines now and then, and nothing else.
type progress struct {
	to   io.Writer
	rest []byte
	last time.Time
}

func (p *progress) Write(text []byte) (int, error) {
	p.rest = append(p.rest, text...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(text), nil
		}
		p.rest = rest
		if !bytes.HasPrefix(line, []byte("running (")) || time.Since(p.last) < progressEvery {
			continue
		}
		p.last = time.Now()
		if _, err := fmt.Fprintf(p.to, "load: %s\n", line); err != nil {
			return 0, err
		}
	}
}
