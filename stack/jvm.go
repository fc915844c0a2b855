package stack

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// jvmLeast is the oldest Java that Kafka 4 and Debezium 3.6 run on.
const jvmLeast = 17

//go:embed kafka/pom.xml
var jvmPOM []byte

// jvm is what the JVM parts run on: a Java, and the folder that kafka/pom.xml was fetched into.
type jvm struct {
	java     string
	dist     string
	versions jvmVersions
}

// jvmVersions are those that the pom pins.
type jvmVersions struct {
	Kafka    string `xml:"properties>kafka.version"`
	Debezium string `xml:"properties>debezium.version"`
	Sink     string `xml:"properties>mongo.sink.version"`
	Agent    string `xml:"properties>jmx.agent.version"`
}

// findJVM finds Java and fetches the JVM parts into the cache, unless they are there, whole and of
// the pinned versions.
func findJVM(ctx context.Context, cacheDir string, say func(string)) (*jvm, error) {
	j := &jvm{}
	if err := xml.Unmarshal(jvmPOM, &j.versions); err != nil {
		return nil, fmt.Errorf("read kafka/pom.xml: %w", err)
	}
	var err error
	if j.java, err = findJava(ctx); err != nil {
		return nil, err
	}
	// Another pom gets another folder: an older lab on this machine goes on working.
	sum := sha256.Sum256(jvmPOM)
	j.dist = filepath.Join(cacheDir, "jvm-"+j.versions.Debezium+"-"+hex.EncodeToString(sum[:4]))
	err = alone(ctx, j.dist, func() error {
		broken := j.check()
		if broken == nil {
			return nil
		}
		if !errors.Is(broken, fs.ErrNotExist) {
			say(broken.Error() + ": fetching it again")
		}
		return j.fetch(ctx, say)
	})
	if err != nil {
		return nil, fmt.Errorf("prepare Kafka and Debezium: %w", err)
	}
	return j, nil
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// findJava is the java of JAVA_HOME, else the one on PATH.
func findJava(ctx context.Context) (string, error) {
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	path, err := exec.LookPath(java)
	if err != nil {
		return "", fmt.Errorf("the native stack needs Java %d or newer (a JDK or JRE on PATH, or JAVA_HOME): %w",
			jvmLeast, err)
	}
	text, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w: %s", path, err, text)
	}
	found := javaVersion.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("ask %s for its version: it says %q", path, text)
	}
	if major, err := strconv.Atoi(string(found[1])); err != nil || major < jvmLeast {
		return "", fmt.Errorf("the native stack needs Java %d or newer; %s is %s", jvmLeast, path, found[1])
	}
	return path, nil
}

// The parts of dist.
func (j *jvm) libs() string    { return filepath.Join(j.dist, "libs") }
func (j *jvm) plugins() string { return filepath.Join(j.dist, "connect") }
func (j *jvm) agent() string {
	return filepath.Join(j.dist, "agents", "jmx_prometheus_javaagent-"+j.versions.Agent+".jar")
}

// wanted are files without which dist is not what the pom says.
func (j *jvm) wanted() []string {
	return []string{
		j.agent(),
		filepath.Join(j.libs(), "kafka_2.13-"+j.versions.Kafka+".jar"),
		filepath.Join(j.libs(), "connect-runtime-"+j.versions.Kafka+".jar"),
		filepath.Join(j.plugins(), "debezium-connector-postgres",
			"debezium-connector-postgres-"+j.versions.Debezium+".jar"),
		filepath.Join(j.plugins(), "mongo-kafka-connect", "mongo-kafka-connect-"+j.versions.Sink+"-all.jar"),
	}
}

// manifest is written last: sizes by path of everything that was fetched.
func (j *jvm) manifest() string { return filepath.Join(j.dist, "fetched.json") }

// check is nil when dist is as it was fetched; fs.ErrNotExist is one that was never fetched whole.
func (j *jvm) check() error {
	text, err := os.ReadFile(j.manifest())
	if err != nil {
		return err
	}
	var fetched map[string]int64
	if err := json.Unmarshal(text, &fetched); err != nil {
		return fmt.Errorf("%s: %w", j.manifest(), err)
	}
	found, err := j.sizes()
	if err != nil {
		return err
	}
	for name, size := range fetched {
		if found[name] != size {
			return fmt.Errorf("%s has %d bytes, was fetched with %d", filepath.Join(j.dist, name), found[name], size)
		}
	}
	return nil
}

func (j *jvm) sizes() (map[string]int64, error) {
	sizes := map[string]int64{}
	err := filepath.WalkDir(j.dist, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == j.manifest() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(j.dist, path)
		sizes[name] = info.Size()
		return err
	})
	return sizes, err
}

func (j *jvm) fetch(ctx context.Context, say func(string)) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("mvn is not on PATH: install Maven (https://maven.apache.org), which fetches "+
			"Kafka %s and Debezium %s once: %w", j.versions.Kafka, j.versions.Debezium, err)
	}
	say(fmt.Sprintf("fetching Kafka %s and Debezium %s with mvn into %s (once, 90 MB)", j.versions.Kafka, j.versions.Debezium, j.dist))
	if err := os.RemoveAll(j.dist); err != nil {
		return err
	}
	if err := os.MkdirAll(j.dist, 0o755); err != nil {
		return err
	}
	pom := filepath.Join(j.dist, "pom.xml")
	if err := os.WriteFile(pom, jvmPOM, 0o644); err != nil {
		return err
	}
	if err := runTool(ctx, mvn, "-B", "-q", "-f", pom, "-Ddist="+j.dist, "process-resources"); err != nil {
		return err
	}
	for _, path := range j.wanted() {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("mvn ended well, but: %w", err)
		}
	}
	if err := announceSink(filepath.Join(j.plugins(), "mongo-kafka-connect", "services.jar")); err != nil {
		return err
	}
	sizes, err := j.sizes()
	if err != nil {
		return err
	}
	text, err := json.Marshal(sizes)
	if err != nil {
		return err
	}
	return os.WriteFile(j.manifest(), text, 0o644)
}

// announceSink writes the service manifest that MongoDB's sink connector lacks: without one,
// Connect's service_load does not see it.
func announceSink(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	jar := zip.NewWriter(file)
	entry, err := jar.Create("META-INF/services/org.apache.kafka.connect.sink.SinkConnector")
	if err == nil {
		_, err = entry.Write([]byte("com.mongodb.kafka.connect.MongoSinkConnector\n"))
	}
	return errors.Join(err, jar.Close(), file.Close())
}

// javaFlags suit small heaps on a machine that is shared with the load.
var javaFlags = []string{"-XX:+UseSerialGC", "-Xss512k", "-Xms64m", "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true"}

// command runs a main class of dist with a heap such as "256m". The agent serves its metrics at
// agentAddress by rules, which is a file; "" is no agent.
func (j *jvm) command(heap, log4j, agentAddress, rules, class string, args ...string) command {
	flags := append([]string{"-Xmx" + heap, "-Dlog4j2.configurationFile=" + log4j}, javaFlags...)
	if agentAddress != "" {
		flags = append(flags, fmt.Sprintf("-javaagent:%s=%s:%s", j.agent(), agentAddress, rules))
	}
	flags = append(flags, "-cp", j.libs()+string(filepath.Separator)+"*", class)
	return command{path: j.java, args: append(flags, args...)}
}
