// Package recording writes records of Kafka to files and takes recorded records through the
// consumer's code without a Kafka. A recording is not a backup: nothing is restored. Start reading
// at Capture, then Replay.
package recording

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordingLineMax bounds a line: a record of 64 MiB in base64, and its headers.
const recordingLineMax = 96 << 20

// recorded is a record of a recording, a JSON object a line. Bytes are base64, or null.
type recorded struct {
	Topic     string           `json:"topic"`
	Partition int32            `json:"partition"`
	Offset    int64            `json:"offset"`
	Timestamp int64            `json:"timestamp"` // milliseconds since 1970
	Key       []byte           `json:"key"`
	Value     []byte           `json:"value"`
	Headers   []recordedHeader `json:"headers"`
}

type recordedHeader struct {
	K string `json:"k"`
	V []byte `json:"v"`
}

// Read visits the records of a recording by Write, gzipped or not; Read skips unknown members. A
// null key, value or header stays nil, an empty value does not become nil. An error names the line;
// an error of visit is wrapped.
func Read(r io.Reader, visit func(*kgo.Record) error) error {
	buffered := bufio.NewReader(r)
	if magic, _ := buffered.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		unpacked, err := gzip.NewReader(buffered)
		if err != nil {
			return fmt.Errorf("unpack the recording: %w", err)
		}
		buffered = bufio.NewReader(unpacked)
	}
	lines := bufio.NewScanner(buffered)
	lines.Buffer(nil, recordingLineMax)
	number := 0
	for lines.Scan() {
		number++
		if len(lines.Bytes()) == 0 {
			continue
		}
		record, err := readRecorded(lines.Bytes())
		if err != nil {
			// A file cut off in the middle of a line has the reader's error first.
			return fmt.Errorf("line %d: %w", number, cmp.Or(lines.Err(), err))
		}
		if err := visit(record); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", number+1, err)
	}
	return nil
}

func readRecorded(line []byte) (*kgo.Record, error) {
	var one recorded
	if err := json.Unmarshal(line, &one); err != nil {
		return nil, err
	}
	switch {
	case one.Topic == "":
		return nil, errors.New("no topic")
	case one.Partition < 0 || one.Offset < 0:
		return nil, fmt.Errorf("partition %d, offset %d: must not be below 0", one.Partition,
			one.Offset)
	}
	record := &kgo.Record{Topic: one.Topic, Partition: one.Partition, Offset: one.Offset,
		Timestamp: time.UnixMilli(one.Timestamp).UTC(), Key: one.Key, Value: one.Value}
	for _, h := range one.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.K, Value: h.V})
	}
	return record, nil
}

// Write appends a record to a recording.
func Write(w io.Writer, r *kgo.Record) error {
	one := recorded{r.Topic, r.Partition, r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value,
		make([]recordedHeader, 0, len(r.Headers))}
	for _, h := range r.Headers {
		one.Headers = append(one.Headers, recordedHeader{h.Key, h.Value})
	}
	line, err := json.Marshal(one)
	if err == nil {
		_, err = w.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write a record: %w", err)
	}
	return nil
}
