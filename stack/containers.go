package stack

import (
	"context"
	"errors"

	"github.com/jackc/pglogrepl"

	"github.com/cdclab/cdclab/stack/compose"
	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/proxy"
)

// Usage is what a Component in a container has used, in the engine's numbers.
type Usage = compose.Usage

// Networks are where a Component in a container is connected.
type Networks = compose.Networks

// connectContainer is the worker of Kafka Connect of a Compose Stack, with Debezium's connector.
type connectContainer struct {
	*compose.Container
	sourceTask
	project *compose.Project
	report  func(string)
}

func (c *connectContainer) MetricsURL() string { return c.project.MetricsURL(compose.Connect) }

// Start starts the worker and returns when the connector streams.
func (c *connectContainer) Start(ctx context.Context) error {
	if err := c.Container.Start(ctx); err != nil {
		return err
	}
	go c.watch(c.Ended(), c.report)
	return nil
}

// streaming gives the connector to a worker without one, and is nil when the connector streams.
func (c *connectContainer) streaming(ctx context.Context, _ *compose.Container) (string, error) {
	if err := c.install(ctx); err != nil {
		return "", err
	}
	if err := c.streams(ctx); err != nil {
		return "", err
	}
	return c.askVersion(ctx)
}

func (c *connectContainer) confirmed(ctx context.Context) (pglogrepl.LSN, error) {
	if err := c.Health(ctx); err != nil {
		return 0, err
	}
	return slotConfirmed(ctx, c.dsn, slotName)
}

// consumerContainer is a consumer of a Compose Stack.
type consumerContainer struct{ *compose.Container }

func (c *consumerContainer) MetricsURL() string {
	address, err := c.Published(context.Background(), compose.ConsumerPort)
	if err != nil {
		return ""
	}
	return "http://" + address + "/metrics"
}

// ready asks the consumer, at the port of this start.
func (c *consumerContainer) ready(ctx context.Context, _ *compose.Container) (string, error) {
	address, err := c.Published(ctx, compose.ConsumerPort)
	if err != nil {
		return "", err
	}
	return "", process.Answers(ctx, "http://"+address+"/readyz")
}

// prepareContainers makes the containers of every part.
func (s *Stack) prepareContainers(ctx context.Context) error {
	if s.options.MongoURI != "" || s.options.PostgresDir != "" {
		return errors.New("the compose stack has a PostgreSQL and a MongoDB of its own: " +
			"--postgres-dir and --mongo-uri are of the other stacks")
	}
	config, err := readProfile(s.options.Profile)
	if err != nil {
		return err
	}
	consumers := make([]string, s.options.Consumers)
	for n := range consumers {
		consumers[n] = ConsumerName(n + 1)
	}
	project, err := compose.New(ctx, s.folder, compose.Options{
		Tree: s.options.Tree, Local: s.options.LocalImages, PostgresPort: s.options.PostgresPort,
		Partitions: s.partitions(), Profile: s.options.Profile, Consumers: consumers,
		ConsumerPath: s.options.ConsumerPath, ConsumerArgs: s.options.ConsumerArgs,
		Say: s.options.Say,
	})
	if err != nil {
		return err
	}
	s.parts.containers, s.parts.mongoKind = project, project.MongoKind()
	for _, note := range project.Notes() {
		s.note(note)
	}
	s.note("Debezium is configured by its profile " + s.options.Profile)
	documents, err := compose.NewDocuments(project)
	if err != nil {
		return err
	}
	s.parts.postgres, s.parts.mongo = compose.NewDatabase(project), documents
	s.parts.kafka, err = compose.NewBroker(project)
	if err != nil {
		return err
	}
	worker := &connectContainer{project: project, report: s.folder.Report}
	worker.config, worker.dsn = config, s.parts.postgres.DSN()
	worker.address, worker.password = project.Address(compose.Connect), project.ConnectPassword()
	worker.Container = project.Container(Connector, compose.Connect, worker.streaming)
	s.parts.connector = worker
	for _, name := range consumers {
		made := &consumerContainer{}
		made.Container = project.Container(name, name, made.ready)
		s.parts.consumers = append(s.parts.consumers, made)
	}
	for _, name := range proxy.Names() {
		s.proxies[name] = proxy.At(project.Address(compose.Toxiproxy), name, "")
	}
	toxiproxy := project.Container(compose.Toxiproxy, compose.Toxiproxy,
		func(ctx context.Context, _ *compose.Container) (string, error) {
			return "", process.Answers(ctx,
				"http://"+project.Address(compose.Toxiproxy)+"/version")
		})
	return toxiproxy.Start(ctx)
}
