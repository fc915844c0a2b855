package main

import (
	"strings"
	"testing"
)

// TestSinkPeerRefuses: an impossible run ends before anything is started, naming the mistake.
func TestSinkPeerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no events":     {[]string{"--events", "0"}, "events 0: want at least 1000"},
		"no rounds":     {[]string{"--rounds", "-1"}, "rounds -1: want at least 1"},
		"a setting":     {[]string{"--set", "max.batch.size"}, `--set: want KEY=VALUE`},
		"an argument":   {[]string{"smoke"}, `got 1 arguments ["smoke"]`},
		"another stack": {[]string{"--stack", "embedded"}, "flag provided but not defined: -stack"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &screen{}
			code := run(t.Context(), append([]string{"bench", sinkPeer, "--out", t.TempDir()},
				c.args...), terminal{s, s})
			if code != exitCouldNotRun || !strings.Contains(s.String(), c.want) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, exitCouldNotRun, c.want, s)
			}
		})
	}
}

// TestSinkPeerWithoutJava: the lab names the missing Java and leaves nothing.
func TestSinkPeerWithoutJava(t *testing.T) {
	t.Setenv("JAVA_HOME", t.TempDir())
	s := &screen{}
	code := run(t.Context(), []string{"bench", sinkPeer, "--out", t.TempDir()}, terminal{s, s})
	if code != exitCouldNotRun || !strings.Contains(s.String(),
		"the native stack needs Java 17 or newer") {
		t.Errorf("exit %d, want %d and that Java is missing:\n%s", code, exitCouldNotRun, s)
	}
	nothingLeft(t)
}
