//! One API for tasks and workflows on any task queue.
