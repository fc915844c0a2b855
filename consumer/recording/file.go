package recording

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/namedfile"
)

// CaptureFile is Capture into a new file. The file is there only with all of the capture inside,
// gzipped where path ends in .gz.
func CaptureFile(ctx context.Context, client *kgo.Client, o CaptureOptions, path string) (
	done Captured, err error) {
	if _, err := os.Lstat(path); err == nil {
		return done, fmt.Errorf("%s: is there already", path)
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return done, fmt.Errorf("make a recording: %w", err)
	}
	defer os.Remove(file.Name())
	out := bufio.NewWriterSize(file, 1<<20)
	var to io.Writer = out
	end := out.Flush
	if strings.HasSuffix(path, ".gz") {
		packed := gzip.NewWriter(out)
		to = packed
		end = func() error { return errors.Join(packed.Close(), out.Flush()) }
	}
	done, err = Capture(ctx, client, o, to)
	if err = errors.Join(err, end(), file.Close()); err != nil {
		return done, err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return done, fmt.Errorf("make a recording: %w", err)
	}
	return done, nil
}

// mostRecordedBytes bounds what ReadFile keeps in memory, whatever a packed file unpacks to.
const mostRecordedBytes = 2 << 30

// ReadFile returns the records of a recording with at most 2 GiB of keys and values; see Read for
// the errors.
func ReadFile(path string) ([]*kgo.Record, error) {
	file, err := namedfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the recording: %w", err)
	}
	defer file.Close()
	records, err := readAll(file, mostRecordedBytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return records, nil
}

// readAll returns the records; more than most bytes of keys and values are an error.
func readAll(from io.Reader, most int) (records []*kgo.Record, err error) {
	size := 0
	err = Read(from, func(r *kgo.Record) error {
		if size += len(r.Key) + len(r.Value); size > most {
			return fmt.Errorf("the keys and values until here have more than %d bytes", most)
		}
		records = append(records, r)
		return nil
	})
	return records, err
}
