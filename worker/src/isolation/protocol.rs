//! What parent and child say to each other: frames of a JSON header and raw bytes, each with its length before it.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use taskport_abstraction::context::StopReason;
use taskport_abstraction::job::{Progress, StepRef};
use taskport_abstraction::journal::{LogLevel, Note};
use taskport_abstraction::options::optional_duration;
use taskport_abstraction::{
    ContentType, Error, Failure, JobId, JobOptions, Payload, QueueName, TaskError, TaskName, Timestamp, codes,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Parent and child are the same program, so a different version means that it was replaced while the parent ran.
pub(super) const VERSION: u32 = 2;

/// The largest number of bytes of a header.
const HEADER_BYTES_MAX: usize = 4 << 20;
/// The largest number of bytes of a payload that crosses to a child or back.
pub(super) const BODY_BYTES_MAX: usize = 256 << 20;

/// What the parent says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToChild {
    /// Run this attempt; the body holds its arguments.
    Start(Box<Start>),
    /// Ask the attempt to stop.
    Stop(Stop),
    /// The answer to an [`Ask`]; the body holds the payloads of a page, one after another.
    Answer { request: u64, answer: Answer },
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromChild {
    /// The child is ready. Sent once, first.
    Hello { version: u32 },
    /// How far the attempt has come.
    Progress(Progress),
    /// The attempt says something; the body holds a partial result.
    Note(Said),
    /// The attempt reads the results of earlier steps.
    Ask { request: u64, ask: Ask },
    /// The attempt has ended; the body holds the result.
    Ended(Ended),
}

/// One attempt.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) task: TaskName,
    pub(super) job: JobId,
    pub(super) queue: QueueName,
    pub(super) attempt: u32,
    pub(super) submitted_at_micros: i64,
    pub(super) options: JobOptions,
    pub(super) step: Option<StepRef>,
    pub(super) has_upstream: bool,
    pub(super) content_type: String,
}

impl Start {
    pub(super) fn submitted_at(&self) -> Timestamp {
        Timestamp::from_micros(self.submitted_at_micros)
    }
}

/// Why an attempt is asked to stop.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stop {
    Cancelled,
    TimedOut,
    ShuttingDown,
    LeaseLost,
}

impl From<StopReason> for Stop {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Cancelled => Self::Cancelled,
            StopReason::TimedOut => Self::TimedOut,
            StopReason::ShuttingDown => Self::ShuttingDown,
            StopReason::LeaseLost => Self::LeaseLost,
        }
    }
}

impl From<Stop> for StopReason {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::TimedOut => Self::TimedOut,
            Stop::ShuttingDown => Self::ShuttingDown,
            Stop::LeaseLost => Self::LeaseLost,
        }
    }
}

/// Something an attempt says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Log { level: LogLevel, message: String },
    Partial { content_type: String },
}

impl Said {
    /// The form in which a note crosses, with its body.
    pub(super) fn new(note: Note) -> (Self, Bytes) {
        match note {
            Note::Log { level, message } => (Self::Log { level, message }, Bytes::new()),
            Note::Partial(Payload { content_type, bytes }) => {
                (Self::Partial { content_type: content_type.as_str().to_owned() }, bytes)
            }
        }
    }

    pub(super) fn into_note(self, body: Bytes) -> Note {
        match self {
            Self::Log { level, message } => Note::Log { level, message },
            Self::Partial { content_type } => Note::Partial(payload(&content_type, body)),
        }
    }
}

/// A question about the results of earlier steps.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    Len { step: String },
    Page { step: String, from: u64, count: usize },
}

/// The answer to an [`Ask`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Len(Option<u64>),
    Page(Vec<Option<PageItem>>),
    Error { code: u16, message: String },
}

/// One payload of a page, whose bytes are in the body.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PageItem {
    content_type: String,
    len: usize,
}

/// How an attempt ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    Succeeded {
        content_type: String,
    },
    Retry {
        #[serde(with = "optional_duration")]
        after: Option<Duration>,
        failure: Failure,
    },
    Fatal(Failure),
    Error(Failure),
}

impl Ended {
    /// The form in which a result crosses, with its body.
    pub(super) fn new(result: Result<Payload, TaskError>) -> (Self, Bytes) {
        match result {
            Ok(payload) => {
                (Self::Succeeded { content_type: payload.content_type.as_str().to_owned() }, payload.bytes)
            }
            Err(TaskError::Retry { after, failure }) => (Self::Retry { after, failure }, Bytes::new()),
            Err(TaskError::Fatal(failure)) => (Self::Fatal(failure), Bytes::new()),
            Err(TaskError::Error(failure)) => (Self::Error(failure), Bytes::new()),
        }
    }

    pub(super) fn into_result(self, body: Bytes) -> Result<Payload, TaskError> {
        match self {
            Self::Succeeded { content_type } => Ok(payload(&content_type, body)),
            Self::Retry { after, failure } => Err(TaskError::Retry { after, failure }),
            Self::Fatal(failure) => Err(TaskError::Fatal(failure)),
            Self::Error(failure) => Err(TaskError::Error(failure)),
        }
    }
}

