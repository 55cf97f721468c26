//! A plain HTTP client for what has to be done before the load: sign up, sign in, make rooms. Not for the hot path.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Result;

const ANSWER_SECS: u64 = 60;

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
        Ok(Self { sender, host: addr.to_string() })
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

    /// As `call`, where anything but 200 is an error that carries the server's own words.
    pub async fn json(&mut self, method: Method, path: &str, token: Option<&str>, body: Body<'_>) -> Result<Value> {
        let what = format!("{method} {path}");
        let answer = self.call(method, path, token, body).await?;
        if answer.status != 200 {
            let words = String::from_utf8_lossy(&answer.body);
            return Err(format!("{what} was answered {}: {words}", answer.status).into());
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| format!("{what} was not answered with JSON: {error}").into())
    }
}
