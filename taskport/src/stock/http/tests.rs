use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::sync_channel;

use serde_json::{Value, json};

use super::*;
use crate::stock::tests::context;

/// A server on loopback that gives one prepared answer to each request and tells what it was asked.
struct Server {
    address: String,
    asked: std::sync::mpsc::Receiver<String>,
}

fn serve(answers: Vec<String>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = sync_channel(answers.len());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            tell.send(format!("{head}\n{}", String::from_utf8(body).unwrap())).unwrap();
            // A client that has read enough may have gone.
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    Server { address, asked }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

async fn attempt(table: Value, arguments: &'static str) -> TaskResult<Payload> {
    let variables = Variables::from_iter([("TOKEN".to_owned(), "Bearer s3cret".to_owned())]);
    let action: HttpAction = serde_json::from_value(table).unwrap();
    let Handler::Async(handler) = handler(&TaskName::new("t").unwrap(), &action, &variables).unwrap() else {
        panic!("a request runs as a future")
    };
    handler(context(taskport_worker::Control::new()), Payload::json(arguments)).await
}

#[tokio::test]
async fn arguments_go_as_json_with_secret_headers_and_the_answer_is_the_result() {
    let server = serve(vec![answer("200 OK", "", r#"{"ok": true}"#)]);
    let table = json!({"url": format!("{}/hook", server.address), "headers": {"authorization": "env:TOKEN"}});
    let result = attempt(table, r#"[[],{"a":1}]"#).await.unwrap();
    assert_eq!(result.bytes, r#"{"ok": true}"#);
    let asked = server.asked.recv().unwrap();
    for part in ["POST /hook ", "authorization: Bearer s3cret", "idempotency-key: job-1", "\n{\"a\":1}"] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
}

#[tokio::test]
async fn arguments_of_a_get_go_into_the_query() {
    let server = serve(vec![answer("204 No Content", "", "")]);
    let table = json!({"method": "GET", "url": format!("{}/find?x=1", server.address)});
    let result = attempt(table, r#"[[],{"q":"a b&c","n":2}]"#).await.unwrap();
    assert_eq!(result.bytes, "null");
    assert!(server.asked.recv().unwrap().starts_with("GET /find?x=1&n=2&q=a+b%26c "));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says_and_a_refusal_is_final() {
    let busy = answer("503 Service Unavailable", "retry-after: 7\r\n", "later");
    let server = serve(vec![busy, answer("404 Not Found", "", "no such thing")]);
    let table = json!({"url": server.address});
    match attempt(table.clone(), "[[],{}]").await.unwrap_err() {
        TaskError::Retry { after, failure } => {
            assert_eq!(after, Some(Duration::from_secs(7)));
            assert_eq!(failure.message, "the server answered 503 Service Unavailable");
        }
        other => panic!("{other:?}"),
    }
    match attempt(table, "[[],{}]").await.unwrap_err() {
        TaskError::Fatal(failure) => assert_eq!(failure.traceback.as_deref(), Some("no such thing")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn redirects_to_other_hosts_are_not_followed() {
    let elsewhere = answer("302 Found", "location: http://127.0.0.2:9/\r\n", "");
    let server = serve(vec![elsewhere]);
    let error = attempt(json!({"url": server.address}), "[[],{}]").await.unwrap_err();
    assert_eq!(error.failure().message, "the server answered 302 Found");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused() {
    let server = serve(vec![answer("200 OK", "", &"x".repeat(5_000))]);
    let table = json!({"url": server.address, "output": "text", "output_max": "4KiB"});
    let error = attempt(table, "[[],{}]").await.unwrap_err();
    assert_eq!(error.failure().kind, FailureKind::ResultTooLarge);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named_by_no_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let table = json!({"url": format!("http://user:s3cret@{address}/?token=s3cret")});
    let error = attempt(table, "[[],{}]").await.unwrap_err();
    assert!(matches!(error, TaskError::Error(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}
