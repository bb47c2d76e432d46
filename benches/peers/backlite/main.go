// Backlite under the load of the benchmark: see benches/README.md for what each phase is.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"github.com/mikestefanello/backlite"
)

type arguments struct {
	dir, durability                           string
	jobs, batch, workers, singles, submitters int
}

// Noop carries 100 bytes.
type Noop struct {
	Payload string
}

// Config keeps what has been completed, as the other participants do.
func (Noop) Config() backlite.QueueConfig {
	return backlite.QueueConfig{Name: "noop", MaxAttempts: 1, Retention: &backlite.Retention{Duration: time.Hour}}
}

func main() {
	var a arguments
	flag.StringVar(&a.dir, "dir", "", "a folder for the files of this run")
	flag.StringVar(&a.durability, "durability", "FULL", "FULL or NORMAL")
	flag.IntVar(&a.jobs, "jobs", 1000, "jobs")
	flag.IntVar(&a.batch, "batch", 100, "jobs in one bulk insert")
	// The library sleeps for 100 ms whenever no worker is free, so many workers help: 2,000 did best of 10, 100, 500 and
	// 2,000.
	flag.IntVar(&a.workers, "workers", 2000, "goroutines that run jobs; the library fetches as many as are free")
	flag.IntVar(&a.singles, "singles", 1000, "jobs enqueued one by one")
	flag.IntVar(&a.submitters, "submitters", 64, "goroutines that enqueue them")
	flag.Parse()
	if err := run(context.Background(), a); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, a arguments) error {
	level, known := map[string]int{"FULL": 2, "NORMAL": 1}[a.durability]
	if !known {
		return fmt.Errorf("no durability %q", a.durability)
	}
	payload := strings.Repeat("x", 100)
	singleRate, err := enqueueSingly(a, payload)
	if err != nil {
		return err
	}

	var ran atomic.Int64
	db, client, err := open(a, "jobs.db", &ran)
	if err != nil {
		return err
	}
	defer db.Close()
	started := time.Now()
	for first := 0; first < a.jobs; first += a.batch {
		batch := make([]backlite.Task, min(a.batch, a.jobs-first))
		for i := range batch {
			batch[i] = Noop{payload}
		}
		if _, err := client.Add(batch...).Save(); err != nil {
			return err
		}
	}
	enqueued := time.Since(started)

	started = time.Now()
	client.Start(ctx)
	for ran.Load() < int64(a.jobs) {
		if time.Since(started) > 10*time.Minute {
			return fmt.Errorf("only %d of %d jobs ran", ran.Load(), a.jobs)
		}
		time.Sleep(time.Millisecond)
	}
	// A graceful stop waits for the last completions to be committed.
	stopping, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if !client.Stop(stopping) {
		return fmt.Errorf("the last jobs did not complete")
	}
	worked := time.Since(started)
	var completed int
	if err := db.QueryRow("SELECT count(*) FROM backlite_tasks_completed WHERE succeeded = 1").Scan(&completed); err != nil {
		return err
	}
	if completed != a.jobs || ran.Load() != int64(a.jobs) {
		return fmt.Errorf("%d attempts ran and %d completed of %d jobs", ran.Load(), completed, a.jobs)
	}
	synchronous, journal, err := settings(db)
	if err != nil {
		return err
	}
	if synchronous != level || journal != "wal" {
		return fmt.Errorf("synchronous is %d, the journal %s", synchronous, journal)
	}
	jobs := float64(a.jobs)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"peer": "backlite", "version": "0.6.0", "durability": a.durability,
		"synchronous": synchronous, "journal": journal, "jobs": a.jobs, "ran": ran.Load(),
		"bulk_per_second":       jobs / enqueued.Seconds(),
		"single_per_second":     singleRate,
		"worked_per_second":     jobs / worked.Seconds(),
		"end_to_end_per_second": jobs / (enqueued + worked).Seconds(),
	})
}

// open follows the library's readme, but for one connection: with several, its writers find the file locked and repeat.
func open(a arguments, file string, ran *atomic.Int64) (*sql.DB, *backlite.Client, error) {
	path := filepath.Join(a.dir, file)
	db, err := sql.Open("sqlite3", path+"?_journal=WAL&_timeout=5000&_synchronous="+a.durability)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	client, err := backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: a.workers, ReleaseAfter: time.Hour})
	if err != nil {
		return nil, nil, err
	}
	if err := client.Install(); err != nil {
		return nil, nil, err
	}
	client.Register(backlite.NewQueue(func(_ context.Context, task Noop) error {
		if len(task.Payload) != 100 {
			return fmt.Errorf("payload of %d bytes", len(task.Payload))
		}
		ran.Add(1)
		return nil
	}))
	return db, client, nil
}

func enqueueSingly(a arguments, payload string) (float64, error) {
	var ran atomic.Int64
	db, client, err := open(a, "singles.db", &ran)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	var next atomic.Int64
	failures := make(chan error, a.submitters)
	var group sync.WaitGroup
	started := time.Now()
	for range a.submitters {
		group.Go(func() {
			for next.Add(1) <= int64(a.singles) {
				if _, err := client.Add(Noop{payload}).Save(); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	elapsed := time.Since(started)
	select {
	case err := <-failures:
		return 0, err
	default:
		return float64(a.singles) / elapsed.Seconds(), nil
	}
}

func settings(db *sql.DB) (synchronous int, journal string, err error) {
	if err = db.QueryRow("PRAGMA synchronous").Scan(&synchronous); err != nil {
		return
	}
	err = db.QueryRow("PRAGMA journal_mode").Scan(&journal)
	return
}
