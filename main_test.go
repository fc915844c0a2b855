package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cdclab": main})
}

// TestStories runs the program as a person would: testdata/*.txtar. The lab builds its children and
// finds its scenarios in the checkout, so the stories run there and write into $WORK.
func TestStories(t *testing.T) {
	t.Parallel()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Condition: func(name string) (bool, error) {
			if name != "native" && name != "xk6" {
				return false, fmt.Errorf("no condition %q", name)
			}
			return os.Getenv("CDCLAB_"+strings.ToUpper(name)) != "", nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"kafka": kafkaCommand},
		Setup: func(env *testscript.Env) error {
			env.Setenv("ROOT", root)
			// The caches of Go and of the lab are the user's: a story must not fetch the contents
			// again.
			for _, name := range []string{
				"HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "XDG_CACHE_HOME",
				"CDCLAB_CACHE",
			} {
				if value, set := os.LookupEnv(name); set {
					env.Setenv(name, value)
				}
			}
			return nil
		},
	})
}
