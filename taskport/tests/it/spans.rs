//! Trace contexts, and the spans that a collector gets.

use taskport::prelude::*;
use taskport::registry;

use crate::kit::{Place, start};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[task]
async fn trace_of(ctx: &TaskContext) -> TaskResult<Option<String>> {
    Ok(ctx.info().options.trace.as_ref().map(|trace| trace.as_str().to_owned()))
}

// proves R-408
#[tokio::test]
async fn a_trace_that_is_given_is_carried_as_it_is() {
    #[cfg(feature = "otel")]
    export::wake_every_span();
    let place = Place::new();
    let port =
        Taskport::builder().config(place.config_with("")).registry(registry![trace_of]).open().await.unwrap();
    let worker = start(port.worker());
    let given = port.submit(trace_of().trace(TRACE)).await.unwrap();
    let none = port.submit(trace_of()).await.unwrap();
    assert_eq!(given.result().await.unwrap().as_deref(), Some(TRACE));
    assert_eq!(none.result().await.unwrap(), None);
    worker.stop().await;
}

#[cfg(feature = "otel")]
mod export {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::{Arc, Mutex, Once, OnceLock};
    use std::thread;

    use taskport::config::Config;
    use taskport::telemetry::SpanExport;
    use tokio::time::Instant;
    use tracing::Instrument;
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::kit::PATIENCE;

    /// A span as the collector got it.
    #[derive(Debug, Clone, Default)]
    struct Span {
        trace: Vec<u8>,
        id: Vec<u8>,
        parent: Vec<u8>,
        name: String,
        kind: u64,
        attributes: Vec<(String, String)>,
        events: Vec<(String, Vec<(String, String)>)>,
        links: Vec<Vec<u8>>,
        status: u64,
    }

    impl Span {
        fn attribute(&self, key: &str) -> &str {
            let found = self.attributes.iter().find(|(name, _)| name == key);
            &found.unwrap_or_else(|| panic!("no {key} in {self:#?}")).1
        }
    }

    /// One field of a message.
    enum Field<'b> {
        Number(u64),
        Bytes(&'b [u8]),
    }

