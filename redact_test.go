package main

import (
	"slices"
	"testing"
)

func TestRedact(t *testing.T) {
	for arg, want := range map[string]string{
		"postgres://lab:geheim@db.example.org/shop":                         "postgres://lab:xxxxx@db.example.org/shop",
		"--postgres=postgres://lab:ge@heim,:x@db,db2:5433/shop?sslmode=off": "--postgres=postgres://lab:xxxxx@db,db2:5433/shop?sslmode=off",
		"postgres://lab@db.example.org/shop":                                "postgres://lab@db.example.org/shop",
		"postgres://db/shop?user=lab&password=geheim&sslmode=off":           "postgres://db/shop?user=lab&password=xxxxx",
		"mongodb+srv://lab:geheim@one,two:27018/?replicaSet=rs0":            "mongodb+srv://lab:xxxxx@one,two:27018/?replicaSet=rs0",
		"http://one:9090/metrics,http://lab:geheim@two:9090/metrics":        "http://one:9090/metrics,http://lab:xxxxx@two:9090/metrics",
		"host=db user=lab password=geheim dbname=shop":                      "host=db user=lab password=xxxxx dbname=shop",
		`host=db PASSWORD = 'ge \' heim' dbname=shop`:                       "host=db PASSWORD = xxxxx dbname=shop",
		`password=ge\ heim&x sslpassword=geheim host=db`:                    `password=xxxxx sslpassword=xxxxx host=db`,
		"connection.password=geheim":                                        "connection.password=xxxxx",
		"--rate":                                                            "--rate",
		"kafka.example.org:9092":                                            "kafka.example.org:9092",
		"/home/lab:1/a@b":                                                   "/home/lab:1/a@b",
	} {
		given := []string{"cdclab", arg}
		if got := redact(given); !slices.Equal(got, []string{"cdclab", want}) {
			t.Errorf("%s: kept as %q, want %s", arg, got, want)
		}
		if given[1] != arg {
			t.Errorf("%s: the argument itself is now %s", arg, given[1])
		}
	}
}
