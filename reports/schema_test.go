package reports

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaPath is the JSON Schema of run.json, made from the type Run by TestSchema -update.
const schemaPath = "run.schema.json"

// schema makes the JSON Schema of a Go type; doc has the comments by "Type.Field".
type schema struct {
	definitions map[string]any
	doc         map[string]string
}

func (s schema) of(t reflect.Type, number string) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[Status]():
		return map[string]any{"enum": []Status{Pass, Fail, Unknown}}
	case t == reflect.TypeFor[RowStatus]():
		return map[string]any{"enum": RowStatuses}
	}
	least := map[string]any{"": 0, "-1": -1, "any": -maxNumber}[number]
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number", "minimum": least, "maximum": maxNumber}
	case reflect.Int, reflect.Int64:
		whole := map[string]any{"type": "integer"}
		if number != "any" { // a seed may be any
			whole["minimum"], whole["maximum"] = least, maxNumber
		}
		return whole
	case reflect.Slice:
		return map[string]any{"type": "array", "maxItems": maxItems,
			"items": s.of(t.Elem(), number)}
	case reflect.Map:
		one := map[string]any{"type": "object", "maxProperties": maxItems,
			"additionalProperties": s.of(t.Elem(), number)}
		if t.Key() == reflect.TypeFor[RowStatus]() {
			one["propertyNames"] = s.of(t.Key(), "")
		}
		return one
	}
	if _, made := s.definitions[t.Name()]; !made {
		s.definitions[t.Name()] = nil // on its way
		s.definitions[t.Name()] = s.object(t)
	}
	return map[string]any{"$ref": "#/$defs/" + t.Name()}
}

func (s schema) object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, field := range reflect.VisibleFields(t) {
		if field.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		one := s.of(field.Type, field.Tag.Get("number"))
		owner := t
		if len(field.Index) > 1 { // of an embedded struct
			owner = t.Field(field.Index[0]).Type
		}
		if doc := s.doc[owner.Name()+"."+field.Name]; doc != "" {
			one["description"] = doc
		}
		if properties[name] = one; options != "omitempty" {
			required = append(required, name)
		}
	}
	made := map[string]any{"type": "object", "additionalProperties": false,
		"properties": properties, "required": required}
	if doc := s.doc[t.Name()]; doc != "" {
		made["description"] = doc
	}
	return made
}

// comments reads the comments of the types and fields in some folders.
func comments(t *testing.T, folders ...string) map[string]string {
	t.Helper()
	doc := map[string]string{}
	put := func(name string, group *ast.CommentGroup) {
		if text := strings.Join(strings.Fields(group.Text()), " "); text != "" {
			doc[name] = text
		}
	}
	for _, folder := range folders {
		paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				declared, is := n.(*ast.GenDecl)
				if !is || declared.Tok != token.TYPE {
					return true
				}
				for _, spec := range declared.Specs {
					typed := spec.(*ast.TypeSpec)
					put(typed.Name.Name, declared.Doc)
					members, is := typed.Type.(*ast.StructType)
					if !is {
						continue
					}
					for _, field := range members.Fields.List {
						for _, name := range field.Names {
							put(typed.Name.Name+"."+name.Name, field.Doc)
						}
					}
				}
				return true
			})
		}
	}
	return doc
}

// TestSchema: the committed JSON Schema is the type Run's.
func TestSchema(t *testing.T) {
	t.Parallel()
	s := schema{map[string]any{}, comments(t, ".", "histogram")}
	root := s.object(reflect.TypeFor[Run]())
	root["properties"].(map[string]any)["schemaVersion"] = map[string]any{
		"enum": []int{oldestVersion, SchemaVersion}}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://github.com/cdclab/cdclab/reports/" + schemaPath
	root["title"] = "run.json of cdclab"
	root["$defs"] = s.definitions
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaPath, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(schemaPath)
	if err != nil {
		t.Fatalf("%v (run go test -update to make it)", err)
	}
	if diff := cmp.Diff(string(stored), text.String()); diff != "" {
		t.Errorf("%s (-stored +got):\n%s", schemaPath, diff)
	}
}

// readJSON reads a file as the validator wants it.
func readJSON(t *testing.T, path string) any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parsedJSON(t, string(text))
}

func parsedJSON(t *testing.T, text string) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// compiledSchema holds the committed schema to the meta-schema of 2020-12.
func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(schemaPath, readJSON(t, schemaPath)); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// storedRuns are the paths of every Run committed in this checkout.
func storedRuns(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"testdata/*.json", "testdata/version2/*.json",
		"../baselines/*/*/*/*.json"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %v", pattern, paths, err)
		}
		all = append(all, paths...)
	}
	return all
}

// TestStoredRunsObeyTheSchema: every stored Run is valid, and the Run that Encode writes.
func TestStoredRunsObeyTheSchema(t *testing.T) {
	t.Parallel()
	compiled := compiledSchema(t)
	for _, path := range storedRuns(t) {
		if err := compiled.Validate(readJSON(t, path)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for name, run := range examples(t) {
		if err := compiled.Validate(parsedJSON(t, encoded(t, run))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemaRefuses: the schema knows every mistake of names, kinds and ranges.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	compiled, good := compiledSchema(t), encoded(t, goodRun(t))
	known := []string{"wrong version", "newer version", "text version", "no version",
		"missing member", "missing in a list", "unknown member", "other case", "null", "null list",
		"wrong type", "object wanted", "fraction of a write", "negative count",
		"less than no drops", "no memory at a look", "negative percent", "unbelievable count",
		"negative memory", "bad time", "wrong status", "wrong consistency", "negative consistency",
		"unknown object", "endless list", "a look before all time"}
	for _, m := range mistakes {
		if !slices.Contains(known, m.name) {
			continue
		}
		known = slices.DeleteFunc(known, func(name string) bool { return name == m.name })
		if err := compiled.Validate(parsedJSON(t,
			strings.Replace(good, m.old, m.new, 1))); err == nil {
			t.Errorf("%s: valid", m.name)
		}
	}
	if len(known) > 0 {
		t.Errorf("no mistakes of these names: %q", known)
	}
}

// TestSpecificationsExample: a stored Run has every member of the specification's example report,
// section 2.7.8, by the same name and of the same kind.
func TestSpecificationsExample(t *testing.T) {
	t.Parallel()
	var compare func(path string, want, got any)
	compare = func(path string, want, got any) {
		if reflect.TypeOf(want) != reflect.TypeOf(got) {
			t.Errorf("%s: the example has a %T, a run a %T", path, want, got)
			return
		}
		if members, is := want.(map[string]any); is {
			for name, one := range members {
				compare(path+"."+name, one, got.(map[string]any)[name])
			}
		}
	}
	compare("", readJSON(t, "testdata/specification/example.json"),
		readJSON(t, "testdata/good.json"))
}