    /// The fields of a message in protobuf, by their numbers.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut number = 0;
            for shift in (0..).step_by(7) {
                let (first, rest) = bytes.split_first().unwrap();
                *bytes = rest;
                number |= u64::from(first & 0x7f) << shift;
                if first & 0x80 == 0 {
                    break;
                }
            }
            number
        }
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Number(varint(&mut bytes)),
                1 | 5 => {
                    let (fixed, rest) = bytes.split_at(if tag & 7 == 1 { 8 } else { 4 });
                    bytes = rest;
                    Field::Bytes(fixed)
                }
                2 => {
                    let len = varint(&mut bytes) as usize;
                    let (text, rest) = bytes.split_at(len);
                    bytes = rest;
                    Field::Bytes(text)
                }
                other => panic!("no wire type: {other}"),
            };
            found.push((tag >> 3, field));
        }
        found
    }

    /// The messages of one field.
    fn messages(bytes: &[u8], number: u64) -> Vec<&[u8]> {
        let found = fields(bytes).into_iter().filter(|(field, _)| *field == number);
        found
            .map(|(_, field)| match field {
                Field::Bytes(bytes) => bytes,
                Field::Number(_) => panic!("field {number} is a number"),
            })
            .collect()
    }

    /// Text, or whatever else an attribute holds: nothing here looks at those.
    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn attributes(bytes: &[u8], number: u64) -> Vec<(String, String)> {
        let pairs = messages(bytes, number).into_iter();
        pairs
            .map(|pair| {
                let value = fields(messages(pair, 2)[0]).into_iter().map(|(_, value)| match value {
                    Field::Bytes(bytes) => text(bytes),
                    Field::Number(number) => number.to_string(),
                });
                (text(messages(pair, 1)[0]), value.collect())
            })
            .collect()
    }

    fn span(bytes: &[u8]) -> Span {
        let mut span = Span {
            attributes: attributes(bytes, 9),
            links: messages(bytes, 13).iter().map(|link| messages(link, 2)[0].to_vec()).collect(),
            ..Span::default()
        };
        for event in messages(bytes, 11) {
            span.events.push((text(messages(event, 2)[0]), attributes(event, 3)));
        }
        for (number, field) in fields(bytes) {
            match (number, field) {
                (1, Field::Bytes(id)) => span.trace = id.to_vec(),
                (2, Field::Bytes(id)) => span.id = id.to_vec(),
                (4, Field::Bytes(id)) => span.parent = id.to_vec(),
                (5, Field::Bytes(name)) => span.name = text(name),
                (6, Field::Number(kind)) => span.kind = kind,
                (15, Field::Bytes(status)) => {
                    for (number, field) in fields(status) {
                        if let (3, Field::Number(code)) = (number, field) {
                            span.status = code;
                        }
                    }
                }
                _ => {}
            }
        }
        span
    }

    /// A collector that keeps what it is sent, with the resource's attributes.
    struct Collector {
        address: SocketAddr,
        got: Arc<Mutex<Got>>,
    }

    #[derive(Debug, Clone, Default)]
    struct Got {
        spans: Vec<Span>,
        resource: Vec<(String, String)>,
    }

    impl Collector {
        fn start(answer: &'static str) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let got = Arc::new(Mutex::default());
            let keep = Arc::clone(&got);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    serve(stream.unwrap(), answer, &keep);
                }
            });
            Self { address, got }
        }
    }

    fn serve(mut stream: TcpStream, answer: &str, keep: &Mutex<Got>) {
        let mut request = Vec::new();
        let mut chunk = [0; 4_096];
        let (head, start, len) = loop {
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "half a request");
            request.extend_from_slice(&chunk[..read]);
            let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = text(&request[..end]).to_ascii_lowercase();
            let (_, len) = head.split_once("content-length: ").unwrap();
            let len: usize = len.lines().next().unwrap().trim().parse().unwrap();
            break (head, end + 4, len);
        };
        while request.len() < start + len {
            let read = stream.read(&mut chunk).unwrap();
            request.extend_from_slice(&chunk[..read]);
        }
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let mut keep = keep.lock().unwrap();
        for resource in messages(&request[start..], 1) {
            keep.resource = attributes(messages(resource, 1)[0], 1);
            for scope in messages(resource, 2) {
                keep.spans.extend(messages(scope, 2).into_iter().map(span));
            }
        }
        if answer.is_empty() {
            // Never answers, and holds the line.
            std::mem::forget(stream);
        } else {
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }

    const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    static PORT: OnceLock<Taskport> = OnceLock::new();

    #[task(max_attempts = 1)]
    async fn child(message: String) -> TaskResult<()> {
        Err(message.into())
    }

    #[task(queue = "parents")]
    async fn parent(ctx: &TaskContext) -> TaskResult<String> {
        let port = PORT.get().unwrap().within(ctx);
        Ok(port.submit(child("secret".into())).await?.id().to_string())
    }

    async fn open(place: &Place, address: SocketAddr) -> (Taskport, SpanExport) {
        let telemetry = format!("[telemetry]\notlp = \"http://{address}/\"\nservice = \"spans-test\"\n");
        let config: Config = place.config_with(&telemetry);
        let port =
            Taskport::builder().config(config).registry(registry![parent, child]).open().await.unwrap();
        let export = SpanExport::start(port.configuration()).unwrap().unwrap();
        (port, export)
    }

    /// Whether anybody listens is kept for each place that makes spans, and a listener that comes while another thread
    /// passes such a place for the first time can be missed for ever. So one that wants everything comes first and stays.
    pub(super) fn wake_every_span() {
        static AWAKE: Once = Once::new();
        AWAKE.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
        });
    }

    /// Exports what this thread does until the guard is dropped.
    fn listen(export: &SpanExport) -> DefaultGuard {
        wake_every_span();
        tracing::subscriber::set_default(tracing_subscriber::registry().with(export.layer()))
    }

    // proves
    #[tokio::test]
    async fn a_collector_sees_one_trace_from_submit_to_the_attempts_of_children() {
        let collector = Collector::start(TAKEN);
        let place = Place::new();
        let (port, export) = open(&place, collector.address).await;
        let listening = listen(&export);
        PORT.set(port.clone()).unwrap();
        let worker = start(port.worker());
        let job = port.submit(parent()).instrument(tracing::info_span!("request")).await.unwrap();
        let child = job.result().await.unwrap();
        let child = port.job(&format!("main:{child}").parse().unwrap()).unwrap();
        child.result().await.unwrap_err();
        worker.stop().await;
        drop(listening);
        export.close();

        let Got { spans, resource } = collector.got.lock().unwrap().clone();
        assert!(resource.contains(&("service.name".into(), "spans-test".into())), "{resource:?}");
        let one = |name: &str| {
            let mut found = spans.iter().filter(|span| span.name == name);
            match (found.next(), found.next()) {
                (Some(span), None) => span,
                _ => panic!("not one {name} in {spans:#?}"),
            }
        };
        let request = one("request");
        let (submit, process) = (one("submit parent"), one("process parent"));
        let (submit_child, process_child) = (one("submit child"), one("process child"));
        assert_eq!(spans.len(), 5, "{spans:#?}");
        assert!(spans.iter().all(|span| span.trace == request.trace), "{spans:#?}");
        assert_eq!(submit.parent, request.id);
        assert_eq!((&process.parent, &process.links), (&submit.id, &vec![submit.id.clone()]));
        assert_eq!(submit_child.parent, process.id);
        assert_eq!(
            (&process_child.parent, &process_child.links),
            (&submit_child.id, &vec![submit_child.id.clone()])
        );
        const PRODUCER: u64 = 4;
        const CONSUMER: u64 = 5;
        assert_eq!((submit.kind, process.kind), (PRODUCER, CONSUMER));
        for span in [submit, process] {
            assert_eq!(span.attribute("messaging.system"), "taskport");
            assert_eq!(span.attribute("messaging.destination.name"), "parents");
            assert_eq!(span.attribute("messaging.message.id"), job.id().as_str());
            assert_eq!(span.attribute("taskport.backend"), "main");
            assert_eq!(span.attribute("taskport.task"), "parent");
        }
        assert_eq!(process.attribute("taskport.attempt"), "1");
        let settle = |verdict: &str| ("settle".to_owned(), vec![("taskport.verdict".into(), verdict.into())]);
        assert!(process.events.contains(&settle("ack")), "{process:#?}");
        assert!(process_child.events.contains(&settle("retry")), "{process_child:#?}");
        const ERROR: u64 = 2;
        assert_eq!((process.status, process_child.status), (0, ERROR));
        assert_eq!(process_child.attribute("error.type"), "error");
    }

    // proves R-410
    #[tokio::test]
    async fn a_collector_that_refuses_or_hangs_costs_no_job_and_little_time() {
        for answer in [REFUSED, ""] {
            let collector = Collector::start(answer);
            let place = Place::new();
            let (port, export) = open(&place, collector.address).await;
            let listening = listen(&export);
            let worker = start(port.worker());
            let job = port.submit(child("x".into())).await.unwrap();
            job.result().await.unwrap_err();
            assert_eq!(worker.stop().await.failed, 1);
            drop(listening);
            let begun = Instant::now();
            export.close();
            assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
            let page = port.metrics().await;
            if answer == REFUSED {
                let failures =
                    page.lines().find(|line| line.starts_with("taskport_span_export_failures_total "));
                assert!(failures.is_some_and(|line| !line.ends_with(" 0")), "{failures:?}");
            }
        }
    }

    #[test]
    fn variables_that_cannot_be_used_are_refused_by_name() {
        let check = |name: &str, value: &str, expected: &str| {
            let variables = [(name, value), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
            let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let loaded = taskport::config::Loader::new().text("").variables(variables).load().unwrap();
            let started = SpanExport::start(&loaded).map(|export| export.map(drop));
            let seen = match started {
                Ok(Some(())) => "started".to_owned(),
                Ok(None) => "nothing".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(seen.contains(expected), "{name}={value}: {seen}");
        };
        check("OTEL_SDK_DISABLED", "true", "nothing");
        check("OTEL_TRACES_EXPORTER", "none", "nothing");
        check("OTEL_SERVICE_NAME", "x", "started");
        check("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b,other=c", "started");
        check("OTEL_EXPORTER_OTLP_HEADERS", "api-key", "`OTEL_EXPORTER_OTLP_HEADERS` is no list");
        check("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "started");
        check("OTEL_TRACES_SAMPLER", "sometimes", "`OTEL_TRACES_SAMPLER` is none of");
        check("OTEL_TRACES_SAMPLER_ARG", "1.5", "`OTEL_TRACES_SAMPLER_ARG` is no number");
        check("OTEL_BSP_MAX_QUEUE_SIZE", "0", "`OTEL_BSP_MAX_QUEUE_SIZE` is no number");
        check("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "names a protocol other than http/protobuf");
    }
}
