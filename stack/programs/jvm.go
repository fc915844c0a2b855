package programs

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/cdclab/cdclab/stack/process"
)

// jvmLeast is the oldest Java for Kafka 4 and Debezium 3.6.
const jvmLeast = 17

//go:embed pom.xml
var jvmPOM []byte

// JVM runs the JVM parts: a Java, and the folder with everything fetched by pom.xml.
type JVM struct {
	java     string
	Dist     string
	Versions jvmVersions
}

// jvmVersions are the versions pinned by the pom.
type jvmVersions struct {
	Kafka    string `xml:"properties>kafka.version"`
	Debezium string `xml:"properties>debezium.version"`
	Sink     string `xml:"properties>mongo.sink.version"`
	Agent    string `xml:"properties>jmx.agent.version"`
}

// KafkaVersion is the version of Kafka that pom.xml pins.
func KafkaVersion() (string, error) {
	var pinned jvmVersions
	if err := xml.Unmarshal(jvmPOM, &pinned); err != nil {
		return "", fmt.Errorf("read pom.xml: %w", err)
	}
	return pinned.Kafka, nil
}

// FindJVM finds Java and fetches the JVM parts into the cache, unless all are there, whole and of
// the pinned versions.
func FindJVM(ctx context.Context, cacheDir string, say func(string)) (*JVM, error) {
	j := &JVM{}
	if err := xml.Unmarshal(jvmPOM, &j.Versions); err != nil {
		return nil, fmt.Errorf("read pom.xml: %w", err)
	}
	var err error
	if j.java, err = findJava(ctx); err != nil {
		return nil, err
	}
	// Another pom gets another folder: an older lab on this machine goes on working.
	sum := sha256.Sum256(jvmPOM)
	j.Dist = filepath.Join(cacheDir, "jvm-"+j.Versions.Debezium+"-"+hex.EncodeToString(sum[:4]))
	err = process.Alone(ctx, j.Dist, func() error {
		broken := checkWhole(j.Dist)
		if broken == nil {
			return nil
		}
		if !errors.Is(broken, fs.ErrNotExist) && !errors.Is(broken, errUnsealed) {
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

// findJava returns the java of JAVA_HOME, else the java on PATH.
func findJava(ctx context.Context) (string, error) {
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	path, err := exec.LookPath(java)
	if err != nil {
		return "", fmt.Errorf("the native stack needs Java %d or newer "+
			"(a JDK or JRE on PATH, or JAVA_HOME): %w", jvmLeast, err)
	}
	text, err := process.NewCommand(ctx, process.Server, nil, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w: %s", path, err, text)
	}
	found := javaVersion.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("ask %s for its version: it says %q", path, text)
	}
	if major, err := strconv.Atoi(string(found[1])); err != nil || major < jvmLeast {
		return "", fmt.Errorf("the native stack needs Java %d or newer; %s is %s", jvmLeast, path,
			found[1])
	}
	return path, nil
}

// The parts of dist.
func (j *JVM) libs() string    { return filepath.Join(j.Dist, "libs") }
func (j *JVM) plugins() string { return filepath.Join(j.Dist, "connect") }
func (j *JVM) agent() string {
	return filepath.Join(j.Dist, "agents", "jmx_prometheus_javaagent-"+j.Versions.Agent+".jar")
}

func (j *JVM) fetch(ctx context.Context, say func(string)) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("mvn is not on PATH: install Maven (https://maven.apache.org), "+
			"which fetches Kafka %s and Debezium %s once: %w",
			j.Versions.Kafka, j.Versions.Debezium, err)
	}
	say(fmt.Sprintf("fetching Kafka %s and Debezium %s with mvn into %s (once, 90 MB)",
		j.Versions.Kafka, j.Versions.Debezium, j.Dist))
	if err := os.RemoveAll(j.Dist); err != nil {
		return err
	}
	if err := os.MkdirAll(j.Dist, 0o755); err != nil {
		return err
	}
	pom := filepath.Join(j.Dist, "pom.xml")
	if err := os.WriteFile(pom, jvmPOM, 0o644); err != nil {
		return err
	}
	build := process.Command{Kind: process.Tool, Path: mvn, Args: []string{"-B", "-q",
		"--strict-checksums", "-f", pom, "-Ddist=" + j.Dist, "process-resources"}}
	if err := process.RunTool(ctx, build); err != nil {
		return err
	}
	if err := j.checkFetched(); err != nil {
		return err
	}
	if err := j.unpackConnector(); err != nil {
		return err
	}
	services := filepath.Join(j.plugins(), "mongo-kafka-connect", "services.jar")
	if err := announceSink(services); err != nil {
		return err
	}
	return seal(j.Dist)
}

// checkFetched wants exactly the files of sums.txt, before any of the files is unpacked or run.
func (j *JVM) checkFetched() error {
	fetched, err := fileSizes(j.Dist)
	if err != nil {
		return err
	}
	delete(fetched, "pom.xml")
	for name := range fetched {
		err := checkFile(filepath.Join(j.Dist, name), "jvm/"+filepath.ToSlash(name))
		if err != nil {
			return err
		}
	}
	for name := range sumsOf("jvm/") {
		if _, there := fetched[filepath.FromSlash(name)]; !there {
			return fmt.Errorf("mvn ended well, but did not bring %s", name)
		}
	}
	return nil
}

// unpackConnector puts Debezium's connector in the place of its archive.
func (j *JVM) unpackConnector() error {
	archive := filepath.Join(j.plugins(),
		"debezium-connector-postgres-"+j.Versions.Debezium+"-plugin.tar.gz")
	const connector = "debezium-connector-postgres" // the only folder of the archive
	unpacked := filepath.Join(j.plugins(), "unpacked")
	return errors.Join(unpackGzip(archive, unpacked),
		os.Rename(filepath.Join(unpacked, connector), filepath.Join(j.plugins(), connector)),
		os.RemoveAll(unpacked), os.Remove(archive))
}

// announceSink writes the missing service manifest of MongoDB's sink connector: without a manifest,
// Connect's service_load does not see the connector.
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

// javaFlags suit small heaps on a machine shared with the load.
var javaFlags = []string{"-XX:+UseSerialGC", "-Xss512k", "-Xms64m",
	"-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true"}

// Command runs a main class of dist with a heap such as "256m". The agent serves the metrics at
// agentAddress by rules, a file; "" is no agent.
func (j *JVM) Command(
	heap, log4j, agentAddress, rules, class string, args ...string,
) process.Command {
	flags := append([]string{"-Xmx" + heap, "-Dlog4j2.configurationFile=" + log4j}, javaFlags...)
	if agentAddress != "" {
		flags = append(flags, fmt.Sprintf("-javaagent:%s=%s:%s", j.agent(), agentAddress, rules))
	}
	flags = append(flags, "-cp", j.libs()+string(filepath.Separator)+"*", class)
	return process.Command{Path: j.java, Args: append(flags, args...)}
}
