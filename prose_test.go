package main

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The bounds of the house: pointing words of 100 in a room's comments and in one sentence, and
// columns of a line.
const (
	maxPointing         = 4
	maxPointingSentence = 2
	maxColumns          = 100
)

// The prose of comments: a reader who must look up the meaning of "it" and "that" reads twice. The
// models of the house have 3 such words of 100.
var (
	proseWord    = regexp.MustCompile(`[A-Za-z][A-Za-z'’]*`)
	proseEnd     = regexp.MustCompile(`[.!?]["')]*(\s+|$)|\n\s*\n|\n\s*[-*] `)
	pointingWord = regexp.MustCompile(`(?i)^(it|its|that|what|those|one|which|they|them)$`)
)

// sentence is a sentence of a comment, with the number of all words and of the pointing words.
type sentence struct {
	text            string
	words, pointing int
}

func sentences(comment string) []sentence {
	var all []sentence
	for _, text := range proseEnd.Split(comment, -1) {
		s := sentence{text: strings.Join(strings.Fields(text), " ")}
		for _, word := range proseWord.FindAllString(text, -1) {
			s.words++
			if pointingWord.MatchString(word) {
				s.pointing++
			}
		}
		all = append(all, s)
	}
	return all
}

// TestProseIsRead: the rule counts every pointing word.
func TestProseIsRead(t *testing.T) {
	t.Parallel()
	got := sentences("Fold folds it into that which it was. Its end!\n" +
		"The rest: one of 1.5 of them.")
	want := []struct{ words, pointing int }{{8, 4}, {2, 1}, {6, 2}, {0, 0}}
	if len(got) != len(want) {
		t.Fatalf("%d sentences, want %d: %v", len(got), len(want), got)
	}
	for i, s := range got {
		if s.words != want[i].words || s.pointing != want[i].pointing {
			t.Errorf("%q: %d words, %d pointing, want %v", s.text, s.words, s.pointing, want[i])
		}
	}
}

// TestProse: per room, of the words in comments at most maxPointing in 100 only point; no sentence
// has more than maxPointingSentence.
func TestProse(t *testing.T) {
	t.Parallel()
	words, pointing := map[string]int{}, map[string]int{}
	for _, s := range sources(t) {
		for _, comment := range s.file.Comments {
			for _, sentence := range sentences(comment.Text()) {
				words[s.room] += sentence.words
				pointing[s.room] += sentence.pointing
				if sentence.pointing > maxPointingSentence {
					t.Errorf("%s: %d pointing words in one sentence, at most %d: %s",
						s.fset.Position(comment.Pos()), sentence.pointing, maxPointingSentence,
						sentence.text)
				}
			}
		}
	}
	for room, all := range words {
		if share := 100 * float64(pointing[room]) / float64(max(1, all)); share > maxPointing {
			t.Errorf("%q: %.1f of 100 words in comments point, at most %d", room, share,
				maxPointing)
		}
	}
}

// TestColumns: no line of a Go file is longer than maxColumns, with 4 for a tab.
func TestColumns(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for number, line := range strings.Split(s.text, "\n") {
			columns := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    "))
			if columns > maxColumns {
				t.Errorf("%s:%d: %d columns, at most %d", s.path, number+1, columns, maxColumns)
			}
		}
	}
}

// TestGuidesNameFiles: each file named in backticks by a guide is there.
func TestGuidesNameFiles(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`([a-zA-Z0-9_./-]+/[a-zA-Z0-9_.-]+\\." +
		"(?:go|md|yaml|js|json|ts|sql|properties|xml))`")
	seen := 0
	for _, guide := range guides(t) {
		text, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			seen++
			_, here := os.Stat(filepath.Join(filepath.Dir(guide), match[1]))
			_, fromRoot := os.Stat(match[1])
			if here != nil && fromRoot != nil && !strings.HasPrefix(match[1], "runs/") {
				t.Errorf("%s names %s, which is not there", guide, match[1])
			}
		}
	}
	if picture, err := os.Stat("reports/report.png"); err != nil || picture.Size() > 200_000 {
		t.Errorf("the README's picture: %v; it may have 200 kB", err)
	}
	if seen < 20 {
		t.Errorf("the guides name %d files: this test looks at the wrong thing", seen)
	}
}

// TestGuidesNameTests: each test, benchmark or fuzz target named in a guide is there, and stands in
// the room or file that the guide names behind the test.
func TestGuidesNameTests(t *testing.T) {
	t.Parallel()
	places := map[string][]string{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, is := d.(*ast.FuncDecl); is && s.test() {
				places[f.Name.Name] = append(places[f.Name.Name], s.room, s.path)
			}
		}
	}
	const name = "`(?:Test|Benchmark|Fuzz)[A-Z]\\w*"
	names := regexp.MustCompile(name)
	placed := regexp.MustCompile("(" + name + "`(?:, " + name + "`)*) in (?:`([^`]+)`|the root)")
	found := 0
	for _, path := range guides(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range names.FindAllString(string(text), -1) {
			found++
			if places[one[1:]] == nil {
				t.Errorf("%s names %s`, which is no test", path, one)
			}
		}
		for _, place := range placed.FindAllStringSubmatch(string(text), -1) {
			for _, one := range names.FindAllString(place[1], -1) {
				if in := places[one[1:]]; in != nil && !slices.Contains(in, place[2]) {
					t.Errorf("%s: %s` is not in %q, but in %q", path, one, place[2], in)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("the guides name %d tests: this test looks at the wrong thing", found)
	}
}
