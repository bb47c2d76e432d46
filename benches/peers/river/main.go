// River on SQLite under the load of the benchmark: see benches/README.md for what each phase is.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

type arguments struct {
	dir, durability                           string
	jobs, batch, workers, singles, submitters int
}

// Noop carries 100 bytes.
type Noop struct {
	Payload string `json:"payload"`
}

func (Noop) Kind() string { return "noop" }

type noopWorker struct {
	river.WorkerDefaults[Noop]
	ran *atomic.Int64
}

func (w *noopWorker) Work(_ context.Context, job *river.Job[Noop]) error {
	if len(job.Args.Payload) != 100 {
		return fmt.Errorf("payload of %d bytes", len(job.Args.Payload))
	}
	w.ran.Add(1)
	return nil
}

func main() {
	var a arguments
	flag.StringVar(&a.dir, "dir", "", "a folder for the files of this run")
	flag.StringVar(&a.durability, "durability", "FULL", "FULL or NORMAL")
	flag.IntVar(&a.jobs, "jobs", 1000, "jobs")
	flag.IntVar(&a.batch, "batch", 100, "jobs in one bulk insert")
	// 500 did best of 100, 500, 2,000 (what River's own benchmark uses) and 5,000, by a little.
	flag.IntVar(&a.workers, "workers", 500, "jobs that run at once")
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
	singleRate, err := enqueueSingly(ctx, a, payload)
	if err != nil {
		return err
	}

	db, client, ran, err := open(ctx, a, "jobs.db")
	if err != nil {
		return err
	}
	defer db.Close()
	started := time.Now()
	for first := 0; first < a.jobs; first += a.batch {
		batch := make([]river.InsertManyParams, min(a.batch, a.jobs-first))
		for i := range batch {
			batch[i] = river.InsertManyParams{Args: Noop{payload}}
		}
		if _, err := client.InsertManyFast(ctx, batch); err != nil {
			return err
		}
	}
	enqueued := time.Since(started)

	// An event is sent once the job's completion is committed.
	events, cancel := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: a.jobs + 1,
		Kinds:    []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed},
	})
	defer cancel()
	started = time.Now()
	if err := client.Start(ctx); err != nil {
		return err
	}
	limit := time.After(10 * time.Minute)
	for done := 0; done < a.jobs; done++ {
		select {
		case event := <-events:
			if event.Kind != river.EventKindJobCompleted {
				return fmt.Errorf("job %d failed", event.Job.ID)
			}
		case <-limit:
			return fmt.Errorf("only %d of %d jobs ended", done, a.jobs)
		}
	}
	worked := time.Since(started)
	if err := client.Stop(ctx); err != nil {
		return err
	}
	if n := ran.Load(); n != int64(a.jobs) {
		return fmt.Errorf("%d attempts ran for %d jobs", n, a.jobs)
	}
	var completed int
	if err := db.QueryRow("SELECT count(*) FROM river_job WHERE state = 'completed'").Scan(&completed); err != nil {
		return err
	}
	if completed != a.jobs {
		return fmt.Errorf("%d of %d jobs are completed in the file", completed, a.jobs)
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
		"peer": "river", "version": "0.49.0", "durability": a.durability,
		"synchronous": synchronous, "journal": journal, "jobs": a.jobs, "ran": ran.Load(),
		"bulk_per_second":       jobs / enqueued.Seconds(),
		"single_per_second":     singleRate,
		"worked_per_second":     jobs / worked.Seconds(),
		"end_to_end_per_second": jobs / (enqueued + worked).Seconds(),
	})
}

// open makes a database as River's documentation has it for SQLite: one connection, in WAL mode, through the C library.
// Fetches follow each other as fast as River allows (1 ms).
func open(ctx context.Context, a arguments, file string) (*sql.DB, *river.Client[*sql.Tx], *atomic.Int64, error) {
	path := filepath.Join(a.dir, file)
	db, err := sql.Open("sqlite3", path+"?_journal=WAL&_timeout=5000&_synchronous="+a.durability)
	if err != nil {
		return nil, nil, nil, err
	}
	db.SetMaxOpenConns(1)
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, nil, nil, err
	}
	ran := &atomic.Int64{}
	workers := river.NewWorkers()
	river.AddWorker(workers, &noopWorker{ran: ran})
	client, err := river.NewClient(driver, &river.Config{
		FetchCooldown:     time.Millisecond,
		FetchPollInterval: 2 * time.Millisecond,
		Logger:            slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: a.workers}},
		Workers:           workers,
	})
	return db, client, ran, err
}

func enqueueSingly(ctx context.Context, a arguments, payload string) (float64, error) {
	db, client, _, err := open(ctx, a, "singles.db")
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
				if _, err := client.Insert(ctx, Noop{payload}, nil); err != nil {
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
