//! Sends spans to an OpenTelemetry collector, by OTLP over HTTP.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter, SpanLimits,
};
use taskport_abstraction::{Error, Result, codes};
use tokio::time::Instant;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::{EXPORT_FAILURES, SPANS_EXPORTED};
use crate::config::{Loaded, Variables};

/// How long what is left may take to leave when the program ends.
const FLUSH_TIME: Duration = Duration::from_secs(5);
/// How often a failing collector is worth a line in the log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Spans on their way to a collector, for the life of a program.
///
/// A program with a `tracing` subscriber of its own adds [`layer`](Self::layer) to it; [`taskport::main`](crate::main)
/// does all of this by itself.
///
/// # Delivery
/// Spans wait in a bounded queue and leave in batches on a thread of their own. What does not fit or is not taken is lost,
/// logged once a minute and counted; no job waits for it or fails by it.
#[derive(Debug)]
#[must_use = "spans that have not left when this is dropped are lost"]
pub struct SpanExport {
    provider: SdkTracerProvider,
}

impl SpanExport {
    /// Starts the export, where `[telemetry]` or the standard variables name a collector.
    ///
    /// # Errors
    /// `InvalidConfig` (E-020, E-021) for an address, a header or a number that cannot be used.
    pub fn start(loaded: &Loaded) -> Result<Option<Self>> {
        let Some(settings) = Settings::read(loaded)? else { return Ok(None) };
        // The client has a runtime of its own, which may not be started inside another.
        let exporter = thread::spawn(move || settings.exporter().map(|exporter| (exporter, settings)));
        let (exporter, settings) =
            exporter.join().map_err(|_| broken("the exporter cannot be started"))??;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(settings.queue_max)
            .with_max_export_batch_size(settings.batch_max.min(settings.queue_max))
            .with_scheduled_delay(settings.delay)
            .build();
        let processor = BatchSpanProcessor::builder(Counted { exporter, complained_at: Mutex::default() })
            .with_batch_config(batches)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(settings.sampler)
            .with_span_limits(SpanLimits::default())
            .with_resource(settings.resource)
            .build();
        Ok(Some(Self { provider }))
    }

    /// What hands the spans of a subscriber to the export: ours, and those of the program at level `info` and above.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        // What exports must not be exported.
        let exporting = ["opentelemetry", "hyper", "hyper_util", "reqwest", "rustls"];
        let targets = exporting.map(|target| (target, LevelFilter::OFF));
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("taskport"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_default(LevelFilter::INFO).with_targets(targets))
    }

    /// Sends what is left, for at most five seconds. Blocks the thread.
    pub fn close(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_TIME) {
            tracing::warn!(%error, "the last spans may not have left");
        }
    }
}

/// Counts what is taken and what is not.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    complained_at: Mutex<Option<Instant>>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) => {
                SPANS_EXPORTED.fetch_add(spans as u64, Ordering::Relaxed);
            }
            Err(error) => {
                EXPORT_FAILURES.fetch_add(1, Ordering::Relaxed);
                if self.may_complain() {
                    tracing::warn!(%error, spans, "spans cannot be exported and are lost");
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(limit)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl Counted {
    fn may_complain(&self) -> bool {
        let mut last = self.complained_at.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// What is to be exported, where to and how: every value given, so that the libraries read no variable (I4).
#[derive(Debug)]
struct Settings {
    endpoint: String,
    headers: HashMap<String, String>,
    timeout: Duration,
    sampler: Sampler,
    resource: Resource,
    queue_max: usize,
    batch_max: usize,
    delay: Duration,
}

impl Settings {
    fn read(loaded: &Loaded) -> Result<Option<Self>> {
        let env = Env(&loaded.variables);
        let config = &loaded.config.telemetry;
        let disabled = env.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || env.get("OTEL_TRACES_EXPORTER") == Some("none");
        let endpoint = match &config.otlp {
            Some(url) => Some(traces_at(&url.reveal(&loaded.variables)?)),
            None => env
                .get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
                .map(str::to_owned)
                .or_else(|| env.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(traces_at)),
        };
        let Some(endpoint) = endpoint.filter(|_| !disabled) else { return Ok(None) };
        env.one_of(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]).map_or(
            Ok(()),
            |(name, value)| match value {
                "http/protobuf" => Ok(()),
                _ => Err(wrong(name, "names a protocol other than http/protobuf")),
            },
        )?;
        let timeout = match env.one_of(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]) {
            Some((name, _)) => env.number(name, 1, 600_000, 10_000)?,
            None => 10_000,
        };
        Ok(Some(Self {
            endpoint,
            headers: env.headers()?,
            timeout: Duration::from_millis(timeout),
            sampler: env.sampler()?,
            resource: env.resource(config.service.as_deref())?,
            queue_max: env.number("OTEL_BSP_MAX_QUEUE_SIZE", 1, 1 << 20, 2_048)? as usize,
            batch_max: env.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, 1 << 16, 512)? as usize,
            delay: Duration::from_millis(env.number("OTEL_BSP_SCHEDULE_DELAY", 1, 600_000, 5_000)?),
        }))
    }

    fn exporter(&self) -> Result<opentelemetry_otlp::SpanExporter> {
        let unusable = |source: Box<dyn std::error::Error + Send + Sync>| {
            // The address may hold a secret, so that it is not said.
            let message = "the collector's address or headers cannot be used";
            Error::new(&codes::CONFIG_VALUE, "start telemetry", message)
                .caused_by(std::io::Error::other(source))
        };
        // Somebody else's choice of a provider stands.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::blocking::Client::builder()
            .timeout(self.timeout)
            .build()
            .map_err(|error| unusable(error.into()))?;
        opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(&self.endpoint)
            .with_headers(self.headers.clone())
            .with_timeout(self.timeout)
            .build()
            .map_err(|error| unusable(error.into()))
    }
}

/// The address for spans of a collector.
fn traces_at(base: &str) -> String {
    format!("{}/v1/traces", base.trim_end_matches('/'))
}

/// The standard variables.
struct Env<'v>(&'v Variables);

