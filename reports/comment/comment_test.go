package comment

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// gitHub speaks the documented API: pull requests by their head, pages of comments, create and
// update, for the holder of a token.
type gitHub struct {
	mu       sync.Mutex
	pulls    map[int]pull
	comments map[int][]note
	// calls are the requests so far, without their queries.
	calls []string
}

const (
	goodToken = "ghs_good"
	bot       = "github-actions[bot]"
	tip       = "0123456789abcdef0123456789abcdef01234567"
)

var place = Place{"lab/cdclab", "forker:topic/one", tip, bot}

func newGitHub(numbers ...int) *gitHub {
	g := &gitHub{pulls: map[int]pull{}, comments: map[int][]note{}}
	for _, number := range numbers {
		p := pull{Number: number}
		p.Head.SHA = tip
		g.pulls[number] = p
	}
	return g
}

func (g *gitHub) add(number int, login, body string) {
	n := note{ID: int64(1000*number + len(g.comments[number])), Body: body}
	n.User.Login = login
	g.comments[number] = append(g.comments[number], n)
}

func (g *gitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, r.Method+" "+r.URL.Path)
	if r.Header.Get("Authorization") != "Bearer "+goodToken ||
		r.Header.Get("Accept") != mediaType ||
		r.Header.Get("X-GitHub-Api-Version") != apiVersion || r.Header.Get("User-Agent") == "" {
		http.Error(w, `{"message":"Bad credentials"}`, http.StatusUnauthorized)
		return
	}
	var text struct{ Body string }
	_ = json.NewDecoder(r.Body).Decode(&text)
	var number int
	var id int64
	const below = "/api/v3/repos/lab/cdclab/"
	switch {
	case r.Method == "GET" && r.URL.Path == below+"pulls":
		var open []pull
		for _, p := range g.pulls {
			if r.URL.Query().Get("head") == place.Head && r.URL.Query().Get("state") == "open" {
				open = append(open, p)
			}
		}
		writePage(w, r, open)
	case r.Method == "GET" && scan(r, below+"issues/%d/comments", &number):
		writePage(w, r, g.comments[number])
	case r.Method == "POST" && scan(r, below+"issues/%d/comments", &number):
		g.add(number, bot, text.Body)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":1}`)
	case r.Method == "PATCH" && scan(r, below+"issues/comments/%d", &id):
		for _, notes := range g.comments {
			for i := range notes {
				if notes[i].ID == id {
					notes[i].Body = text.Body
				}
			}
		}
		fmt.Fprint(w, `{"id":1}`)
	default:
		http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
	}
}

func scan(r *http.Request, format string, into any) bool {
	_, err := fmt.Sscanf(r.URL.Path, format, into)
	return err == nil
}

// writePage answers with the page that the request asks for.
func writePage[T any](w http.ResponseWriter, r *http.Request, all []T) {
	size, page := 30, 1
	_, _ = fmt.Sscan(r.URL.Query().Get("per_page"), &size)
	_, _ = fmt.Sscan(r.URL.Query().Get("page"), &page)
	from := min(len(all), (page-1)*size)
	_ = json.NewEncoder(w).Encode(append([]T{}, all[from:min(len(all), from+size)]...))
}

