//! A request: arguments in the body or the query, the answer as the result.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde_json::value::RawValue;
use taskport_abstraction::task::Handler;
use taskport_abstraction::{
    Failure, FailureKind, Payload, Result, TaskContext, TaskError, TaskName, TaskResult,
};

use super::{arguments, document, malformed, mixed};
use crate::config::{HttpAction, HttpMethod, OutputFormat, Variables};

/// How long an attempt may take where nothing else is said.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 5;
/// How much of an unwelcome answer is kept with the failure.
const EXCERPT_BYTES_MAX: usize = 4 << 10;

/// What runs the attempts of the task.
pub(super) fn handler(task: &TaskName, action: &HttpAction, variables: &Variables) -> Result<Handler> {
    for name in action.headers.keys() {
        HeaderName::try_from(name.as_str())
            .map_err(|source| malformed(task, &format!("`{name}` is no header name")).caused_by(source))?;
    }
    let http = Arc::new(Http {
        task: task.clone(),
        action: action.clone(),
        variables: variables.clone(),
        client: OnceLock::new(),
    });
    Ok(Handler::Async(Arc::new(move |ctx, payload| {
        let http = Arc::clone(&http);
        Box::pin(async move {
            tokio::select! {
                result = http.attempt(&ctx, &payload) => result,
                reason = ctx.cancelled() => Err(format!("the request was given up: {reason:?}").into()),
            }
        })
    })))
}

#[derive(Debug)]
struct Http {
    task: TaskName,
    action: HttpAction,
    variables: Variables,
    // Made by the first attempt, so that a program that only submits reads no certificates.
    client: OnceLock<Client>,
}

impl Http {
    async fn attempt(&self, ctx: &TaskContext, payload: &Payload) -> TaskResult<Payload> {
        let (url, body) = self.target(payload)?;
        let client = self.client()?;
        let mut request = client
            .request(self.method(), url)
            .headers(self.headers()?)
            .header("idempotency-key", ctx.job().as_str());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        // An error's own text holds the address, and an address may hold a secret.
        let response = request.send().await.map_err(|error| TaskError::from(error.without_url()))?;
        let status = response.status();
        let after = retry_after(&response);
        let success = status.is_success();
        let max = if success {
            usize::try_from(self.action.output_max).unwrap_or(usize::MAX)
        } else {
            EXCERPT_BYTES_MAX
        };
        let (answer, whole) = read(response, max).await?;
        match (success, whole) {
            (true, true) => self.result(answer),
            (true, false) => {
                let message = format!("the answer is larger than {max} bytes");
                Err(TaskError::Fatal(Failure::new(FailureKind::ResultTooLarge, message)))
            }
            (false, _) => Err(refused(status, after, &answer)),
        }
    }

    /// The address, with the arguments in its query where the method has no body; else the body.
    fn target(&self, payload: &Payload) -> TaskResult<(Url, Option<Vec<u8>>)> {
        let reveal = self.action.url.reveal(&self.variables);
        let text = reveal.map_err(|error| TaskError::fatal(error.to_string()))?;
        let mut url = Url::parse(&text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                TaskError::fatal(format!("`{}` is no address of a server", self.action.url.shown()))
            })?;
        if !matches!(self.action.method, HttpMethod::Get | HttpMethod::Head | HttpMethod::Delete) {
            return Ok((url, Some(document(payload)?)));
        }
        let (positional, named) = arguments(payload)?;
        if !positional.is_empty() {
            return Err(mixed());
        }
        if !named.is_empty() {
            let mut query = url.query_pairs_mut();
            for (name, value) in &named {
                query.append_pair(name, &plain(value));
            }
        }
        Ok((url, None))
    }

    fn method(&self) -> Method {
        match self.action.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
        }
    }

    fn headers(&self) -> TaskResult<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.action.headers {
            let value = value.reveal(&self.variables).map_err(|error| TaskError::fatal(error.to_string()))?;
            let name = HeaderName::try_from(name.as_str())?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| TaskError::fatal(format!("the value of header `{name}` cannot be sent")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn client(&self) -> TaskResult<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Somebody else's choice of a provider stands.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("taskport/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::custom(same_host))
            .build()
            .map_err(|source| TaskError::from(format!("task `{}` has no client: {source}", self.task)))?;
        Ok(self.client.get_or_init(|| client))
    }

    fn result(&self, answer: Vec<u8>) -> TaskResult<Payload> {
        match self.action.output {
            OutputFormat::Text => {
                Payload::encode(&*String::from_utf8_lossy(&answer)).map_err(TaskError::from)
            }
            OutputFormat::Json if answer.is_empty() => Ok(Payload::json("null")),
            OutputFormat::Json => match serde_json::from_slice::<serde::de::IgnoredAny>(&answer) {
                Ok(_) => Ok(Payload::json(answer)),
                Err(source) => Err(format!("the answer is no JSON: {source}").into()),
            },
        }
    }
}

/// Follows a server on its own host only: the headers are meant for nobody else.
fn same_host(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let same = attempt.previous().last().is_some_and(|previous| previous.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

/// At most `max` bytes of the answer, and whether that is all of it.
async fn read(mut response: Response, max: usize) -> TaskResult<(Vec<u8>, bool)> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| TaskError::from(error.without_url()))? {
        let room = max - answer.len();
        if chunk.len() > room {
            answer.extend_from_slice(&chunk[..room]);
            return Ok((answer, false));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok((answer, true))
}

/// Text without its quotes, anything else as its JSON.
fn plain(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// The seconds the server asks to wait, at most a day.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(86_400)))
}

/// An answer that is no success: worth repeating where the server may think otherwise later.
fn refused(status: StatusCode, after: Option<Duration>, answer: &[u8]) -> TaskError {
    let later = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
    ) || status.is_server_error();
    let kind = if later { FailureKind::Error } else { FailureKind::Fatal };
    let failure = Failure::new(kind, format!("the server answered {status}"))
        .of_type(format!("http.{}", status.as_u16()))
        .with_traceback(String::from_utf8_lossy(answer));
    match (later, after) {
        (true, Some(after)) => TaskError::Retry { after: Some(after), failure },
        (true, None) => TaskError::Error(failure),
        (false, _) => TaskError::Fatal(failure),
    }
}

#[cfg(test)]
mod tests;
