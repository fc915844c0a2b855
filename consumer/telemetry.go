package consumer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// telemetry is the HTTP server of /metrics, /healthz (the process answers) and /readyz (it is in
// the group, and MongoDB answers).
type telemetry struct {
	server *http.Server
	check  atomic.Pointer[func(context.Context) error]
}

// listen starts the server and tells its address: in the log, and in the file if one is asked for.
func (c *Consumer) listen() (*telemetry, error) {
	listener, err := net.Listen("tcp", c.config.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	address := listener.Addr().String()
	if c.config.ListenFile != "" {
		if err := writeWhole(c.config.ListenFile, address+"\n"); err != nil {
			return nil, errors.Join(fmt.Errorf("--listen-file: %w", err), listener.Close())
		}
	}
	c.metrics.specs.Store(c.registry)
	t := &telemetry{}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", t.serveReady)
	if c.config.Pprof {
		serveProfiles(mux)
	}
	t.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go t.server.Serve(listener) // its only error comes from close
	c.log.Info("listening", "addr", address)
	return t, nil
}

func serveProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// ready sets what /readyz asks; until then it says no.
func (t *telemetry) ready(check func(context.Context) error) { t.check.Store(&check) }

func (t *telemetry) serveReady(w http.ResponseWriter, r *http.Request) {
	err := errors.New("starting")
	if check := t.check.Load(); check != nil {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		err = (*check)(ctx)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (t *telemetry) close(ctx context.Context) error {
	if err := t.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("close the metrics server: %w", err)
	}
	return nil
}

// writeWhole lets a reader see either no file or all of it.
func writeWhole(path, text string) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
