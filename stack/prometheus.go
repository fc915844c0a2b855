package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrNoPrometheus is that FindPrometheus finds none.
var ErrNoPrometheus = errors.New("no Prometheus: `./just prometheus` builds one, or " + prometheusEnv + " names one, 3.0 or newer")

// prometheusEnv names a program to be used instead of the one in the cache. One on PATH is not: what
// distributions bring is mostly older, and takes no OTLP.
const (
	prometheusName = "prometheus"
	prometheusEnv  = "CDCLAB_PROMETHEUS"
)

func prometheusRoot(cacheDir string) string {
	return filepath.Join(cacheDir, prometheusName+"-"+strings.TrimPrefix(prometheusVersion, "v"))
}

// FindPrometheus is the path of the program. An empty cacheDir is that of Options.
func FindPrometheus(cacheDir string) (string, error) {
	if path := os.Getenv(prometheusEnv); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("find %s (%s): %w", prometheusName, prometheusEnv, err)
		}
		return path, nil
	}
	cacheDir, err := CacheDir(cacheDir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(prometheusRoot(cacheDir), prometheusName)
	if _, err := exec.LookPath(path); err != nil {
		return "", ErrNoPrometheus
	}
	return path, nil
}

// Prometheus is a real one on loopback, to see what others get of the lab's metrics, and what the lab
// gets of theirs. It is no part of a Stack.
type Prometheus struct {
	// URL is that of its API. Remote write goes to /api/v1/write below it, OTLP to /api/v1/otlp.
	URL    string
	folder *folder
}

// StartPrometheus starts the program at path, which reads the pages of metrics at the URLs every second, and
// returns when it serves.
func StartPrometheus(ctx context.Context, path string, pages ...string) (*Prometheus, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	folder, err := makeFolder()
	if err != nil {
		return nil, err
	}
	p := &Prometheus{"http://" + loopback(port), folder}
	if err := p.start(ctx, path, pages); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

func (p *Prometheus) start(ctx context.Context, path string, pages []string) error {
	config := p.folder.file("prometheus.yml")
	if err := os.WriteFile(config, []byte(prometheusConfig(pages)), 0o644); err != nil {
		return err
	}
	server := &child{name: prometheusName, folder: p.folder, stopSignal: syscall.SIGTERM}
	return server.run(ctx, command{path: path, args: []string{
		"--config.file=" + config, "--storage.tsdb.path=" + p.folder.file("data"),
		"--web.listen-address=" + strings.TrimPrefix(p.URL, "http://"),
		"--web.enable-remote-write-receiver", "--web.enable-otlp-receiver", "--enable-feature=native-histograms",
	}}, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, healthLimit)
		defer cancel()
		return answers(ctx, p.URL+"/-/ready")
	})
}

func prometheusConfig(pages []string) string {
	text := "global: {scrape_interval: 1s}\nscrape_configs:\n"
	for n, page := range pages {
		address, path, _ := strings.Cut(strings.TrimPrefix(page, "http://"), "/")
		text += fmt.Sprintf("  - {job_name: page-%d, metrics_path: %q, static_configs: [{targets: [%q]}]}\n", n+1, "/"+path, address)
	}
	return text
}

// Stop ends it, and what it stored is gone.
func (p *Prometheus) Stop() error { return p.folder.close(false) }
