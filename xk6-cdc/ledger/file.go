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

// Read calls each for every Write of the file at path, in the file's order. A line that cannot be
// decoded is an error naming the line; a missing End line is ErrTruncated, returned after every
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
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 1<<16), 1<<20)
	var number, writes int64
	for scanner.Scan() {
		number++
		if number == 1 {
			if err := json.Unmarshal(scanner.Bytes(), &header); err != nil {
				return header, end, fmt.Errorf("line 1: %w", err)
			}
			if header.Version != Version {
				return header, end, fmt.Errorf("line 1: ledger version %d, want %d", header.Version, Version)
			}
			continue
		}
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			if writes == 0 || !errors.As(err, new(*json.SyntaxError)) {
				return header, end, fmt.Errorf("line %d: %w", number, err)
			}
			return header, end, fmt.Errorf("line %d: %w: %w", number, err, ErrTruncated)
		}
		if l.End.End {
			if l.End.Writes != writes {
				return header, end, fmt.Errorf("line %d: end says %d writes, file has %d", number, l.End.Writes, writes)
			}
			return header, l.End, nil
		}
		writes++
		if err := each(l.Write); err != nil {
			return header, end, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return header, end, fmt.Errorf("line %d: %w", number+1, err)
	}
	return header, end, ErrTruncated
}
