// Package comment keeps one comment on a pull request of GitHub: made once, then written anew with
// every commit. The package renders nothing and decides nothing. Start reading at Put.
package comment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Place is a commit at the tip of a pull request, as GitHub itself names both. A number from a file
// of the pull request's own run would let any pull request write on any other.
type Place struct {
	// Repository is "owner/name" of the repository with the pull request.
	Repository string
	// Head is "owner:branch" of the pull request's branch, and Commit the full hash.
	Head, Commit string
	// Author is the login that Put writes as: comments of others stay as they are.
	Author string
}

var (
	repositoryName = regexp.MustCompile(`^[\w.-]+/[\w.-]+$`)
	headName       = regexp.MustCompile(`^[\w.-]+:[^\s:]+$`)
	commitHash     = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// Validate returns an error with the flag's name for a Place that GitHub cannot have.
func (p Place) Validate() error {
	switch {
	case !repositoryName.MatchString(p.Repository) || strings.Contains(p.Repository, ".."):
		return errors.New("--repository: want OWNER/NAME")
	case !headName.MatchString(p.Head):
		return errors.New("--head: want OWNER:BRANCH")
	case !commitHash.MatchString(p.Commit):
		return errors.New("--commit: want 40 hexadecimal digits")
	case p.Author == "":
		return errors.New("--as: want the login that the token belongs to")
	}
	return nil
}

// marker begins the comment, unseen, so that the next run finds the comment again.
const marker = "<!-- cdclab: the one comment of the gate -->\n"

// What a page of GitHub's lists holds, how many pages are read, and how many bytes a comment has.
const (
	pageSize  = 100
	mostPages = 30
	mostBytes = 65536
)

// Done counts what became of the comment.
type Done struct{ Created, Updated, Kept int }

// pull is what a list of pull requests says of each.
type pull struct {
	Number int `json:"number"`
	Head   struct {
		SHA string `json:"sha"`
	} `json:"head"`
}

// note is a comment there.
type note struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User struct {
		Login string `json:"login"`
	} `json:"user"`
}

// Put brings every open pull request with the commit at the tip to have the comment once, with this
// text. A commit that is no tip any more gets no comment, because the text of the newer commit
// would be lost; Done then counts nothing. Put a second time changes nothing.
func (c *Client) Put(ctx context.Context, place Place, text string) (done Done, err error) {
	if err := place.Validate(); err != nil {
		return done, err
	}
	pulls, err := c.pulls(ctx, place)
	if err != nil {
		return done, fmt.Errorf("find the pull request of %s: %w", place.Head, err)
	}
	for _, number := range pulls {
		if err := c.putOne(ctx, place, number, marker+cut(text), &done); err != nil {
			return done, fmt.Errorf("comment on pull request %d: %w", number, err)
		}
	}
	return done, nil
}

// pulls returns the numbers of the open pull requests with the commit at the tip.
func (c *Client) pulls(ctx context.Context, place Place) (numbers []int, err error) {
	query := url.Values{"state": {"open"}, "head": {place.Head}}
	err = list(ctx, c, "/repos/"+place.Repository+"/pulls", query, func(p pull) bool {
		if p.Head.SHA == place.Commit {
			numbers = append(numbers, p.Number)
		}
		return true
	})
	return numbers, err
}

func (c *Client) putOne(ctx context.Context, place Place, number int, body string,
	done *Done) error {
	repository := "/repos/" + place.Repository
	comments := fmt.Sprintf("%s/issues/%d/comments", repository, number)
	var mine *note
	err := list(ctx, c, comments, url.Values{}, func(n note) bool {
		if n.User.Login == place.Author && strings.HasPrefix(n.Body, marker) {
			mine = &n
		}
		return mine == nil
	})
	if err != nil {
		return err
	}
	text := map[string]string{"body": body}
	switch {
	case mine == nil:
		done.Created++
		return c.api.Call(ctx, http.MethodPost, comments, text, http.StatusCreated, nil)
	case mine.Body == body:
		done.Kept++
		return nil
	}
	done.Updated++
	return c.api.Call(ctx, http.MethodPatch, fmt.Sprintf("%s/issues/comments/%d",
		repository, mine.ID), text, http.StatusOK, nil)
}

// list shows each item of a list to see, page after page, until see has seen enough.
func list[T any](ctx context.Context, c *Client, path string, query url.Values,
	see func(T) bool) error {
	query.Set("per_page", fmt.Sprint(pageSize))
	for page := 1; page <= mostPages; page++ {
		query.Set("page", fmt.Sprint(page))
		var items []T
		err := c.api.Call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, http.StatusOK, &items)
		if err != nil {
			return err
		}
		for _, item := range items {
			if !see(item) {
				return nil
			}
		}
		if len(items) < pageSize {
			return nil
		}
	}
	return fmt.Errorf("more than %d items in %s", pageSize*mostPages, path)
}

// cut shortens a text that GitHub would refuse, at the end of a line, and closes what was folded.
func cut(text string) string {
	const notice = "\n\nThe rest is too long for a comment: the run's artefacts have the whole.\n"
	const fold, unfold = "<details>", "\n\n</details>"
	room := mostBytes - len(marker)
	if len(text) <= room {
		return text
	}
	room -= len(notice) + 2*len(unfold)
	text = text[:strings.LastIndexByte(text[:room], '\n')+1]
	for open := strings.Count(text, fold) - strings.Count(text, "</details>"); open > 0; open-- {
		text += unfold
	}
	return text + notice
}
