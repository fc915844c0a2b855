package stack

import (
	"encoding/json"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/debezium/corpus"
)

// conformanceCase is the SQL of a case of the captured corpus, or of a line of
// testdata/conformance.jsonl.
type conformanceCase struct {
	Name, Doc string
	Steps     []corpus.Step
}

// conformanceCases returns each story of the project's corpus once, and the cases of the file,
// which the project's corpus lacks. Together the cases must be the whole corpus but for
// notCompared.
func conformanceCases(t *testing.T) (cases []conformanceCase) {
	t.Helper()
	file, err := os.Open("testdata/conformance.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var names []string
	for _, c := range corpus.Own(t) {
		if c.Folder == corpus.Postgres15 && !slices.Contains(names, c.Case) {
			cases, names = append(cases, conformanceCase{c.Case, c.Doc, c.Steps}),
				append(names, c.Case)
		}
	}
	for decoder := json.NewDecoder(file); ; {
		var c conformanceCase
		if err := decoder.Decode(&c); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		cases, names = append(cases, c), append(names, c.Name)
	}
	want := slices.DeleteFunc(slices.Concat(corpusCases, ownCases), func(name string) bool {
		return slices.ContainsFunc(notCompared, func(left struct{ what, why string }) bool {
			return left.what == name
		})
	})
	slices.Sort(names)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatalf("the cases are not those of the corpus (-want +got):\n%s", diff)
	}
	return cases
}

// TestConformanceCases needs no JVM.
func TestConformanceCases(t *testing.T) {
	t.Parallel()
	cases := conformanceCases(t)
	if n := len(corpusCases); n != 43 || len(cases) != 43 {
		t.Errorf("%d cases of a corpus of %d, want 43 of 43: one is left out, one is our own",
			len(cases), n)
	}
	if n := len(acceptedDifferences); n > 10 {
		t.Errorf("%d accepted differences, at most 10", n)
	}
}

// TestSameValue: an integer is compared digit by digit.
func TestSameValue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		x, y string
		same bool
	}{
		{"1e+308", "1E308", true}, {"-0.0", "-0", true}, {"1", "1.0", true},
		{"-9007199254740993", "-9007199254740992", false},
		{"9007199254740993", "9007199254740992", false},
	} {
		if sameValue(c.x, c.y) != c.same {
			t.Errorf("%s and %s: same %v, want %v", c.x, c.y, !c.same, c.same)
		}
	}
}
