//! The page over HTTP, with whether the process lives and is ready.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use taskport_abstraction::backend::{Phase, Shutdown};
use taskport_abstraction::{Error, Result, codes};
use taskport_worker::metrics::Page;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::probe::Seen;
use crate::Taskport;

/// How many connections are served at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long one connection may stay. A client that needs more makes another.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// How many bytes the head of a request may have.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long to wait where the operating system gives no connection for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where metrics are served, and to whom.
#[derive(Debug, Clone)]
pub struct MetricsOptions {
    /// The address to listen at; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether the address may be reached from other machines. Nothing asks who is there.
    pub public: bool,
    /// Makes `/readyz` answer 503 once a drain begins.
    pub shutdown: Option<Arc<dyn Shutdown>>,
}

impl MetricsOptions {
    /// Serves at a loopback address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, public: false, shutdown: None }
    }
}

/// Serves metrics until it is dropped.
#[derive(Debug)]
#[must_use = "the server ends when this is dropped"]
pub struct MetricsServer {
    address: SocketAddr,
    task: AbortHandle,
}

impl MetricsServer {
    /// The address it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Display for MetricsServer {
    /// The address of the page.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/metrics", self.address)
    }
}

impl Taskport {
    /// Serves `/metrics` for Prometheus, `/healthz` (200 while the process lives) and `/readyz` (503 while it drains or
    /// a backend does not answer).
    ///
    /// # Errors
    /// `InvalidConfig` (E-020) for an address others can reach, unless that is asked for, and `InvalidConfig` (E-049)
    /// where it cannot be listened at.
    ///
    /// # Limits
    /// 32 connections at once, 60 seconds each, heads of up to 16 KiB that come within 5 seconds; GET and HEAD only.
    pub async fn serve_metrics(&self, options: MetricsOptions) -> Result<MetricsServer> {
        let MetricsOptions { address, public, shutdown } = options;
        if !public {
            loopback_only(address)?;
        }
        let refused = |source| {
            Error::new(
                &codes::LISTEN,
                "serve metrics",
                format!("the address {address} cannot be listened at"),
            )
            .caused_by(source)
            .hint("choose another with --metrics or `metrics` under [worker]; port 0 takes a free one")
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        tracing::info!(%address, "metrics are served");
        let site = Arc::new(Site { port: self.clone(), shutdown });
        let task = tokio::spawn(accept(listener, site)).abort_handle();
        Ok(MetricsServer { address, task })
    }
}

/// Refuses an address that other machines can reach: nothing asks who is there.
///
/// # Errors
/// `InvalidConfig` (E-020).
fn loopback_only(address: SocketAddr) -> Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let message =
        format!("the address {address} can be reached from other machines, and nothing asks who is there");
    Err(Error::new(&codes::CONFIG_VALUE, "serve metrics", message)
        .hint("take 127.0.0.1, or say --metrics-public, or `metrics_public = true` under [worker]"))
}

/// What is served.
struct Site {
    port: Taskport,
    shutdown: Option<Arc<dyn Shutdown>>,
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, site.clone(), seat));
            }
            Err(error) => {
                tracing::debug!(%error, "no connection for metrics");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>, _seat: OwnedSemaphorePermit) {
    let answer = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    if let Ok(Err(error)) = timeout(CONNECTION_TIME, served).await {
        tracing::debug!(%error, "a client of the metrics misbehaved");
    }
}

impl Site {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !["/metrics", "/healthz", "/readyz"].contains(&path) {
            return text(StatusCode::NOT_FOUND, "not found: try /metrics, /healthz or /readyz\n");
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => match self.unready().await {
                None => text(StatusCode::OK, "ready\n"),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            _ => {
                let mut page = text(StatusCode::OK, self.port.metrics().await);
                page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Page::CONTENT_TYPE));
                page
            }
        }
    }

    async fn unready(&self) -> Option<&'static str> {
        if self.shutdown.as_ref().is_some_and(|shutdown| shutdown.phase() > Phase::Running) {
            return Some("draining\n");
        }
        let seen = self.port.inner().telemetry.probe.look(self.port.all_backends()).await;
        (!seen.iter().all(Seen::is_up)).then_some("a backend does not answer\n")
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}
