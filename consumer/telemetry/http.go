package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Limits of a server of pages. A page is small and read at once, so whoever holds a connection for
// longer does not want the page.
const (
	headerLimit = 5 * time.Second
	readLimit   = 10 * time.Second
	// writeLimit begins with the request; a profile extends its own by the seconds asked for.
	writeLimit = 10 * time.Second
	idleLimit  = time.Minute
	// mostHeader is in bytes.
	mostHeader      = 16 << 10
	mostConnections = 64
	// mostScrapes is how many requests may gather the metrics at once.
	mostScrapes = 4
)

// ServePages starts a server with limits on time, header and connections; http.Server has none by
// default. A connection above the limit waits until another ends. The caller closes the server.
func ServePages(listener net.Listener, pages http.Handler) *http.Server {
	server := &http.Server{
		Handler: pages, ReadHeaderTimeout: headerLimit, ReadTimeout: readLimit,
		WriteTimeout: writeLimit, IdleTimeout: idleLimit, MaxHeaderBytes: mostHeader,
	}
	go server.Serve(netutil.LimitListener(listener, mostConnections)) // the only error is of Close
	return server
}

// Server is the HTTP server of /metrics, /healthz (the process answers) and /readyz (the process is
// in the group, and MongoDB answers).
type Server struct {
	server *http.Server
	check  atomic.Pointer[func(context.Context) error]
}

// Serve starts the server and tells the address: in the log, and in the file if a file is named.
// profiles is true if /debug/pprof is served too, to programs of this machine alone, because a
// profile shows names and arguments. The error names the flag.
func Serve(at, file string, profiles bool, m *Metrics, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	address := listener.Addr().String()
	if file != "" {
		if err := writeWhole(file, address+"\n"); err != nil {
			return nil, errors.Join(fmt.Errorf("--listen-file: %w", err), listener.Close())
		}
	}
	t := &Server{}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: mostScrapes,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", t.serveReady)
	if profiles {
		serveProfiles(mux)
	}
	t.server = ServePages(listener, mux)
	log.Info("listening", "addr", address)
	return t, nil
}

func serveProfiles(mux *http.ServeMux) {
	for page, handler := range map[string]http.HandlerFunc{
		"": pprof.Index, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		mux.Handle("GET /debug/pprof/"+page, onlyLoopback(handler))
	}
}

// onlyLoopback refuses requests from other machines. The name in the request must be loopback's
// too, otherwise a web page could have a browser of this machine ask under the page's own name.
func onlyLoopback(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() || !isLoopback(host) {
			http.Error(w, "profiles are for programs of this machine, by its loopback address",
				http.StatusForbidden)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}

// CheckReadyWith sets the check behind /readyz; until then /readyz says no.
func (t *Server) CheckReadyWith(check func(context.Context) error) { t.check.Store(&check) }

func (t *Server) serveReady(w http.ResponseWriter, r *http.Request) {
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

// Close ends the server.
func (t *Server) Close(ctx context.Context) error {
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
