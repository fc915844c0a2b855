# The face of the lab. Every recipe is one line and has no logic, so ./just can read it without just.
set positional-arguments := true

# list the recipes
default:
    @just --list

# measure: ./just bench baseline | smoke | selftest; ./just bench -h lists the flags
[no-exit-message]
bench *args:
    @go build -o bin/cdclab . && bin/cdclab bench "$@"

# everything CI checks: build, vet, staticcheck, the house rules, tests with the race detector, a smoke bench
test *args:
    go build ./... && go vet ./... && go tool staticcheck ./... && go test -race -run '^$' ./... > /dev/null && go test -race -p 1 -timeout 40m "$@" ./...

# install the fast MongoDB stand-in and PostgreSQL into the user's cache, once (about 6 minutes)
fetch:
    @go run . fetch

# bring a stack up and hold it until Ctrl-C, or ./just down from elsewhere
up *args:
    @go run . up "$@"

# end the stack that `up` holds
down:
    @go run . down

# compare two runs: ./just compare runs/A/run.json runs/B/run.json
[no-exit-message]
compare *args:
    @go build -o bin/cdclab . && bin/cdclab compare "$@"

# fuzz each decoder of outside input for a minute
fuzz:
    go test -run '^$' -fuzz FuzzDecode -fuzztime 60s ./consumer/debezium && go test -run '^$' -fuzz FuzzEncode -fuzztime 60s -fuzzminimizetime 1x ./consumer/entity && go test -run '^$' -fuzz FuzzApply -fuzztime 60s -fuzzminimizetime 1x ./consumer && go test -run '^$' -fuzz FuzzReadRecording -fuzztime 60s -fuzzminimizetime 1x ./consumer && go test -run '^$' -fuzz FuzzLetterHeaders -fuzztime 60s -fuzzminimizetime 1x ./consumer && go test -run '^$' -fuzz FuzzPlan -fuzztime 60s ./chaos && go test -run '^$' -fuzz FuzzDecode -fuzztime 60s ./reports && go test -run '^$' -fuzz FuzzValue -fuzztime 60s ./stack/connector && go test -run '^$' -fuzz FuzzInEvent -fuzztime 60s ./xk6-cdc && go test -run '^$' -fuzz FuzzRead -fuzztime 60s ./xk6-cdc/ledger

# the consumer's properties on 10,000 histories each, instead of the 500 of ./just test
properties:
    go test -timeout 60m ./consumer ./consumer/entity -run 'Invariant|Interleaving|Sequential|Legal' -rapid.checks=10000

# what the consumer costs: decoding, a topic to a server that only acknowledges, each server that is there, memory over 5 million events
speed:
    go test -run '^$' -bench Decode ./consumer/debezium && go test -run '^$' -bench 'Apply|Drain|Memory' -benchtime 1x -timeout 60m ./consumer

# break the consumer under load, each time with the table check: killed once, slowed down, killed every 3 s, frozen beside a second one
chaos:
    go build -o bin/cdclab . && bin/cdclab bench smoke --chaos chaos/plans/consumer-kill.yaml && bin/cdclab bench smoke --chaos chaos/plans/mongo-latency.yaml && bin/cdclab bench smoke --chaos chaos/plans/consumer-kill-loop.yaml && bin/cdclab bench smoke --chaos chaos/plans/consumer-stop.yaml

# the proofs with real Kafka, Connect and Debezium (Java 17, mvn): the stack, conformance, its parts killed under load
native:
    CDCLAB_NATIVE=1 go test -timeout 40m ./stack ./experiments . -run 'Native|Conformance|Stories/native' && go build -o bin/cdclab . && bin/cdclab bench baseline --stack native --rate 500 && bin/cdclab bench smoke --stack native --chaos chaos/plans/source-kills.yaml

# the proofs with a real Prometheus (built once, some minutes): what k6's outputs bring to it, the lag that it sees
prometheus:
    go run . fetch prometheus && go test -v -run Prometheus ./stack ./xk6-cdc ./experiments
