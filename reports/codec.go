package reports

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports/histogram"
	"github.com/cdclab/cdclab/reports/strictjson"
	"github.com/cdclab/cdclab/reports/wholefile"
)

// maxEncodedBytes bounds what Decode reads and Encode writes: a day's Run has about 20 MB, the
// longest, of a week, about 100 MB.
const maxEncodedBytes = 128 << 20

// maxItems bounds every list and map of a Run: a second each, of the longest series.
const maxItems = MaxSecond + 1

// Load reads the Run at path and judges the Run again, because a stored verdict proves nothing; see
// Decode for the errors.
func Load(path string) (*Run, error) {
	file, err := namedfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load run: %w", err)
	}
	defer file.Close()
	run, err := Decode(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	run.concludeAgain()
	return run, nil
}

// Decode reads the JSON of one Run, of this version or of the one before. Decode is strict: another
// version, an unknown or a missing
// member, broken JSON (with the byte offset), anything after the Run, and every Run refused by
// Validate are errors that name the member.
func Decode(r io.Reader) (*Run, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxEncodedBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read run: %w", err)
	}
	if len(text) > maxEncodedBytes {
		return nil, fmt.Errorf("decode run: more than %d bytes", maxEncodedBytes)
	}
	if err := checkVersion(text); err != nil {
		return nil, fmt.Errorf("decode run: %w", err)
	}
	if err := strictjson.CheckNames(text, reflect.TypeFor[Run](), maxItems); err != nil {
		return nil, fmt.Errorf("decode run: %w", err)
	}
	run := new(Run)
	if err := decodeOne(text, run); err != nil {
		return nil, fmt.Errorf("decode run: %w", err)
	}
	if err := run.Validate(); err != nil {
		return nil, fmt.Errorf("decode run: %w", err)
	}
	return run, nil
}

// decodeOne decodes text, which must hold a single JSON value and nothing else.
func decodeOne(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	err := decoder.Decode(into)
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("JSON is truncated: it ends at byte %d", len(text))
	case errors.As(err, &syntax):
		return fmt.Errorf("bad JSON at byte %d: %w", syntax.Offset, err)
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s: got a %s at byte %d, want %s",
			wrongType.Field, wrongType.Value, wrongType.Offset, wrongType.Type)
	case err != nil:
		return err
	}
	end := decoder.InputOffset()
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows the run at byte %d", end)
	}
	return nil
}

// checkVersion comes before every other check but the syntax's, because another version has other
// members.
func checkVersion(text []byte) error {
	var whole json.RawMessage
	if err := decodeOne(text, &whole); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(whole, &members); err != nil || members == nil {
		return errors.New("want a JSON object")
	}
	version, ok := members["schemaVersion"]
	if !ok {
		return errors.New("schemaVersion: missing")
	}
	for known := oldestVersion; known <= SchemaVersion; known++ {
		if string(version) == fmt.Sprint(known) {
			return nil
		}
	}
	return fmt.Errorf("schemaVersion: got %.40s, want %d or %d", version, oldestVersion,
		SchemaVersion)
}

// Encode writes the Run as indented JSON, an item of a list on a line. Empty lists are written as
// such and never as null. A Run that Decode would refuse is an error, and nothing is written.
func (r *Run) Encode(w io.Writer) error {
	whole := *r
	whole.SchemaVersion = SchemaVersion
	strictjson.FillEmpty(reflect.ValueOf(&whole).Elem())
	if err := whole.Validate(); err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	text, err := json.MarshalIndent(&whole, "", "  ")
	if err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	if text = append(strictjson.JoinLines(text), '\n'); len(text) > maxEncodedBytes {
		return fmt.Errorf("encode run: %d bytes, at most %d can be read", len(text),
			maxEncodedBytes)
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	return nil
}

// Save stores the Run at path in one step, so that a reader never finds half a Run, whatever ends
// the lab or the machine meanwhile. A Run that cannot be encoded leaves the file at path alone; see
// Encode for the errors.
func (r *Run) Save(path string) error {
	var text bytes.Buffer
	if err := r.Encode(&text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := wholefile.Write(path, text.Bytes()); err != nil {
		return fmt.Errorf("save run: %w", err)
	}
	return nil
}

// validateHistograms checks each series of histograms: sound, and with no more samples than the row
// of the stage.
func (r *Run) validateHistograms() error {
	if r.SchemaVersion < histogramsVersion && len(r.Histograms.Series) > 0 {
		return fmt.Errorf("histograms: unknown in version %d", r.SchemaVersion)
	}
	if err := r.Histograms.Check(); err != nil {
		return fmt.Errorf("histograms.%w", err)
	}
	counts := map[histogram.Key]int64{}
	for _, s := range r.Stages {
		counts[histogram.Key{Stage: s.Stage, Entity: s.Entity, Operation: s.Operation}] = s.Count
	}
	for i, s := range r.Histograms.Series {
		key := histogram.Key{Stage: s.Stage, Entity: s.Entity, Operation: s.Operation}
		if n := counts[key]; s.Count > n {
			return fmt.Errorf("histograms.series[%d].count: %d samples, the stage has %d", i,
				s.Count, n)
		}
	}
	return nil
}

// maxNameBytes bounds a FileName, with room for what a caller puts around.
const maxNameBytes = 150

// FileName returns a name as one part of a path, for any name of a script: letters of every
// alphabet, digits, blanks and most signs stay, anything else is %XX. Two names have two FileNames;
// a long name ends in a hash.
func FileName(name string) string {
	var made strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		fits := r != utf8.RuneError && unicode.IsPrint(r) && !strings.ContainsRune(`/\%`, r)
		for _, b := range []byte(name[i : i+n]) {
			if fits && (i > 0 || r != '.') {
				made.WriteByte(b)
			} else {
				fmt.Fprintf(&made, "%%%02X", b)
			}
		}
		i += n
	}
	whole := made.String()
	if len(whole) <= maxNameBytes {
		return whole
	}
	hash := sha256.Sum256([]byte(name))
	short := strings.ToValidUTF8(whole[:min(len(whole), maxNameBytes-17)], "")
	return fmt.Sprintf("%s-%x", short, hash[:8])
}
