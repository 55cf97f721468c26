//! A plain HTTP client for what has to be done before the load: sign up, sign in, make rooms. Not for the hot path.

use std::net::SocketAddr;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Result;

const ANSWER_SECS: u64 = 60;
/// One request is put off for so long at most, where the server asks for it.
const MOST_WAIT_SECS: u64 = 120;

/// One keep-alive connection.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone)]
pub enum Body<'a> {
    None,
    Json(Value),
    Form(&'a [(&'a str, &'a str)]),
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.map_err(|error| format!("cannot connect to {addr}: {error}"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                eprintln!("an HTTP connection to the server ended: {error}");
            }
        });
        Ok(Self { sender, host: crate::url::host(addr) })
    }

    pub async fn call(&mut self, method: Method, path: &str, token: Option<&str>, body: Body<'_>) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Body::None => Bytes::new(),
            Body::Json(value) => {
                request = request.header(CONTENT_TYPE, "application/json");
                value.to_string().into()
            }
            Body::Form(fields) => {
                request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into()
            }
        };
        let request = request.body(Full::new(body))?;
        let asking = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Result::Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        timeout(Duration::from_secs(ANSWER_SECS), asking)
            .await
            .map_err(|_| format!("{path} was not answered within {ANSWER_SECS} s"))?
    }

    /// As `call`, where anything but 200 is an error that carries the server's own words. What the server asks to wait for
    /// is waited for, up to a bound.
    pub async fn json(&mut self, method: Method, path: &str, token: Option<&str>, body: Body<'_>) -> Result<Value> {
        let (what, mut waited) = (format!("{method} {path}"), 0);
        loop {
            let answer = self.call(method.clone(), path, token, body.clone()).await?;
            if answer.status == 200 {
                let read = serde_json::from_slice(&answer.body);
                return read.map_err(|error| format!("{what} was not answered with JSON: {error}").into());
            }
            let words = String::from_utf8_lossy(&answer.body);
            let secs = answer.retry_after_secs().filter(|secs| waited + secs <= MOST_WAIT_SECS);
            let Some(secs) = secs else {
                return Err(format!("{what} was answered {}: {words}{}", answer.status, advice(&words)).into());
            };
            tell_once(&what, &words);
            waited += secs;
            tokio::time::sleep(Duration::from_secs(secs)).await;
        }
    }
}

impl Answer {
    /// How long a server that has refused for now asks to wait.
    fn retry_after_secs(&self) -> Option<u64> {
        let secs = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse::<u64>().ok()?;
        matches!(self.status, 429 | 503).then_some(secs.max(1))
    }
}

/// What to do where one of the server's rates has stopped the tool.
pub fn advice(words: &str) -> &'static str {
    if !words.contains("\"rate_limited\"") {
        return "";
    }
    "\n(a limit of the server's has stopped the load: ask for less (--rate, --per-user), spread it over more accounts, or for the \
     time of the test set limits.rates = \"off\" there)"
}

fn tell_once(what: &str, words: &str) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| println!("the server asks for patience, and gets it: {what} was answered {words}"));
}