func start(t *testing.T, handler http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := NewClient(server.URL+"/api/v3/", goodToken)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPut: the comment is made once, written anew in place, and left alone when nothing changed,
// also behind more than a page of other comments.
func TestPut(t *testing.T) {
	t.Parallel()
	server := newGitHub(7)
	for range pageSize + 20 {
		server.add(7, "somebody", "hello")
	}
	c := start(t, server)
	for _, turn := range []struct {
		text string
		want Done
	}{
		{"first", Done{Created: 1}}, {"first", Done{Kept: 1}}, {"second", Done{Updated: 1}},
		{"second", Done{Kept: 1}}, {"third", Done{Updated: 1}},
	} {
		got, err := c.Put(t.Context(), place, turn.text)
		if err != nil || got != turn.want {
			t.Fatalf("%s: %+v, %v; want %+v", turn.text, got, err, turn.want)
		}
		if n := len(server.comments[7]); n != pageSize+21 {
			t.Fatalf("%s: %d comments", turn.text, n)
		}
		if last := server.comments[7][pageSize+20].Body; last != marker+turn.text {
			t.Errorf("the comment is %q", last)
		}
	}
}

// TestPutOnSeveral: a branch may be offered to two branches; each pull request has the comment.
func TestPutOnSeveral(t *testing.T) {
	t.Parallel()
	server := newGitHub(7, 8)
	got, err := start(t, server).Put(t.Context(), place, "text")
	if want := (Done{Created: 2}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if len(server.comments[7]) != 1 || len(server.comments[8]) != 1 {
		t.Errorf("%+v", server.comments)
	}
}

// TestPutLeavesOthersAlone: a comment of somebody else is never written to, whatever it begins
// with, and neither is a pull request whose tip is another commit.
func TestPutLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	server := newGitHub(7)
	server.add(7, "mallory", marker+"mine")
	server.add(7, bot, "another comment of the same bot, which quotes "+marker)
	if _, err := start(t, server).Put(t.Context(), place, "text"); err != nil {
		t.Fatal(err)
	}
	if notes := server.comments[7]; len(notes) != 3 || notes[0].Body != marker+"mine" ||
		!strings.HasPrefix(notes[1].Body, "another") || notes[2].Body != marker+"text" {
		t.Errorf("%+v", notes)
	}

	moved := newGitHub(7)
	p := moved.pulls[7]
	p.Head.SHA = strings.Repeat("f", 40)
	moved.pulls[7] = p
	got, err := start(t, moved).Put(t.Context(), place, "text")
	if (got != Done{}) || err != nil || len(moved.calls) != 1 {
		t.Errorf("%+v, %v, %q", got, err, moved.calls)
	}
}

// TestPutFails: each answer without success is an error with a reason, at every step, without the
// token, and a redirect takes the token nowhere.
func TestPutFails(t *testing.T) {
	t.Parallel()
	away := newGitHub()
	awayServer := httptest.NewServer(away)
	t.Cleanup(awayServer.Close)
	answers := map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"token":     {status(401, `{"message":"Bad"}`), "status 401: the token may not"},
		"right":     {status(403, `{"message":"Resource not accessible"}`), "pull-requests: write"},
		"secondary": {status(403, "", "Retry-After", "60"), "status 403: too many requests"},
		"limited":   {status(403, "", "X-RateLimit-Remaining", "0"), "run the job again later"},
		"busy":      {status(429, ""), "status 429: too many requests"},
		"path":      {status(404, "{}"), "status 404: no such repository"},
		"locked":    {status(422, `{"message":"Validation Failed"}`), `Validation Failed`},
		"broken":    {status(502, strings.Repeat("x", 5000)), `status 502: "xxxx`},
		"empty":     {status(204, ""), "status 204"},
		"renamed": {http.RedirectHandler(awayServer.URL, http.StatusMovedPermanently).ServeHTTP,
			"status 301: a redirect is not followed"},
		"no answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"EOF"},
	}
	for _, step := range []string{"GET pulls", "GET comments", "POST comments", "PATCH 7001"} {
		for name, c := range answers {
			t.Run(step+" "+name, func(t *testing.T) {
				t.Parallel()
				server := newGitHub(7)
				if strings.HasPrefix(step, "PATCH") {
					server.add(7, "somebody", "hello")
					server.add(7, bot, marker+"before")
				}
				client := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					method, end, _ := strings.Cut(step, " ")
					if r.Method == method && strings.HasSuffix(r.URL.Path, "/"+end) {
						c.answer(w, r)
						return
					}
					server.ServeHTTP(w, r)
				}))
				_, err := client.Put(t.Context(), place, "text")
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want %q", err, c.want)
				}
				if len(err.Error()) > 500 || strings.Contains(err.Error(), goodToken) {
					t.Errorf("the error is %q", err)
				}
			})
		}
	}
	t.Cleanup(func() {
		if len(away.calls) > 0 {
			t.Errorf("the other address was called: %q", away.calls)
		}
	})
}

