//! Rejected rows of the destination in S3-compatible storage.

use super::messages;
use crate::common::context::TestContext;
use serde_json::{Value, json};
use std::process::Output;

/// A sync of two people, one of whom is refused.
fn sync(context: &TestContext, storage: &Value) -> Output {
    context.settings_with("config.json", &json!({"at_least_once": true, "object_storage_config": storage}));
    let stream = json!({"stream": {"name": "Contacts", "json_schema": {"type": "object", "properties":
        {"Email": {"type": "string"}, "Last_Name": {"type": "string"}}}}, "sync_mode": "full_refresh",
        "destination_sync_mode": "append", "primary_key": []});
    context.write("catalog.json", &json!({"streams": [stream]}));
    let row = |email: &str| {
        json!({"type": "RECORD", "record": {"stream": "Contacts", "emitted_at": 1_795_317_182_773_u64,
            "data": {"Email": email, "Last_Name": "Ng"}}})
    };
    let state = json!({"type": "STATE", "state": {"type": "STREAM",
        "stream": {"stream_descriptor": {"name": "Contacts"}, "stream_state": {"at": 1}}}});
    let mut command = crate::common::context::program("destination-zoho-crm");
    command.current_dir(context.path(".")).args([
        "write",
        "--config",
        "config.json",
        "--catalog",
        "catalog.json",
    ]);
    let input = format!("{}\n{}\n{state}\n", row("a@x.test"), row("no address"));
    command.write_stdin(input).output().expect("runs")
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_without_it_says_so_before_anything_is_written() {
    let context = TestContext::new(&[]);
    let output = sync(&context, &json!({"storage_type": "S3", "s3_bucket_name": "rejects"}));
    assert!(!output.status.success());
    let said = messages(&output).iter().map(Value::to_string).collect::<String>();
    assert!(said.contains("object_storage_config/storage_type") && said.contains("--features s3"), "{said}");
    assert!(context.dump("Contacts", &["Email".to_owned()]).is_empty());
    // None is a choice of the form.
    let output = sync(&context, &json!({"storage_type": "None"}));
    assert!(output.status.success(), "{}", context.seen(&output));
}

#[cfg(feature = "s3")]
mod s3 {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};

    /// What came in one request.
    struct Request {
        head: String,
        body: Vec<u8>,
    }

    /// As much of S3 as it takes to put an object, with this status.
    fn server(status: &'static str) -> (String, Receiver<Request>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut connection = connection.expect("a connection");
                    while let Some(request) = read(&mut connection) {
                        let tag = "ETag: \"0123456789abcdef0123456789abcdef\"";
                        let answer = format!("HTTP/1.1 {status}\r\n{tag}\r\nContent-Length: 0\r\n\r\n");
                        connection.write_all(answer.as_bytes()).expect("answers");
                        sender.send(request).ok();
                    }
                });
            }
        });
        (address, receiver)
    }

    fn read(connection: &mut TcpStream) -> Option<Request> {
        let mut reader = BufReader::new(connection);
        let mut head = String::new();
        loop {
            let before = head.len();
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
            if head[before..].trim().is_empty() {
                break;
            }
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        Some(Request { head, body })
    }

    fn storage(address: &str) -> Value {
        json!({"storage_type": "S3", "s3_bucket_name": "rejects", "s3_bucket_region": "eu-central-1",
            "s3_endpoint": address, "bucket_path": "crm/refused", "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "hush-hush"})
    }

    #[test]
    fn rejected_rows_are_kept_in_the_bucket() {
        let context = TestContext::new(&[]);
        let (address, requests) = server("200 OK");
        let output = sync(&context, &storage(&address));
        assert!(output.status.success(), "{}", context.seen(&output));
        let request = requests.try_recv().expect("an object came");
        let file = std::fs::read_dir(context.path("state/rejected")).expect("a folder").next();
        let file = file.expect("a file").expect("is there").path();
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let first = request.head.lines().next().expect("a request");
        assert_eq!(first, format!("PUT /rejects/crm/refused/{name} HTTP/1.1"));
        let head = request.head.to_lowercase();
        assert!(
            head.contains("authorization: aws4-hmac-sha256 credential=akidexample/"),
            "it is signed: {head}"
        );
        assert!(head.contains("/eu-central-1/s3/aws4_request"), "{head}");
        assert_eq!(request.body, std::fs::read(&file).expect("reads"));
        assert!(String::from_utf8_lossy(&request.body).contains("no address"));
        assert!(requests.try_recv().is_err(), "one object");
        let said = messages(&output).iter().map(Value::to_string).collect::<String>();
        assert!(said.contains(&format!("s3://rejects/crm/refused/{name}")), "{said}");
        assert!(!context.seen(&output).contains("hush"), "a secret is not told");
    }

    #[test]
    fn a_bucket_that_takes_nothing_fails_the_sync_and_loses_no_row() {
        let context = TestContext::new(&[]);
        let (address, _requests) = server("403 Forbidden");
        let output = sync(&context, &storage(&address));
        assert!(!output.status.success(), "{}", context.seen(&output));
        let said = messages(&output).iter().map(Value::to_string).collect::<String>();
        assert!(said.contains("in the bucket `rejects`") && !said.contains("hush"), "{said}");
        assert_eq!(context.dump("Contacts", &["Email".to_owned()]).len(), 1);
        assert_eq!(std::fs::read_dir(context.path("state/rejected")).expect("a folder").count(), 1);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let context = TestContext::new(&[]);
        for (key, value, said) in [
            ("s3_bucket_name", Value::Null, "s3_bucket_name: is needed"),
            ("secret_access_key", Value::Null, "secret_access_key: is needed"),
            ("s3_endpoint", json!("http://storage.example.com"), "is not `https://…`"),
        ] {
            let mut storage = storage("https://storage.example.com");
            storage[key] = value;
            let output = sync(&context, &storage);
            assert!(!output.status.success());
            let found = messages(&output).iter().map(Value::to_string).collect::<String>();
            assert!(found.contains(said), "{found}");
        }
    }
}
