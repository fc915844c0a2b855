package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// ErrTruncated says that the file has no End line: the generator did not finish.
var ErrTruncated = errors.New("ledger has no end line: the generator did not finish")

// Writer appends lines to a ledger file; it is safe for concurrent use.
type Writer struct {
	mu     sync.Mutex
	file   *os.File
	buffer *bufio.Writer
	encode *json.Encoder
	writes int64
	err    error
}

// Create makes the file at path, which must not be a folder, and writes its header.
func Create(path string, header Header) (*Writer, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create ledger: %w", err)
	}
	w := &Writer{file: file, buffer: bufio.NewWriterSize(file, 1<<16)}
	w.encode = json.NewEncoder(w.buffer)
	header.Version = Version
	if err := w.encode.Encode(header); err != nil {
		return nil, errors.Join(fmt.Errorf("write ledger header: %w", err), file.Close())
	}
	return w, nil
}

// Append writes one line. The first error is kept and returned from then on, by Close too. Lines are
// buffered, so an error may be that of an earlier one.
func (w *Writer) Append(write *Write) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.encode.Encode(write)
		w.writes++
	}
	return w.err
}

// Mark writes a labelled moment; its Kind is filled in. The first error is kept as Append does.
func (w *Writer) Mark(mark Mark) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	mark.Kind = markKind
	if w.err == nil {
		w.err = w.encode.Encode(mark)
	}
	return w.err
}

// Close writes the End line, with Writes filled in, and closes the file.
func (w *Writer) Close(end End) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	end.End, end.Writes = true, w.writes
	if w.err == nil {
		w.err = w.encode.Encode(end)
	}
	if err := errors.Join(w.err, w.buffer.Flush(), w.file.Close()); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}

// Break closes the file without its End line: what was written is kept, and every reader learns
// that the generator did not finish.
func (w *Writer) Break() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(w.err, w.buffer.Flush(), w.file.Close()); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}

// Read calls each for every Write of the file at path, in the file's order. A line that cannot be
// decoded is an error naming the line; a file that ends early is ErrTruncated, returned after every
// whole Write was delivered.
// Lines of other kinds are passed over.
func Read(path string, each func(Write) error) (Header, End, error) {
	return scan(path, each, func(Mark) error { return nil })
}

// Marks are the labelled moments of the file at path, in its order, with the errors of Read.
func Marks(path string) (marks []Mark, err error) {
	_, _, err = scan(path, func(Write) error { return nil }, func(m Mark) error {
		marks = append(marks, m)
		return nil
	})
	return marks, err
}

func scan(path string, each func(Write) error, mark func(Mark) error) (Header, End, error) {
	file, err := os.Open(path)
	if err != nil {
		return Header{}, End{}, fmt.Errorf("open ledger: %w", err)
	}
	defer file.Close()
	header, end, err := decode(file, each, mark)
	if err != nil {
		return header, end, fmt.Errorf("%s: %w", path, err)
	}
	return header, end, nil
}

// line is a Write or an End, told apart by the member "end".
type line struct {
	Write
	End
}

func decode(r io.Reader, each func(Write) error, mark func(Mark) error) (header Header, end End, err error) {
	lines := bufio.NewReaderSize(r, 1<<16)
	var writes int64
	for number := 1; ; number++ {
		text, err := lines.ReadBytes('\n')
		switch {
		case err == io.EOF && len(text) == 0:
			return header, end, ErrTruncated
		case err == io.EOF:
			return header, end, fmt.Errorf("line %d: cut off: %w", number, ErrTruncated)
		case err != nil:
			return header, end, fmt.Errorf("line %d: %w", number, err)
		}
		if number == 1 {
			if err := decodeHeader(text, &header); err != nil {
				return header, end, fmt.Errorf("line 1: %w", err)
			}
			continue
		}
		if kind := kindOf(text); kind != "" {
			if err := passOver(kind, text, mark); err != nil {
				return header, end, fmt.Errorf("line %d: %w", number, err)
			}
			continue
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return header, end, fmt.Errorf("line %d: %w", number, err)
		}
		if l.End.End {
			if err := checkEnd(l.End, writes, lines); err != nil {
				return header, End{}, fmt.Errorf("line %d: %w", number, err)
			}
			return header, l.End, nil
		}
		writes++
		if err := each(l.Write); err != nil {
			return header, end, fmt.Errorf("line %d: %w", number, err)
		}
	}
}

// kindOf is the member "kind" of a line, "" for a Write or an End, which have none.
func kindOf(text []byte) string {
	if !bytes.Contains(text, []byte(`"kind"`)) {
		return "" // the usual case, for little
	}
	var l struct {
		Kind string `json:"kind"`
	}
	_ = json.Unmarshal(text, &l) // what is no JSON is found where the line is read
	return l.Kind
}

// passOver reads a line that is no Write: a Mark, or a kind that later versions may have.
func passOver(kind string, text []byte, mark func(Mark) error) error {
	if kind != markKind {
		return nil
	}
	var m Mark
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	return mark(m)
}

func decodeHeader(text []byte, header *Header) error {
	if err := json.Unmarshal(text, header); err != nil {
		return err
	}
	if header.Version != Version {
		return fmt.Errorf("ledger version %d, want %d", header.Version, Version)
	}
	return nil
}

func checkEnd(end End, writes int64, rest *bufio.Reader) error {
	if end.Writes != writes {
		return fmt.Errorf("the end says %d writes, the file has %d", end.Writes, writes)
	}
	if _, err := rest.ReadByte(); err != io.EOF {
		return errors.New("there is more after the end line")
	}
	return nil
}
