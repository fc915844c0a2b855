package consumer

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// specsReloadMin keeps the folder from being read all the time.
const specsReloadMin = 100 * time.Millisecond

// specsWatch reloads the folder of specs after a change of a file.
type specsWatch struct {
	consumer *Consumer
	folder   fs.FS
	seen     string
}

func (w *specsWatch) checkFolder(context.Context) {
	now, err := fingerprint(w.folder)
	if err == nil && now == w.seen {
		return
	}
	var changed bool
	if err == nil {
		changed, err = w.consumer.tables.Reload(w.folder)
	}
	c := w.consumer
	switch {
	case err != nil && now != w.seen:
		c.metrics.Reloads.WithLabelValues("failed").Inc()
		c.log.Error("specs not reloaded, the old ones stay", "folder", c.config.Specs,
			"error", err.Error())
	case changed:
		c.metrics.Reloads.WithLabelValues("changed").Inc()
		c.log.Info("specs reloaded", "folder", c.config.Specs)
	}
	w.seen = now
}

// fingerprint changes with each change of a spec: names, sizes and times of the files. After an
// error the fingerprint is the error's text.
func fingerprint(folder fs.FS) (string, error) {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return err.Error(), fmt.Errorf("look at the specs: %w", err)
	}
	var text strings.Builder
	for _, entry := range entries {
		info, err := fs.Stat(folder, entry.Name())
		if err != nil {
			return err.Error(), fmt.Errorf("look at the specs: %w", err)
		}
		fmt.Fprintf(&text, "%s %d %d\n", info.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return text.String(), nil
}
