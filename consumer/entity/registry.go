package entity

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cdclab/cdclab/namedfile"
)

//go:embed specs/*.yaml
var builtin embed.FS

// Registry is a set of Specs that fit together. A Registry is safe for concurrent use.
type Registry struct{ state atomic.Pointer[state] }

// state is the Specs of a single Load.
type state struct {
	all         []*Spec
	byTable     map[string]*Spec
	byEntity    map[string]*Spec
	collections map[string]bool
}

// Default returns the four entities of the lab: customer, address, order, order_item.
func Default() *Registry {
	specs, err := fs.Sub(builtin, "specs")
	if err == nil {
		var r *Registry
		if r, err = Load(specs); err == nil {
			return r
		}
	}
	panic(fmt.Sprintf("the built-in specs: %v", err))
}

// Open loads the specs of a folder, or the built-in ones where the folder is "".
func Open(folder string) (*Registry, error) {
	if folder == "" {
		return Default(), nil
	}
	return Load(os.DirFS(folder))
}

// Load reads every *.yaml of a folder, one Spec a file. Unknown members, and Specs that contradict
// themselves or each other, are errors. Each error names the file and the line, and all are
// reported together.
func Load(fsys fs.FS) (*Registry, error) {
	s, err := loadFolder(fsys)
	if err != nil {
		return nil, err
	}
	r := new(Registry)
	r.state.Store(s)
	return r, nil
}

// Replace takes the Specs of another Registry, all at once; false if both hold the same Specs. A
// caller with Tables of a Registry reloads the Tables instead.
func (r *Registry) Replace(by *Registry) (changed bool) {
	next := by.state.Load()
	if reflect.DeepEqual(next, r.state.Load()) {
		return false
	}
	r.state.Store(next)
	return true
}

// Serving returns the Spec of a table in PostgreSQL. The Spec is never nil: a table without a YAML
// has a Spec of its own, without Fields.
func (r *Registry) Serving(schema, table string) *Spec {
	s := r.state.Load()
	if spec := s.byTable[schema+"."+table]; spec != nil {
		return spec
	}
	return s.genericSpec(schema, table)
}

// ByTable finds a Spec by its table ("public.order").
func (r *Registry) ByTable(table string) (*Spec, bool) {
	s, ok := r.state.Load().byTable[table]
	return s, ok
}

// ByEntity finds a Spec by its entity ("order").
func (r *Registry) ByEntity(name string) (*Spec, bool) {
	s, ok := r.state.Load().byEntity[name]
	return s, ok
}

// All returns the Specs from YAML, parents first: customer, address, order, order_item. Specs
// without such an order follow the order of the files' names.
func (r *Registry) All() []*Spec { return slices.Clone(r.state.Load().all) }

func loadFolder(fsys fs.FS) (*state, error) {
	paths, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("look for specs: %w", err)
	}
	if len(paths) == 0 {
		return nil, errors.New("load specs: there is no *.yaml in the folder")
	}
	var documents []*document
	var errs []error
	for _, path := range paths {
		d, err := readDocument(fsys, path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		documents = append(documents, d)
	}
	if len(errs) == 0 {
		errs = validateAll(documents)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("load specs: %w", errors.Join(errs...))
	}
	return assembleState(documents), nil
}

// document is a Spec and the file of the Spec.
type document struct {
	path string
	file *ast.File
	spec *Spec
}

func readDocument(fsys fs.FS, path string) (*document, error) {
	text, err := namedfile.ReadIn(fsys, path, namedfile.Small)
	if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	d := &document{path: path, spec: new(Spec)}
	if d.file, err = parser.ParseBytes(text, 0); err != nil {
		return nil, d.yamlError(err)
	}
	if len(d.file.Docs) != 1 || d.file.Docs[0].Body == nil {
		return nil, fmt.Errorf("%s: holds %d specs, want one", path, len(d.file.Docs))
	}
	if err := d.checkDurations(); err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalWithOptions(text, d.spec, yaml.Strict()); err != nil {
		return nil, d.yamlError(err)
	}
	for i := range d.spec.References {
		r := &d.spec.References[i]
		if r.Missing == "" {
			r.Missing = Store
		}
		if !d.pathExists(fmt.Sprintf("$.references[%d].grace", i)) {
			r.Grace = DefaultGrace
		}
	}
	return d, nil
}

// checkDurations checks the durations, because the library's error has no line, and 5 would be
// nanoseconds.
func (d *document) checkDurations() error {
	members := []string{"skew", "late", "grace", "not_after", "not_before"}
	var errs []error
	for _, node := range ast.Filter(ast.MappingValueType, d.file.Docs[0].Body) {
		member, is := node.(*ast.MappingValueNode)
		if !is || !slices.Contains(members, member.Key.GetToken().Value) ||
			strings.HasPrefix(member.GetPath(), "$.severity") {
			continue
		}
		at := member.Value.GetToken()
		if _, err := time.ParseDuration(at.Value); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d:%d: %s %q is no duration such as 5s or 1h30m",
				d.path, at.Position.Line, at.Position.Column, member.Key.GetToken().Value,
				at.Value))
		}
	}
	return errors.Join(errs...)
}

func (d *document) pathExists(path string) bool {
	p, err := yaml.PathString(path)
	if err != nil {
		return false
	}
	node, err := p.FilterFile(d.file)
	return err == nil && node != nil
}

// yamlError brings file and line to the front, as for every other error.
func (d *document) yamlError(err error) error {
	var positioned yaml.Error
	if errors.As(err, &positioned) && positioned.GetToken() != nil {
		at := positioned.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", d.path, at.Line, at.Column, positioned.GetMessage())
	}
	return fmt.Errorf("%s: %w", d.path, err)
}

// errorf reports a mistake at a place in the file, given as a YAML path ("$.fields[2].kind"). A
// missing place is reported at the line of its parent.
func (d *document) errorf(path, format string, args ...any) error {
	line := 1
	for path != "$" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(d.file); err == nil && node != nil {
				line = node.GetToken().Position.Line
				break
			}
		}
		path = path[:strings.LastIndexAny(path, ".[")]
	}
	return fmt.Errorf("%s:%d: %s", d.path, line, fmt.Sprintf(format, args...))
}

// assembleState puts parents first.
func assembleState(documents []*document) *state {
	r := &state{byTable: map[string]*Spec{}, byEntity: map[string]*Spec{},
		collections: map[string]bool{}}
	for _, d := range documents {
		r.byTable[d.spec.Table], r.byEntity[d.spec.Entity] = d.spec, d.spec
		r.collections[d.spec.Collection] = true
		for i := range d.spec.Fields {
			if f := &d.spec.Fields[i]; f.Column == d.spec.Key {
				f.Name = KeyMember
			}
		}
	}
	seen := map[*Spec]bool{}
	var add func(s *Spec)
	add = func(s *Spec) {
		if seen[s] {
			return
		}
		seen[s] = true
		if s.Embed != nil {
			add(r.byEntity[s.Embed.Into])
		}
		for _, ref := range s.References {
			add(r.byEntity[ref.Entity])
		}
		r.all = append(r.all, s)
	}
	for _, d := range documents {
		add(d.spec)
	}
	return r
}
