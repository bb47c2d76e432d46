//! What the macros expand to.
