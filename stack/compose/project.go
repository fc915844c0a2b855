// Package compose runs the pipeline of compose.yaml as containers of a Docker engine: Compose makes
// and removes the containers, and the engine's API starts, breaks and measures each as a part of a
// Stack. The package knows no part's protocol and judges nothing. Start reading at New, then
// Container.
package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/client"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// Services of compose.yaml.
const (
	Postgres  = "postgres"
	Kafka     = "kafka"
	Mongo     = "mongo"
	Connect   = "connect"
	Consumer  = "consumer"
	Toxiproxy = "toxiproxy"
)

// ConsumerPort is where a consumer listens inside of its container.
const ConsumerPort = "9300/tcp"

// Options say what of compose.yaml is brought up, and how.
type Options struct {
	// Tree is the root of the source tree: the containers mount its configuration files.
	Tree string
	// Local takes the images of local/build.sh instead of those of the registries.
	Local bool
	// PostgresPort is where PostgreSQL listens on this machine; 0 is a free port.
	PostgresPort int
	// Partitions of each topic, and Profile, a file of stack/debezium.
	Partitions int
	Profile    string
	// Consumers are the names of the consumers, each a service; the first is Consumer.
	Consumers []string
	// ConsumerPath is a consumer program of this machine to run instead of the image's, ""
	// for the image's; ConsumerArgs are more flags.
	ConsumerPath string
	ConsumerArgs []string
	// Say receives a line of progress for a person.
	Say func(string)
}

// Project is one pipeline of containers, networks and volumes, apart from any other on the engine.
type Project struct {
	Secrets Secrets
	// Ports are this machine's ports by service and, for pages of metrics, by service and
	// "-metrics".
	Ports map[string]int

	name    string
	options Options
	engine  *Engine
	folder  *process.Folder
	// life ends with the Project; end ends it.
	life context.Context
	end  context.CancelFunc
	// ids are the containers' by service.
	ids        map[string]string
	containers []*Container
}

// folderLabel names the data folder of the lab that made a container: with the folder gone, the lab
// is dead.
const folderLabel = "com.github.cdclab.folder"

// New checks the engine, removes the Projects of dead labs, makes secrets and containers, and
// starts nothing. On an error nothing is left.
func New(ctx context.Context, f *process.Folder, options Options) (*Project, error) {
	engine, err := FindEngine(ctx)
	if err != nil {
		return nil, err
	}
	if err := engine.CheckMemory(ctx, false); err != nil {
		return nil, err
	}
	if err := engine.removeDead(ctx); err != nil {
		options.Say(err.Error())
	}
	p := &Project{name: "cdclab-" + strings.ToLower(filepath.Base(f.Path)), options: options,
		engine: engine, folder: f, Ports: map[string]int{}, ids: map[string]string{}}
	p.life, p.end = context.WithCancel(context.Background())
	if p.Secrets, err = MakeSecrets(f.File("secrets")); err != nil {
		return nil, err
	}
	if err := p.choosePorts(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(f.File("compose.yaml"), p.overrides(), 0o600); err != nil {
		return nil, fmt.Errorf("write the changes to compose.yaml: %w", err)
	}
	services := append([]string{Postgres, Kafka, Mongo, Connect, Toxiproxy}, options.Consumers...)
	err = p.run(ctx, append([]string{"create"}, services...)...)
	if err == nil {
		err = p.find(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the containers: %w", explain(err)),
			p.Close(context.WithoutCancel(ctx), false))
	}
	return p, nil
}

// choosePorts finds a free port for each published one, but for the consumers', which the engine
// chooses at each start.
func (p *Project) choosePorts() error {
	for _, name := range []string{Postgres, Kafka, Kafka + metricsSuffix, Mongo, Toxiproxy, Connect,
		Connect + metricsSuffix} {
		port := p.options.PostgresPort
		if port == 0 || name != Postgres {
			var err error
			if port, err = process.FreePort(); err != nil {
				return fmt.Errorf("choose a port for %s: %w", name, err)
			}
		}
		p.Ports[name] = port
	}
	return nil
}

const metricsSuffix = "-metrics"

// Address is the loopback address of a port of Ports.
func (p *Project) Address(name string) string { return process.Loopback(p.Ports[name]) }

// MetricsURL serves the metrics of Kafka or Connect in the Prometheus text format.
func (p *Project) MetricsURL(service string) string {
	return "http://" + p.Address(service+metricsSuffix) + "/metrics"
}

// PostgresURL is of a role, at this machine's port.
func (p *Project) PostgresURL(role string) string {
	return p.Secrets.postgresURL(role, p.Address(Postgres))
}

// MongoURL is of the only user, at this machine's port.
func (p *Project) MongoURL() string { return p.Secrets.mongoURL(p.Address(Mongo)) }

// ConnectPassword is of the only user of Connect's REST API.
func (p *Project) ConnectPassword() string { return p.Secrets[connectPassword] }

// environment fills in the variables of compose.yaml.
func (p *Project) environment() []string {
	all := []string{"CDCLAB_SECRETS=" + p.folder.File("secrets"), "CDCLAB_CONSUMER_PORTS=0",
		"CDCLAB_PARTITIONS=" + strconv.Itoa(p.options.Partitions),
		"CDCLAB_PROFILE=" + p.options.Profile}
	for _, name := range slices.Sorted(maps.Keys(p.Ports)) {
		variable := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		all = append(all, fmt.Sprintf("CDCLAB_%s_PORT=%d", variable, p.Ports[name]))
	}
	return all
}

// overrides are the changes to compose.yaml: nothing starts again by itself, because the lab wants
// to see a death, and each consumer is a service with a name of its own.
func (p *Project) overrides() []byte {
	var text strings.Builder
	quote := func(value any) string {
		quoted, _ := json.Marshal(value) // JSON is YAML
		return string(quoted)
	}
	text.WriteString("services:\n")
	add := func(service string, lines ...string) {
		fmt.Fprintf(&text, "  %s:\n    restart: \"no\"\n    labels: {%s: %s}\n", quote(service),
			quote(folderLabel), quote(p.folder.Path))
		for _, line := range lines {
			text.WriteString("    " + line + "\n")
		}
	}
	for _, service := range []string{Postgres, Kafka, Mongo, Connect, Toxiproxy} {
		add(service)
	}
	for _, name := range p.options.Consumers {
		// A static member has its partitions back at once when it returns after a crash.
		command := append([]string{"--instance", name}, p.options.ConsumerArgs...)
		lines := []string{"command: " + quote(command)}
		if p.options.ConsumerPath != "" {
			mount := map[string]any{"type": "bind", "source": p.options.ConsumerPath,
				"target": "/consumer", "read_only": true}
			lines = append(lines, "volumes: ["+quote(mount)+"]")
		}
		if name != Consumer {
			lines = append(lines, "extends: "+quote(map[string]string{"service": Consumer,
				"file": p.file("compose.yaml")}))
			if p.options.Local {
				lines = append(lines, "image: cdclab-local/consumer", "build: !reset null",
					"pull_policy: never")
			}
		}
		add(name, lines...)
	}
	return []byte(text.String())
}

func (p *Project) file(name string) string {
	return filepath.Join(p.options.Tree, "stack", "compose", filepath.FromSlash(name))
}

// run runs a command of Compose on the Project.
func (p *Project) run(ctx context.Context, args ...string) error {
	all := []string{"compose", "--project-name", p.name, "--progress", "plain", "--file",
		p.file("compose.yaml")}
	if p.options.Local {
		all = append(all, "--file", p.file("local/compose.yaml"))
	}
	all = append(all, "--file", p.folder.File("compose.yaml"), "--profile", "core")
	return process.RunTool(ctx, process.Command{Kind: process.Tool, Path: p.engine.docker,
		Args: append(all, args...), Env: p.environment()})
}

// find notes the container of each service.
func (p *Project) find(ctx context.Context) error {
	filters := make(client.Filters).Add("label", "com.docker.compose.project="+p.name)
	found, err := p.engine.api.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: filters})
	if err != nil {
		return fmt.Errorf("find the containers: %w", err)
	}
	for _, one := range found.Items {
		p.ids[one.Labels["com.docker.compose.service"]] = one.ID
	}
	return nil
}

