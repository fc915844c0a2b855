package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/namedfile"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/annotate"
	"github.com/cdclab/cdclab/reports/comment"
	"github.com/cdclab/cdclab/reports/gate"
	"github.com/cdclab/cdclab/reports/render"
	"github.com/cdclab/cdclab/reports/trend"
)

// commentRuns prints stored gates and runs as the comment on a pull request, or keeps the comment
// there. A verdict changes no exit code, because the comment was asked for.
func commentRuns(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("comment", t)
	var place comment.Place
	set.StringVar(&place.Head, "head", "", "`OWNER:BRANCH` of the pull request that gets the "+
		"comment, as GitHub itself names both (default: print the comment)")
	set.StringVar(&place.Commit, "commit", "", "full `hash` of the pull request's last commit")
	set.StringVar(&place.Repository, "repository", "", "`OWNER/NAME` with the pull request")
	set.StringVar(&place.Author, "as", "github-actions[bot]",
		"`login` that the token belongs to: the login's own comment is written anew")
	address := set.String("github", comment.API, "`url` of GitHub's API (env CDC_GITHUB_URL); "+
		"the token is taken from CDC_GITHUB_TOKEN alone")
	link := set.String("report-link", "", "`url` of the run of the workflow, with the artefacts")
	positional, err := parse(set, args, 1, mostRuns)
	if err != nil {
		return 0, err
	}
	text, err := commentText(positional, *link)
	if err != nil {
		return 0, err
	}
	if place.Head == "" {
		if place.Commit+place.Repository != "" {
			return 0, errors.New("which branch? give --head too, or neither --commit nor " +
				"--repository to print the comment")
		}
		_, err := io.WriteString(t.out, text)
		return exitPass, err
	}
	client, err := comment.NewClient(*address, os.Getenv("CDC_GITHUB_TOKEN"))
	if err != nil {
		return 0, fmt.Errorf("--github, CDC_GITHUB_TOKEN: %w", err)
	}
	done, err := client.Put(ctx, place, text)
	if err != nil {
		return 0, err
	}
	if (done == comment.Done{}) {
		_, err = fmt.Fprintln(t.out, "no comment: the commit is not the last of an open pull "+
			"request")
		return exitPass, err
	}
	_, err = fmt.Fprintf(t.out, "comments on pull requests: %d new, %d changed, %d there already\n",
		done.Created, done.Updated, done.Kept)
	return exitPass, err
}

// commentText renders files, gates by their name and other files as runs. Whoever wrote a file,
// nothing inside becomes Markdown.
func commentText(paths []string, link string) (string, error) {
	var b bytes.Buffer
	for _, path := range paths {
		if filepath.Base(path) == gateFile {
			text, err := namedfile.Read(path, namedfile.Small)
			if err != nil {
				return "", err
			}
			result, err := gate.DecodeResult(text)
			if err != nil {
				return "", fmt.Errorf("%s: %w", path, err)
			}
			if err := result.WriteMarkdown(&b); err != nil {
				return "", err
			}
		} else {
			run, err := reports.Load(path)
			if err != nil {
				return "", err
			}
			if err := render.WriteMarkdown(&b, run, nil); err != nil {
				return "", err
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("The measured commit's own workflow wrote these numbers.")
	if link != "" {
		parsed, err := url.Parse(link)
		if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
			return "", errors.New("--report-link: want an http or https address")
		}
		fmt.Fprintf(&b, " [The run, with the artefacts](%s)", strings.NewReplacer("(", "%28", ")",
			"%29").Replace(parsed.String()))
	}
	b.WriteString("\n")
	return b.String(), nil
}

// annotateLimit bounds what the end of a run waits for Grafana.
const annotateLimit = 30 * time.Second

// grafana is where the annotations of runs go: nowhere without an address.
type grafana struct {
	address, link string
	client        *annotate.Client
}

func grafanaFlags(set *flag.FlagSet) *grafana {
	var g grafana
	set.StringVar(&g.address, "grafana", "", "`url` of a Grafana that gets annotations: of a "+
		"run the load, faults and verdict, of a trend the changes (env "+
		"CDC_GRAFANA_URL); the token of its service account "+
		"is taken from CDC_GRAFANA_TOKEN alone")
	set.StringVar(&g.link, "report-link", "",
		"`url` of the report, for a link in the annotations")
	return &g
}

// open checks the flags and makes the client, before anything is measured.
func (g *grafana) open() (err error) {
	if g.address == "" {
		if g.link != "" {
			return errors.New("--report-link is for annotations: give --grafana too")
		}
		return nil
	}
	if g.client, err = annotate.NewClient(g.address, os.Getenv("CDC_GRAFANA_TOKEN")); err != nil {
		return fmt.Errorf("--grafana, CDC_GRAFANA_TOKEN: %w", err)
	}
	_, err = annotate.Of(&reports.Run{}, g.link)
	return err
}

func (g *grafana) send(ctx context.Context, run *reports.Run) (sent annotate.Sent, err error) {
	annotations, err := annotate.Of(run, g.link)
	if err != nil {
		return sent, err
	}
	return g.client.Send(ctx, annotations)
}

// annotateResult sends the annotations of a run just made, also after an interrupt. A failure is a
// warning in the run: the verdict stands, and `cdclab annotate` sends again later.
func (g *grafana) annotateResult(ctx context.Context, t terminal, result *experiments.Result) {
	if g.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), annotateLimit)
	defer cancel()
	_, err := g.send(ctx, result.Run)
	if err == nil {
		return
	}
	t.say("cdclab bench: warning: " + err.Error())
	if err := result.Warn(err.Error()); err != nil {
		t.say("cdclab bench: warning: " + err.Error())
	}
}

// annotateTrends sends the changes of trends. A failure is a warning, and no exit code.
func (g *grafana) annotateTrends(ctx context.Context, t terminal, trends []trend.Trend) {
	if g.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, annotateLimit)
	defer cancel()
	for _, one := range trends {
		annotations, err := annotate.OfTrend(one, g.link)
		if err == nil {
			_, err = g.client.Send(ctx, annotations)
		}
		if err != nil {
			t.say("cdclab trend: warning: " + err.Error())
			return
		}
	}
}

// annotateRun sends the annotations of a stored run, again or for the first time.
func annotateRun(ctx context.Context, t terminal, args []string) (int, error) {
	set := flags("annotate", t)
	g := grafanaFlags(set)
	positional, err := parse(set, args, 1, 1)
	if err != nil {
		return 0, err
	}
	run, err := experiments.LoadRun(positional[0])
	if err != nil {
		return 0, err
	}
	if err := g.open(); err != nil {
		return 0, err
	}
	if g.client == nil {
		return 0, errors.New("which Grafana? give --grafana or CDC_GRAFANA_URL")
	}
	sent, err := g.send(ctx, run)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fprintf(t.out, "annotations in Grafana: %d new, %d changed, %d there already\n",
		sent.Created, sent.Updated, sent.Kept)
	return exitPass, err
}
