package ledger

import (
	"bufio"
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

// Append writes one line. The first error is kept and returned by Close.
func (w *Writer) Append(write *Write) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.encode.Encode(write)
		w.writes++
	}
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
func Read(path string, each func(Write) error) (Header, End, error) {
	file, err := os.Open(path)
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

// line is a Write or an End, told apart by the member "end".
type line struct {
	Write
	End
}

func decode(r io.Reader, each func(Write) error) (header Header, end End, err error) {
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
