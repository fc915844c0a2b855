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

	"github.com/cdclab/cdclab/namedfile"
)

// ErrTruncated is returned for a file without an End line: the generator did not finish.
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

// Create makes the file at path, which must not be a folder, and writes the header.
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

// Append writes one line. The first error is kept and returned from then on, by Close too. Lines
// are buffered, so an error may come from an earlier line.
func (w *Writer) Append(write *Write) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.encode.Encode(write)
		w.writes++
	}
	return w.err
}

// Mark writes a labelled moment and fills in the Kind. The first error is kept as Append does.
func (w *Writer) Mark(mark Mark) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	mark.Kind = markKind
	if w.err == nil {
		w.err = w.encode.Encode(mark)
	}
	return w.err
}

// Flush writes the lines so far to the file, so that a killed generator has lost no more than what
// came later. The first error is kept as Append does.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.buffer.Flush()
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

// Break closes the file without an End line: the lines written are kept, and every reader learns
// that the generator did not finish.
func (w *Writer) Break() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := errors.Join(w.err, w.buffer.Flush(), w.file.Close()); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}

// Read calls each for every Write of the file at path, in the file's order. A broken line is an
// error naming the line. A file that ends early is ErrTruncated, returned after every whole Write
// was delivered, and the End then has no more than the number of Writes. Lines of other kinds are
// passed over.
func Read(path string, each func(Write) error) (Header, End, error) {
	file, err := namedfile.Open(path)
	if err != nil {
		return Header{}, End{}, fmt.Errorf("open ledger: %w", err)
	}
	defer file.Close()
	header, end, err := decode(file, each)
	if err != nil {
		return header, end, fmt.Errorf("%s: %w", path, err)
	}
	return header, end, nil
}

// maxLineBytes bounds a line of a ledger: a Write has less than 1 KiB.
const maxLineBytes = 1 << 20

// line is a Write or an End, told apart by the member "end".
type line struct {
	Write
	End
}

func decode(r io.Reader, each func(Write) error) (header Header, end End, err error) {
	lines := bufio.NewReaderSize(r, maxLineBytes)
	for number := 1; ; number++ {
		text, err := lines.ReadSlice('\n')
		switch {
		case err == io.EOF && len(text) == 0:
			return header, end, ErrTruncated
		case err == io.EOF:
			return header, end, fmt.Errorf("line %d: cut off: %w", number, ErrTruncated)
		case errors.Is(err, bufio.ErrBufferFull):
			return header, end, fmt.Errorf("line %d: more than %d bytes", number, maxLineBytes)
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
			if err := passOver(kind, text); err != nil {
				return header, end, fmt.Errorf("line %d: %w", number, err)
			}
			continue
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return header, end, fmt.Errorf("line %d: %w", number, err)
		}
		if l.End.End {
			if err := checkEnd(l.End, end.Writes, lines); err != nil {
				return header, End{}, fmt.Errorf("line %d: %w", number, err)
			}
			return header, l.End, nil
		}
		end.Writes++
		if err := each(l.Write); err != nil {
			return header, end, fmt.Errorf("line %d: %w", number, err)
		}
	}
}

// kindOf returns the member "kind" of a line, "" for a Write or an End, which have none.
func kindOf(text []byte) string {
	if !bytes.Contains(text, []byte(`"kind"`)) {
		return "" // the usual case, for little
	}
	var l struct {
		Kind string `json:"kind"`
	}
	_ = json.Unmarshal(text, &l) // broken JSON is an error where the line is read
	return l.Kind
}

// passOver reads a line that is no Write: a Mark, or a kind of a later version.
func passOver(kind string, text []byte) error {
	if kind != markKind {
		return nil
	}
	return json.Unmarshal(text, new(Mark))
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
