package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/annotate"
)

// annotateLimit bounds what the end of a run waits for Grafana.
const annotateLimit = 30 * time.Second

// grafana is where the annotations of runs go: nowhere without an address.
type grafana struct {
	address, link string
	client        *annotate.Client
}

func grafanaFlags(set *flag.FlagSet) *grafana {
	var g grafana
	set.StringVar(&g.address, "grafana", "", "`url` of a Grafana that gets the run, its faults "+
		"and its verdict as annotations (env CDC_GRAFANA_URL); the token of its service account "+
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