// status answers with a code, a body, and headers by name and value.
func status(code int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for pair := range slices.Chunk(headers, 2) {
			w.Header().Set(pair[0], pair[1])
		}
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// TestPutReadsOnly: what is no list of GitHub's is an error, and nothing is written then.
func TestPutReadsOnly(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"page": "<html>", "cut": `[{"number":7`,
		"object": `{"message":"hello"}`, "nothing": ""} {
		written := false
		client := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			written = written || r.Method != http.MethodGet
			fmt.Fprint(w, body)
		}))
		_, err := client.Put(t.Context(), place, "text")
		if err == nil || !strings.Contains(err.Error(), "read the answer") || written {
			t.Errorf("%s: %v, written %t", name, err, written)
		}
	}
}

// TestPutEnds: a silent GitHub, and a GitHub with comments without an end, hold nobody up.
func TestPutEnds(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	silent := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := silent.Put(ctx, place, "text"); err == nil {
		t.Error("no error of a silent GitHub")
	}
	if silent.api.HTTP.Timeout != requestLimit {
		t.Errorf("one request may take %v", silent.api.HTTP.Timeout)
	}
	pages := 0
	endless := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages++
		_ = json.NewEncoder(w).Encode(make([]pull, pageSize))
	}))
	_, err := endless.Put(t.Context(), place, "text")
	if err == nil || !strings.Contains(err.Error(), "more than 3000 items") || pages != mostPages {
		t.Errorf("%v after %d pages", err, pages)
	}
}

// TestCut: a long text is cut at the end of a line, with every fold closed, within GitHub's bound.
func TestCut(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("ü", 60) + "\n"
	long := "# head\n<details><summary>runs</summary>\n\n" + strings.Repeat(line, 1000)
	got := cut(long)
	if len(marker+got) > mostBytes || len(got) < mostBytes/2 {
		t.Errorf("%d bytes", len(got))
	}
	kept, end, found := strings.Cut(got, "\n\n</details>")
	if !found || !strings.HasPrefix(long, kept) || !strings.HasSuffix(kept, line) ||
		!strings.Contains(end, "artefacts") {
		t.Errorf("the end is %q", got[len(got)-200:])
	}
	if short := "<details>x"; cut(short) != short {
		t.Errorf("%q became %q", short, cut(short))
	}
	if got := cut(strings.Repeat("x", 2*mostBytes)); len(marker+got) > mostBytes {
		t.Errorf("a line without an end has %d bytes", len(got))
	}
}

// TestRefuses: an impossible place, address or token is refused before any request, and no error
// repeats a token.
func TestRefuses(t *testing.T) {
	t.Parallel()
	server := newGitHub(7)
	c := start(t, server)
	for want, change := range map[string]func(*Place){
		"--repository": func(p *Place) { p.Repository = "lab/../orgs/x" },
		"OWNER/NAME":   func(p *Place) { p.Repository = "lab/a b" },
		"--head":       func(p *Place) { p.Head = "topic" },
		"--commit":     func(p *Place) { p.Commit = "HEAD" },
		"--as":         func(p *Place) { p.Author = "" },
	} {
		wrong := place
		change(&wrong)
		if _, err := c.Put(t.Context(), wrong, "x"); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", wrong, err, want)
		}
	}
	for _, address := range []string{"", "api.github.com", "ftp://x", "https://u:p@x",
		"https://x?a"} {
		if _, err := NewClient(address, goodToken); err == nil {
			t.Errorf("%q was taken", address)
		}
	}
	for _, token := range []string{"", "ghs_\n", "a b"} {
		if _, err := NewClient(API, token); err == nil ||
			token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%q: got %v", token, err)
		}
	}
	if len(server.calls) > 0 {
		t.Errorf("calls %q", server.calls)
	}
}