impl Answer {
    /// The form in which a page crosses, with its body.
    pub(super) fn page(page: Result<Vec<Option<Payload>>, Error>) -> (Self, Bytes) {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                let (code, message) = (error.code().number, error.message().to_owned());
                return (Self::Error { code, message }, Bytes::new());
            }
        };
        let mut body = BytesMut::new();
        let items = page.into_iter().map(|payload| {
            payload.map(|payload| {
                body.extend_from_slice(&payload.bytes);
                PageItem { content_type: payload.content_type.as_str().to_owned(), len: payload.len() }
            })
        });
        (Self::Page(items.collect()), body.freeze())
    }

    pub(super) fn into_page(self, mut body: Bytes) -> Result<Vec<Option<Payload>>, Error> {
        match self {
            Self::Page(items) => Ok(items
                .into_iter()
                .map(|item| {
                    item.map(|item| payload(&item.content_type, body.split_to(item.len.min(body.len()))))
                })
                .collect()),
            Self::Error { code, message } => {
                let known = codes::ALL.iter().find(|known| known.number == code);
                Err(Error::new(known.copied().unwrap_or(&codes::INTERNAL), "read upstream", message))
            }
            Self::Len(_) => Err(Error::new(&codes::INTERNAL, "read upstream", "the answer is no page")),
        }
    }
}

/// A payload from its wire form.
pub(super) fn payload(content_type: &str, bytes: Bytes) -> Payload {
    Payload { content_type: ContentType::from(content_type), bytes }
}

/// Everything of a frame but its body.
fn head<H: Serialize>(header: &H, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut head = vec![0; PREFIX_LEN];
    serde_json::to_writer(&mut head, header)?;
    let header_len = head.len() - PREFIX_LEN;
    check_lengths(header_len, body.len())?;
    head[..4].copy_from_slice(&(header_len as u32).to_be_bytes());
    head[4..PREFIX_LEN].copy_from_slice(&(body.len() as u32).to_be_bytes());
    Ok(head)
}

const PREFIX_LEN: usize = 8;

fn check_lengths(header_len: usize, body_len: usize) -> io::Result<()> {
    if header_len > HEADER_BYTES_MAX || body_len > BODY_BYTES_MAX {
        let message = format!("a frame of {header_len} and {body_len} bytes is over the limit");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(())
}

fn lengths(prefix: [u8; PREFIX_LEN]) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let header_len = u32::from_be_bytes([a, b, c, d]) as usize;
    let body_len = u32::from_be_bytes([e, f, g, h]) as usize;
    check_lengths(header_len, body_len)?;
    Ok((header_len, body_len))
}

/// Writes one frame from a thread.
pub(super) fn write<H: Serialize>(stream: &mut impl Write, header: &H, body: &[u8]) -> io::Result<()> {
    stream.write_all(&head(header, body)?)?;
    stream.write_all(body)
}

/// Reads one frame on a thread.
pub(super) fn read<H: DeserializeOwned>(stream: &mut impl Read) -> io::Result<(H, Bytes)> {
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix)?;
    let (header_len, body_len) = lengths(prefix)?;
    let mut frame = vec![0; header_len + body_len];
    stream.read_exact(&mut frame)?;
    let header = serde_json::from_slice(&frame[..header_len])?;
    Ok((header, Bytes::from(frame).split_off(header_len)))
}

/// A stream of frames in a runtime.
#[derive(Debug)]
pub(super) struct Framed<S> {
    stream: S,
    received: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, received: BytesMut::new() }
    }

    /// Writes one frame.
    pub(super) async fn write<H: Serialize>(&mut self, header: &H, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(&head(header, body)?).await?;
        self.stream.write_all(body).await
    }

    /// Reads one frame.
    ///
    /// # Cancel safety
    /// What was read of a frame stays in the buffer for the next call.
    pub(super) async fn read<H: DeserializeOwned>(&mut self) -> io::Result<(H, Bytes)> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take<H: DeserializeOwned>(&mut self) -> io::Result<Option<(H, Bytes)>> {
        let Some(prefix) = self.received.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let (header_len, body_len) = lengths(*prefix)?;
        let frame_len = PREFIX_LEN + header_len + body_len;
        if self.received.len() < frame_len {
            self.received.reserve(frame_len - self.received.len());
            return Ok(None);
        }
        self.received.advance(PREFIX_LEN);
        let header = self.received.split_to(header_len);
        let body = self.received.split_to(body_len).freeze();
        Ok(Some((serde_json::from_slice(&header)?, body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_cross_in_both_forms_and_in_pieces() {
        let (mut left, right) = tokio::io::duplex(3);
        let mut bytes = Vec::new();
        write(&mut bytes, &FromChild::Hello { version: 7 }, b"").unwrap();
        let ended = Ended::Succeeded { content_type: "application/json".into() };
        write(&mut bytes, &FromChild::Ended(ended), b"[1]").unwrap();
        let expected = bytes.clone();
        let writer = tokio::spawn(async move { left.write_all(&bytes).await.unwrap() });
        let mut framed = Framed::new(right);
        let (hello, _) = framed.read::<FromChild>().await.unwrap();
        assert!(matches!(hello, FromChild::Hello { version: 7 }));
        let (_, body) = framed.read::<FromChild>().await.unwrap();
        assert_eq!(body, "[1]");
        assert_eq!(framed.read::<FromChild>().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        writer.await.unwrap();

        let mut thread = expected.as_slice();
        assert!(read::<FromChild>(&mut thread).is_ok());
        assert_eq!(read::<FromChild>(&mut thread).unwrap().1, "[1]");
        assert!(read::<FromChild>(&mut thread).is_err());
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_allocated() {
        let prefix = [[0xFF; 4], [0; 4]].concat();
        assert_eq!(read::<ToChild>(&mut prefix.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn pages_and_their_errors_keep_their_form() {
        let page = vec![Some(Payload::json("1")), None, Some(Payload::json("[2]"))];
        let (answer, body) = Answer::page(Ok(page.clone()));
        assert_eq!(answer.into_page(body).unwrap(), page);
        let (answer, body) = Answer::page(Err(Error::new(&codes::NO_RESULT, "read upstream", "gone")));
        assert_eq!(answer.into_page(body).unwrap_err().code(), &codes::NO_RESULT);
    }
}