impl<'v> Env<'v> {
    /// An empty variable is as good as none.
    fn get(&self, name: &str) -> Option<&'v str> {
        self.0.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    fn one_of(&self, names: [&'static str; 2]) -> Option<(&'static str, &'v str)> {
        names.into_iter().find_map(|name| Some((name, self.get(name)?)))
    }

    fn number(&self, name: &'static str, min: u64, max: u64, default: u64) -> Result<u64> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| wrong(name, &format!("is no number from {min} to {max}")))
    }

    fn pairs(&self, name: &'static str) -> Result<Vec<(String, String)>> {
        let Some(text) = self.get(name) else { return Ok(Vec::new()) };
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (key, value) = pair.split_once('=')?;
                Some((key.trim().to_owned(), percent_decoded(value.trim())?))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| wrong(name, "is no list such as name=value,other=value"))
    }

    fn headers(&self) -> Result<HashMap<String, String>> {
        let mut headers = HashMap::new();
        for name in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
            headers.extend(self.pairs(name)?);
        }
        Ok(headers)
    }

    fn resource(&self, service: Option<&str>) -> Result<Resource> {
        let attributes = self.pairs("OTEL_RESOURCE_ATTRIBUTES")?;
        let named = attributes.iter().find(|(key, _)| key == "service.name").map(|(_, value)| value.clone());
        let service = service.or_else(|| self.get("OTEL_SERVICE_NAME")).map(str::to_owned).or(named);
        Ok(Resource::builder_empty()
            .with_attributes(attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)))
            .with_service_name(service.unwrap_or_else(|| "taskport".to_owned()))
            .build())
    }

    fn sampler(&self) -> Result<Sampler> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";
        let share = match self.get(SHARE) {
            None => 1.0,
            Some(text) => match text.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => share,
                _ => return Err(wrong(SHARE, "is no number from 0 to 1")),
            },
        };
        let following = |root: Sampler| Sampler::ParentBased(Box::new(root));
        Ok(match self.get(NAME).unwrap_or("parentbased_always_on") {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(share),
            "parentbased_always_on" => following(Sampler::AlwaysOn),
            "parentbased_always_off" => following(Sampler::AlwaysOff),
            "parentbased_traceidratio" => following(Sampler::TraceIdRatioBased(share)),
            _ => {
                return Err(wrong(
                    NAME,
                    "is none of always_on, always_off, traceidratio, nor parentbased_ of them",
                ));
            }
        })
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn wrong(variable: &str, problem: &str) -> Error {
    Error::new(&codes::CONFIG_VALUE, "start telemetry", format!("the variable `{variable}` {problem}"))
}

fn broken(problem: &'static str) -> Error {
    Error::new(&codes::INTERNAL, "start telemetry", problem)
}
