package stack

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if consumerDir != "" {
		os.RemoveAll(consumerDir)
	}
	os.Exit(code)
}
