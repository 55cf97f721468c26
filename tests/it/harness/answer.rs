//! What came back over HTTP, and the conventions that every refusal keeps.

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

use super::contract;

/// One HTTP answer. `body` is `Null` where the bytes are not JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Reads the answer to `method path`, and holds it against the documentation.
    pub(super) async fn read(method: &Method, path: &str, response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = super::in_time("the body of an answer", response.bytes()).await.expect("a whole body").to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Self { status, headers, body, bytes };
        contract::check_answer(method, path, status, |name| answer.header(name).map(String::from), &answer.bytes);
        answer
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("a text in UTF-8")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header of visible characters"))
    }

    /// The JSON body of a 200.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.bytes));
        assert!(self.header("x-request-id").is_some(), "no x-request-id");
        self.body
    }

    /// The JSON body of an error, which keeps every convention: a detail, a code, the request id, the extra headers.
    #[track_caller]
    pub fn refused(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        assert_conventions(status, &self.body, |name| self.header(name).map(String::from));
        self.body
    }

    /// As [`Answer::refused`], and its `detail` is exactly these words.
    #[track_caller]
    pub fn refused_saying(self, status: u16, detail: &str) -> Value {
        let body = self.refused(status);
        assert_eq!(body["detail"], detail);
        body
    }

    /// A 422 whose list of faults names `field` of the body.
    #[track_caller]
    pub fn refused_field(self, field: &str) -> Value {
        let body = self.refused(422);
        let faults = body["detail"].as_array().unwrap_or_else(|| panic!("no list of faults: {body}"));
        for fault in faults {
            assert!(fault["type"].is_string() && fault["msg"].is_string() && fault["loc"].is_array(), "{fault}");
        }
        let named = |fault: &Value| fault["loc"].as_array().is_some_and(|loc| loc.iter().any(|part| part == field));
        assert!(faults.iter().any(named), "no fault names {field}: {body}");
        body
    }
}

/// What holds for every error of the contract, whoever read it.
#[track_caller]
pub(super) fn assert_conventions(status: u16, body: &Value, header: impl Fn(&str) -> Option<String>) {
    assert!(!body["detail"].is_null(), "an error without detail: {status} {body}");
    let code = body["code"].as_str().unwrap_or_else(|| panic!("an error without code: {status} {body}"));
    let snake = code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    assert!(snake && !code.is_empty(), "not snake_case: {code}");
    let id = header("x-request-id").expect("x-request-id on every answer");
    assert_eq!(body["request_id"], id.as_str(), "the body and the header name one request");
    match status {
        401 => assert_eq!(header("www-authenticate").as_deref(), Some("Bearer")),
        405 => assert!(header("allow").is_some(), "a 405 says what is allowed"),
        422 => assert!(body["detail"].is_array(), "a 422 lists its faults: {body}"),
        429 | 503 => {
            let after = header("retry-after").unwrap_or_else(|| panic!("{status} without Retry-After"));
            after.parse::<u64>().expect("Retry-After in seconds");
        }
        _ => {}
    }
}
