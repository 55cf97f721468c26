//! A small client of the public API, as the people of the demo use it: the way of everybody else, over loopback.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::client::IntoClientRequest};

pub type Socket = WebSocketStream<TcpStream>;

/// Somebody who is signed in.
#[derive(Clone)]
pub struct Client {
    server: SocketAddr,
    token: String,
}

impl Client {
    pub async fn sign_in(server: SocketAddr, username: &str, password: &str) -> Result<Self, String> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("username", username)
            .append_pair("password", password)
            .finish();
        let request = Request::post("/token").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let login = exchange(server, request, form).await?;
        Ok(Self { server, token: text(&login, "access_token")? })
    }

    pub async fn get(&self, path: &str) -> Result<Value, String> {
        exchange(self.server, self.request(Method::GET, path), String::new()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, "application/json");
        exchange(self.server, request, body.to_string()).await
    }

    /// A socket for all rooms.
    pub async fn socket(&self) -> Result<Socket, String> {
        let said = |error: &dyn std::fmt::Display| format!("no socket to {}: {error}", self.server);
        let stream = TcpStream::connect(self.server).await.map_err(|error| said(&error))?;
        let mut request = format!("ws://{}/ws", self.server).into_client_request().map_err(|error| said(&error))?;
        let bearer = HeaderValue::try_from(self.bearer()).map_err(|error| said(&error))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        Ok(client_async(request, stream).await.map_err(|error| said(&error))?.0)
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder().method(method).uri(path).header(AUTHORIZATION, self.bearer())
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

/// A field that the answer must have.
pub fn text(answer: &Value, field: &str) -> Result<String, String> {
    answer[field].as_str().map(String::from).ok_or_else(|| format!("an answer has no {field}"))
}

/// One request on a connection of its own; an answer that is no success is an error with what it says.
async fn exchange(server: SocketAddr, request: hyper::http::request::Builder, body: String) -> Result<Value, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{server} does not answer: {error}");
    let stream = TcpStream::connect(server).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    let request = request.header(HOST, server.to_string()).body(Full::new(Bytes::from(body)));
    let request = request.map_err(|error| failed(&error))?;
    let path = request.uri().path().to_owned();
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    connection.abort();
    let answer: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    match status.is_success() {
        true => Ok(answer),
        false => Err(format!("{path} is answered {status}: {}", answer["detail"])),
    }
}
