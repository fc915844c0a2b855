package recording

import (
	"testing"

	"github.com/cdclab/cdclab/consumer/consumertest"
)

func TestMain(m *testing.M) { consumertest.Main(m) }
