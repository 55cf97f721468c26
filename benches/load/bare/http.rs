//! A hyper that answers every request with the answer it was given.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, body};
use hyper_util::rt::TokioIo;

use super::{CannedAnswer, end_with_input};
use crate::Outcome;

pub fn run() -> Outcome {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let canned: CannedAnswer = serde_json::from_str(&line)?;
    end_with_input();
    let mut response = Response::new(Full::new(Bytes::from(canned.body)));
    for (name, value) in canned.headers {
        response.headers_mut().append(hyper::header::HeaderName::try_from(name)?, value.try_into()?);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(answer_all(response))
}

async fn answer_all(response: Response<Full<Bytes>>) -> Outcome {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let response = response.clone();
        let answer = service_fn(move |_: Request<body::Incoming>| {
            let response = response.clone();
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move {
            if let Err(error) =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
            {
                eprintln!("bare server: {error}");
            }
        });
    }
}
