//! Where log lines go: to standard error, never among the results.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::terminal::Terminal;
use crate::abstraction::codes;
use crate::config::{LogConfig, LogFormat};
use crate::{Error, Result};

/// What else may listen to what is logged.
pub(super) type OtherLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging. What a user's own binary has set up before stays.
pub(super) fn start(
    filter: &str,
    format: LogFormat,
    terminal: Terminal,
    other: Option<OtherLayer>,
) -> Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|source| {
        Error::new(&codes::CONFIG_VALUE, "start logging", "the filter cannot be read")
            .caused_by(source)
            .hint("a filter is a level such as `info`, or a list such as `warn,taskport=debug`")
    })?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(terminal.color).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
    };
    let mut layers = vec![lines];
    layers.extend(other);
    let _set_before = tracing_subscriber::registry().with(layers).try_init();
    Ok(())
}

/// What commands log that look or act once: trouble only, unless the user says otherwise.
pub(super) fn quiet() -> LogConfig {
    LogConfig { filter: "warn".to_owned(), ..LogConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logging_starts_on_a_terminal_with_colors() {
        start("warn", LogFormat::Text, Terminal { color: true, live: true }, None).unwrap();
    }
}
