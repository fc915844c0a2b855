// Command toxiproxy is a Toxiproxy that also counts the bytes of open connections: the program of
// the container between the parts of a compose stack. Start reading at main.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cdclab/cdclab/stack/proxy"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8474", "`address` of Toxiproxy's API")
	config := flag.String("config", "", "`file` of the proxies, in Toxiproxy's format")
	flag.Parse()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		os.Exit(0)
	}()
	if err := proxy.Serve(*listen, *config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