// Container returns the container of a service as a Component of a name. serves asks the part
// itself over the network, and returns the part's version.
func (p *Project) Container(name, service string,
	serves func(ctx context.Context, c *Container) (version string, err error)) *Container {
	c := &Container{name: name, project: p, id: p.ids[service]}
	c.serves = func(ctx context.Context) (string, error) { return serves(ctx, c) }
	p.containers = append(p.containers, c)
	return c
}

// MongoKind is programs.Mongod, or with local images the stand-in's.
func (p *Project) MongoKind() string {
	if p.options.Local {
		return programs.SecantusRS
	}
	return programs.Mongod
}

// Notes are facts for every reader of the Project's numbers, a sentence each.
func (p *Project) Notes() []string {
	notes := []string{"every part is in a container, and consumer and Connect reach the others " +
		"through Toxiproxy alone, which costs time on each hop"}
	if p.options.Local {
		notes = append(notes, "the images are those of stack/compose/local, of this machine",
			programs.MongoNote(programs.SecantusRS))
	}
	return notes
}

// Close saves the containers' logs into the data folder, and removes containers, networks and
// volumes. With keep all stay, stopped.
func (p *Project) Close(ctx context.Context, keep bool) error {
	var failed []error
	for _, c := range p.containers {
		failed = append(failed, c.saveLog())
	}
	if keep {
		p.options.Say("kept: the containers and volumes of the Compose project " + p.name)
	} else {
		failed = append(failed, p.run(ctx, "down", "--volumes", "--remove-orphans", "--timeout",
			"0"))
	}
	p.end()
	if err := errors.Join(append(failed, p.engine.api.Close())...); err != nil {
		return fmt.Errorf("remove the containers of %s: %w", p.name, err)
	}
	return nil
}

// removeDead removes the Projects of labs whose data folder is gone.
func (e *Engine) removeDead(ctx context.Context) error {
	filters := make(client.Filters).Add("label", folderLabel)
	found, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return fmt.Errorf("look for the containers of dead labs: %w", err)
	}
	dead := map[string]bool{}
	for _, one := range found.Items {
		if _, err := os.Stat(one.Labels[folderLabel]); errors.Is(err, os.ErrNotExist) {
			dead[one.Labels["com.docker.compose.project"]] = true
		}
	}
	var failed []error
	for project := range dead {
		failed = append(failed, process.RunTool(ctx, process.Command{Kind: process.Tool,
			Path: e.docker, Args: []string{"compose", "--project-name", project, "down",
				"--volumes",
				"--remove-orphans", "--timeout", "0"}}))
	}
	return errors.Join(failed...)
}
