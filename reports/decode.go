package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
)

// maxEncodedBytes bounds what Decode reads: a day's Run has about 16 MB.
const maxEncodedBytes = 128 << 20

// Load reads the Run at path; see Decode for what is an error.
func Load(path string) (*Run, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load run: %w", err)
	}
	defer file.Close()
	run, err := Decode(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return run, nil
}

// Decode reads the JSON of one Run. It is strict: another version, an unknown or a missing member,
// broken JSON (with the byte offset), anything after the Run, and whatever Validate refuses are
// errors that name the member.
func Decode(r io.Reader) (*Run, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxEncodedBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read run: %w", err)
	}
	if len(text) > maxEncodedBytes {
		return nil, fmt.Errorf("decode run: more than %d bytes", maxEncodedBytes)
	}
	var tree any
	if err := decodeOne(text, &tree); err != nil {
		return nil, fmt.Errorf("decode run: %w", err)
	}
	if err := checkVersion(tree); err != nil {
		return nil, fmt.Errorf("decode run: %w", err)
	}
	if err := checkMembers("", reflect.TypeFor[Run](), tree); err != nil {
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

// decodeOne decodes text, which must hold one JSON value and nothing else.
func decodeOne(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
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

// checkVersion comes before every other check, because another version has other members.
func checkVersion(tree any) error {
	object, ok := tree.(map[string]any)
	if !ok {
		return errors.New("want a JSON object")
	}
	version, ok := object["schemaVersion"]
	if !ok {
		return errors.New("schemaVersion: missing")
	}
	if number, ok := version.(json.Number); !ok || number.String() != fmt.Sprint(SchemaVersion) {
		got, _ := json.Marshal(version) // what was just decoded can be encoded
		return fmt.Errorf("schemaVersion: got %s, want %d", got, SchemaVersion)
	}
	return nil
}

// checkMembers compares the names in a decoded JSON value with those of the Go type. encoding/json
// alone accepts a missing member, null for anything, and names in another case.
func checkMembers(path string, t reflect.Type, value any) error {
	if value == nil {
		return fmt.Errorf("%s: null", path)
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return nil
	case t.Kind() == reflect.Slice:
		items, _ := value.([]any)
		for i, item := range items {
			if err := checkMembers(fmt.Sprintf("%s[%d]", path, i), t.Elem(), item); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Map:
		items, _ := value.(map[string]any)
		for _, name := range sortedKeys(items) {
			if err := checkMembers(join(path, name), t.Elem(), items[name]); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: want a JSON object", path)
		}
		return checkObject(path, t, object)
	}
	return nil
}

func checkObject(path string, t reflect.Type, object map[string]any) error {
	known := map[string]bool{}
	for _, field := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous {
			continue
		}
		known[name] = true
		value, ok := object[name]
		if !ok && options == "omitempty" {
			continue
		}
		if !ok {
			return fmt.Errorf("%s: missing", join(path, name))
		}
		if err := checkMembers(join(path, name), field.Type, value); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(object) {
		if !known[name] {
			return fmt.Errorf("%s: unknown member", join(path, name))
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Encode writes the Run as indented JSON. Empty lists are written as such and never as null. A Run
// that Decode would refuse is an error, and nothing is written.
func (r *Run) Encode(w io.Writer) error {
	whole := *r
	whole.SchemaVersion = SchemaVersion
	fillEmpty(reflect.ValueOf(&whole).Elem())
	if err := whole.Validate(); err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	text, err := json.MarshalIndent(&whole, "", "  ")
	if err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	if _, err := w.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	return nil
}

// fillEmpty replaces nil slices and maps in a struct, and in the structs in it, by empty ones.
func fillEmpty(v reflect.Value) {
	for i := range v.NumField() {
		field := v.Field(i)
		switch {
		case field.Type() == reflect.TypeFor[time.Time]():
		case field.Kind() == reflect.Struct:
			fillEmpty(field)
		case field.Kind() == reflect.Slice && field.IsNil():
			field.Set(reflect.MakeSlice(field.Type(), 0, 0))
		case field.Kind() == reflect.Map && field.IsNil():
			field.Set(reflect.MakeMap(field.Type()))
		}
	}
}
