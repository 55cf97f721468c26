// FerretDB for the tests: the protocol of MongoDB over SQLite files, in one process that asks nothing of any other host.
//
//	ferretdb 127.0.0.1:0 FOLDER
//
// Prints `listening on mongodb://127.0.0.1:PORT/` once it listens, and ends on SIGTERM. What it has to complain of goes to
// standard error.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: ferretdb ADDRESS:PORT FOLDER")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(address, folder string) error {
	// Each command would be a line, and each duplicate key a warning.
	logger := slog.New(plain{slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})})
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: address},
		Logger:    logger,
		Handler:   "sqlite",
		SQLiteURL: "file:" + folder + "/",
	})
	if err != nil {
		return err
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	go func() {
		// Waits until Run listens; with port 0 the address is known only then.
		fmt.Printf("listening on %s\n", server.MongoDBURI())
	}()
	return server.Run(stop)
}

// plain leaves out what is said of whole loggers: each command makes one, and writing that down ahead, for lines that nobody
// sees, would be a sixth of all its work.
type plain struct{ slog.Handler }

func (p plain) WithAttrs([]slog.Attr) slog.Handler { return p }

func (p plain) WithGroup(string) slog.Handler { return p }
