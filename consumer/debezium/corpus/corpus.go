// Package corpus holds and loads records of a real Debezium, with the SQL that made them and the
// tables in the end. Only tests import the package. Start reading at Cases and Case;
// testdata/README.md says how the records were captured.
package corpus

import (
	"bufio"
	"compress/gzip"
	"embed"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"
)

//go:embed testdata
var testdata embed.FS

// The project's folders, named by the PostgreSQL that Debezium read.
const (
	Postgres15 = "postgres15"
	Postgres17 = "postgres17"
)

// Case is an entry of a cases.json: the steps at the source, the records sent by Debezium, and the
// rows in the end.
type Case struct {
	// Folder is the last element of the folder's path: Postgres15, or the name of a larger corpus.
	Folder string `json:"-"`
	// Config names the connector's configuration (schemas-on, truncate-on), Case the story.
	Config, Case, Doc string
	// File is the path of the records in the folder.
	File  string
	Steps []Step
	// Count is the number of records, Ops the number of each operation.
	Count int `json:"records"`
	Ops   map[string]int
	// Expected are the tables in the end, by schema.name. Replay begins with "equal" where the
	// records alone lead to Expected.
	Expected map[string]Table
	Replay   string

	folder fs.FS
}

// Step is a statement or an event of the connector.
type Step struct {
	Session, SQL, Connector, Error string
	Overrides                      map[string]string
	Stdin                          []string
	// Blocks is true if the statement waits for a lock until the session's next statement.
	Blocks bool
}

// Table is a table as PostgreSQL printed it; a nil is NULL.
type Table struct {
	Columns []struct {
		Name, Type string
		// Generated is true if PostgreSQL computes the column.
		Generated bool
	}
	Key  []string `json:"primary_key"`
	Rows []map[string]*string
}

// Record is a record of a case; the order is right within a partition.
type Record struct {
	Topic      string
	Partition  int32
	Key, Value []byte
	Headers    []Header
}

// Header is a header of a record.
type Header struct {
	Key   string `json:"k"`
	Value []byte `json:"v"`
}

// Name is the case's name within a folder: schemas-on/insert.
func (c *Case) Name() string { return c.Config + "/" + c.Case }

// String is the case's name among all: postgres15/schemas-on/insert.
func (c *Case) String() string { return c.Folder + "/" + c.Name() }

// Cases returns the project's cases and the cases of the folder in CDCLAB_CORPUS: a larger corpus
// of the same form.
func Cases(t testing.TB) []*Case {
	t.Helper()
	all := Own(t)
	if whole := os.Getenv("CDCLAB_CORPUS"); whole != "" {
		all = append(all, loadFolder(t, os.DirFS(whole), filepath.Base(whole))...)
	}
	return all
}

// Own returns the project's cases alone.
func Own(t testing.TB) []*Case {
	t.Helper()
	var all []*Case
	for _, name := range []string{Postgres15, Postgres17} {
		folder, err := fs.Sub(testdata, path.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, loadFolder(t, folder, name)...)
	}
	return all
}

// Find returns the project's case of a name, such as schemas-on/insert.
func Find(t testing.TB, name string) *Case {
	t.Helper()
	for _, c := range Own(t) {
		if c.Name() == name {
			return c
		}
	}
	t.Fatalf("there is no case %s", name)
	return nil
}

func loadFolder(t testing.TB, folder fs.FS, name string) []*Case {
	t.Helper()
	text, err := fs.ReadFile(folder, "cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var read struct{ Cases []*Case }
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(read.Cases) == 0 {
		t.Fatalf("%s has no cases", name)
	}
	for _, c := range read.Cases {
		c.Folder, c.folder = name, folder
	}
	return read.Cases
}

// Open opens the case's file of records, gzipped JSON lines. The test closes the file in the end.
func (c *Case) Open(t testing.TB) io.Reader {
	t.Helper()
	file, err := c.folder.Open(c.File)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// Records reads the case's records.
func (c *Case) Records(t testing.TB) []Record {
	t.Helper()
	text, err := gzip.NewReader(c.Open(t))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 16<<20)
	var records []Record
	for lines.Scan() {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		records = append(records, r)
	}
	if err := lines.Err(); err != nil || len(records) != c.Count {
		t.Fatalf("%s: %d records, want %d, %v", c, len(records), c.Count, err)
	}
	return records
}
