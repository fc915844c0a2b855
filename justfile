# The face of the lab. Every recipe is one line and has no logic, so ./just can read it without just.
set positional-arguments := true
# where the caller stands: files named there are meant from there
export CDCLAB_FROM := invocation_directory()

# list the recipes
default:
    @just --list

# measure: ./just bench baseline | smoke | selftest; ./just bench -h lists the flags
[no-exit-message]
bench *args:
    @go build -o bin/cdclab . && root=$PWD && cd "$CDCLAB_FROM" && exec "$root/bin/cdclab" bench "$@"

# everything CI checks: build, vet, staticcheck, the house rules, tests with the race detector, a smoke bench
test *args:
    go run ./stack/servertest/skips --begin bin/skipped.jsonl && go build ./... ./xk6-cdc/... && go vet ./... ./xk6-cdc/... && go tool staticcheck ./... ./xk6-cdc/... && go test -race -run '^$' ./... ./xk6-cdc/... > /dev/null && CDCLAB_SKIPPED="$PWD/bin/skipped.jsonl" go test -race -p 1 -count=1 -timeout 40m "$@" ./... ./xk6-cdc/... && go run ./stack/servertest/skips bin/skipped.jsonl

# install the fast MongoDB stand-in and PostgreSQL into the user's cache, once (about 6 minutes); ./just fetch mongod: MongoDB itself
[no-exit-message]
fetch *args:
    @go build -o bin/cdclab . && root=$PWD && cd "$CDCLAB_FROM" && exec "$root/bin/cdclab" fetch "$@"

# bring a stack up and hold it until Ctrl-C, or ./just down from elsewhere
up *args:
    @go build -o bin/cdclab . && root=$PWD && cd "$CDCLAB_FROM" && exec "$root/bin/cdclab" up "$@"

# end the stack that `up` holds
down:
    @go build -o bin/cdclab . && exec bin/cdclab down

# the pipeline in containers: ./just compose (brings it up), ./just compose ps, ./just compose down --volumes
[no-exit-message]
compose *args:
    @go build -o bin/cdclab . && exec bin/cdclab compose "$@"

# compare two runs: ./just compare runs/A/run.json runs/B/run.json
[no-exit-message]
compare *args:
    @go build -o bin/cdclab . && root=$PWD && cd "$CDCLAB_FROM" && exec "$root/bin/cdclab" compare "$@"

# fuzz each decoder of outside input for a minute, then the consumer's properties on 10,000 histories each, instead of the 500 of ./just test
fuzz:
    go test -run '^$' -fuzz FuzzDecode -fuzztime 60s ./consumer/debezium && go test -run '^$' -fuzz FuzzEncode -fuzztime 60s -fuzzminimizetime 1x ./consumer/encode && go test -run '^$' -fuzz FuzzApply -fuzztime 60s -fuzzminimizetime 1x ./consumer/apply && go test -run '^$' -fuzz FuzzWork -fuzztime 60s -fuzzminimizetime 1x ./consumer/apply && go test -run '^$' -fuzz FuzzReadRecording -fuzztime 60s -fuzzminimizetime 1x ./consumer/recording && go test -run '^$' -fuzz FuzzLetterHeaders -fuzztime 60s -fuzzminimizetime 1x ./consumer/deadletter && go test -run '^$' -fuzz FuzzPlan -fuzztime 60s ./chaos && go test -run '^$' -fuzz FuzzDecode -fuzztime 60s ./reports && go test -run '^$' -fuzz FuzzDecodeResult -fuzztime 60s ./reports/gate && go test -run '^$' -fuzz FuzzBlocks -fuzztime 60s ./reports/histogram && go test -run '^$' -fuzz FuzzRender -fuzztime 60s ./reports/render && go test -run '^$' -fuzz FuzzValue -fuzztime 60s ./stack/connector && go test -run '^$' -fuzz FuzzInEvent -fuzztime 60s ./xk6-cdc/tracker && go test -run '^$' -fuzz FuzzRead -fuzztime 60s ./ledger && go test -timeout 60m ./consumer/apply ./consumer/encode -run 'Invariant|Interleaving|Sequential|Legal' -rapid.checks=10000

# what the consumer costs: decoding, a topic to a server that only acknowledges, each server that is there, memory over 5 million events
speed:
    go test -run '^$' -bench Decode ./consumer/debezium && go test -run '^$' -bench 'Apply|Drain|Memory' -benchtime 1x -timeout 60m ./consumer

# break every part under load, each time with the table check: every fault of the table on an embedded stack, the planted bugs, the plans, a plan that is drawn
chaos:
    CDCLAB_CHAOS=1 go test -timeout 40m -run TestLabFaults ./chaos && CDCLAB_PLANTED=1 go test -v -timeout 60m ./chaos/planted && go build -o bin/cdclab . && bin/cdclab bench smoke --chaos chaos/plans/network.yaml && bin/cdclab bench smoke --chaos chaos/plans/database.yaml && bin/cdclab bench smoke --chaos chaos/plans/group.yaml && bin/cdclab chaos random --seed 1 --minutes 3 && bin/cdclab bench smoke --chaos chaos/plans/consumer-kill.yaml && bin/cdclab bench smoke --chaos chaos/plans/mongo-latency.yaml && bin/cdclab bench smoke --chaos chaos/plans/consumer-kill-loop.yaml && bin/cdclab bench smoke --chaos chaos/plans/consumer-stop.yaml

# the proofs with real Kafka, Connect and Debezium (Java 17, mvn): the stack, conformance, its parts killed under load
native:
    CDCLAB_NATIVE=1 go test -timeout 40m ./stack ./experiments/... . -run 'Native|Components|Conformance|Stories/native' && go build -o bin/cdclab . && bin/cdclab bench baseline --stack native --rate 500 && bin/cdclab bench smoke --stack native --chaos chaos/plans/source-kills.yaml

# the proofs with a real Prometheus, Alertmanager and OpenTelemetry Collector (built once, 15 minutes): k6's outputs, the lag, every alert's rule, every configuration, every panel's query
prometheus:
    go run . fetch observers && CDCLAB_OBSERVERS=1 go test -v -timeout 30m -run 'Prometheus|Observers' ./stack/... ./xk6-cdc ./experiments

# the tool xk6 builds a k6 by the README's line, and that k6 runs smoke.js (about 7 minutes the first time, then one)
extension:
    CDCLAB_XK6=1 go test -v -timeout 30m . -run Stories/xk6

# known faults in the modules and in Go itself that the code reaches; the command fails with the reason where vuln.go.dev is out of reach
vulnerabilities:
    go tool govulncheck ./... ./xk6-cdc/...
