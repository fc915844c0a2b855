package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/servertest/expect"
)

func TestFindJava(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"old":     {`echo 'openjdk version "11.0.2" 2019-01-15' >&2`, "needs Java 17 or newer; "},
		"strange": {`echo hello`, `it says "hello\n"`},
		"right":   {`echo 'openjdk version "21" 2023-09-19' >&2`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			if err := os.Mkdir(filepath.Join(home, "bin"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(home, "bin", "java"),
				[]byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("JAVA_HOME", home)
			_, err := findJava(t.Context())
			if (err == nil) != (c.want == "") ||
				err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Setenv("JAVA_HOME", t.TempDir())
	const want = "needs Java 17 or newer (a JDK or JRE on PATH, or JAVA_HOME)"
	if _, err := findJava(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("no Java: %v", err)
	}
}

// TestFindMaven: without mvn a fetch fails with an error naming mvn, and leaves nothing that looks
// fetched.
func TestFindMaven(t *testing.T) {
	bin, cache := t.TempDir(), t.TempDir()
	java := "#!/bin/sh\necho 'openjdk version \"21\" 2023-09-19' >&2\n"
	if err := os.WriteFile(filepath.Join(bin, "java"), []byte(java), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JAVA_HOME", "")
	t.Setenv("PATH", bin)
	for range 2 {
		_, err := FindJVM(t.Context(), cache, func(line string) { t.Errorf("said %q", line) })
		expect.Error(t, err, "mvn is not on PATH: install Maven",
			"which fetches Kafka", "and Debezium")
	}
	if _, err := findJava(t.Context()); err != nil {
		t.Errorf("it is mvn alone that is missing: %v", err)
	}
}
