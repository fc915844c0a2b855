package entity

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

//go:embed specs/*.yaml
var builtin embed.FS

// Registry is a set of Specs that fit together, and the Tables that are made of them and of tables
// without one. It is safe for concurrent use.
type Registry struct {
	mu     sync.RWMutex
	state  *state
	tables map[tableID]*Table
}

type tableID struct{ schema, name string }

// state is the Specs of one Load.
type state struct {
	all         []*Spec
	byTable     map[string]*Spec
	byEntity    map[string]*Spec
	collections map[string]bool
}

// Default is the four entities of the lab: customer, address, order, order_item.
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

// Load reads every *.yaml of a folder, one Spec a file. Unknown members, and Specs that contradict
// themselves or each other, are errors; each names the file and the line, and all are reported
// together.
func Load(fsys fs.FS) (*Registry, error) {
	s, err := load(fsys)
	if err != nil {
		return nil, err
	}
	return &Registry{state: s, tables: map[tableID]*Table{}}, nil
}

// Reload reads the folder again: all of it, or, with an error, nothing. A table whose Spec changed,
// came or went has another Table from then on; the others, and what they have seen of their
// columns, stay.
func (r *Registry) Reload(fsys fs.FS) (changed bool, err error) {
	s, err := load(fsys)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if reflect.DeepEqual(s, r.state) {
		return false, nil
	}
	old := r.tables
	r.state, r.tables = s, map[tableID]*Table{}
	for id, table := range old {
		if made := r.make(id); reflect.DeepEqual(made.spec, table.spec) && reflect.DeepEqual(made.fields, table.fields) &&
			maps.Equal(made.taken, table.taken) {
			r.tables[id] = table
		}
	}
	return true, nil
}

// Table is that of a table in PostgreSQL, the same one each time until a Reload changes it. It is
// never nil: a table that no YAML serves has a Spec of its own, without Fields.
func (r *Registry) Table(schema, name string) *Table {
	id := tableID{schema, name}
	r.mu.RLock()
	t := r.tables[id]
	r.mu.RUnlock()
	if t != nil {
		return t
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t = r.tables[id]; t == nil {
		t = r.make(id)
		r.tables[id] = t
	}
	return t
}

func (r *Registry) make(id tableID) *Table {
	spec := r.state.byTable[id.schema+"."+id.name]
	if spec == nil {
		spec = r.state.generic(id.schema, id.name)
	}
	return newTable(spec, r.state)
}

func (r *Registry) now() *state {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state
}

// ByTable finds a Spec by its table ("public.order").
func (r *Registry) ByTable(table string) (*Spec, bool) {
	s, ok := r.now().byTable[table]
	return s, ok
}

// ByEntity finds a Spec by its entity ("order").
func (r *Registry) ByEntity(name string) (*Spec, bool) {
	s, ok := r.now().byEntity[name]
	return s, ok
}

// All returns the Specs from YAML, those that others refer to first: customer, address, order,
// order_item. Where that leaves a choice, the order is that of the files' names.
func (r *Registry) All() []*Spec { return slices.Clone(r.now().all) }

func load(fsys fs.FS) (*state, error) {
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
		d, err := read(fsys, path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		documents = append(documents, d)
	}
	if len(errs) == 0 {
		errs = validate(documents)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("load specs: %w", errors.Join(errs...))
	}
	return assemble(documents), nil
}

// document is a Spec and where it was read.
type document struct {
	path string
	file *ast.File
	spec *Spec
}

func read(fsys fs.FS, path string) (*document, error) {
	text, err := fs.ReadFile(fsys, path)
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
	if err := d.durations(); err != nil {
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
		if !d.has(fmt.Sprintf("$.references[%d].grace", i)) {
			r.Grace = DefaultGrace
		}
	}
	return d, nil
}

// durations checks them itself: the library's error has no line, and 5 would be nanoseconds.
func (d *document) durations() error {
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
				d.path, at.Position.Line, at.Position.Column, member.Key.GetToken().Value, at.Value))
		}
	}
	return errors.Join(errs...)
}

func (d *document) has(path string) bool {
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

// errorf reports a mistake at a place in the file, given as a YAML path ("$.fields[2].kind"); a
// place that is not there is reported where its parent begins.
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

// assemble puts parents first.
func assemble(documents []*document) *state {
	r := &state{byTable: map[string]*Spec{}, byEntity: map[string]*Spec{}, collections: map[string]bool{}}
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
