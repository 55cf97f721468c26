//! `GET /users/me` with a JWT over keep-alive connections, as fast as answers come; beside a bare hyper that gives the same
//! bytes without looking at the request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use hyper::Method;
use serde_json::json;
use tokio::time::timeout;

use crate::bare::{self, CannedAnswer};
use crate::http::{Body, Client};
use crate::keep_alive::KeepAlive;
use crate::people::{People, Person};
use crate::report::Report;
use crate::server::Target;
use crate::stats::{Latency, Spread};
use crate::svg::{Plot, Series, point};
use crate::table::{Table, compare};
use crate::{Common, Outcome, Result, proc, url};

#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Keep-alive connections, each with one request at a time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    connections: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

struct Run {
    requests_per_sec: f64,
    latency: Latency,
    /// CPU seconds per million requests.
    server_cpu: f64,
    client_cpu: f64,
}

pub async fn run(common: &Common, options: &Options) -> Outcome {
    proc::allow_open_files(2 * u64::from(options.connections) + 200)?;
    let target = Target::start(common)?;
    let people = People::gather(&target, common, 1).await?;
    let canned = answer_of(&target, people.first()).await?;
    let bare = bare::Process::start(&["http"], &serde_json::to_string(&canned)?)?;
    let request = |addr: SocketAddr| {
        let (host, token) = (url::host(addr), &people.first().token);
        format!("GET /users/me HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nAccept: */*\r\n\r\n")
    };
    let (mut of_natter, mut of_bare) = (Vec::new(), Vec::new());
    for round in 1..=common.rounds {
        println!("round {round} of {}", common.rounds);
        of_natter.push(measure(target.addr, &request(target.addr), options, || target.cpu_secs()).await?);
        of_bare.push(measure(bare.addr, &request(bare.addr), options, || bare.cpu_secs()).await?);
    }

    let settings = json!({ "connections": options.connections, "seconds": options.seconds, "rounds": common.rounds });
    let mut report = Report::new("rest", target.name(), settings);
    let title = format!("GET /users/me with a JWT, {} keep-alive connections", options.connections);
    let mut table = Table::new(title, &["median (min–max)", "natter", "bare hyper", "ratio"]);
    let mut row = |label: &str, name: &str, of: fn(&Run) -> f64| {
        compare(&mut report, &mut table, label, name, &of_natter, &of_bare, of);
    };
    row("requests/s", "requests_per_sec", |run| run.requests_per_sec);
    row("p50, ms", "p50_ms", |run| run.latency.millis_at(50.0));
    row("p99, ms", "p99_ms", |run| run.latency.millis_at(99.0));
    row("server CPU s per million", "server_cpu_secs_per_million", |run| run.server_cpu);
    row("client CPU s per million", "client_cpu_secs_per_million", |run| run.client_cpu);
    report.table(table);
    report.note("closed loop: each connection asks again when it has its answer.");
    report.plot = plot(&of_natter, &of_bare);
    target.stop()?;
    report.finish(common)
}

/// natter's own answer, without what every HTTP server adds by itself.
async fn answer_of(target: &Target, person: &Person) -> Result<CannedAnswer> {
    let mut client = Client::connect(target.addr).await?;
    let answer = client.call(Method::GET, "/users/me", Some(&person.token), Body::None).await?;
    if answer.status != 200 {
        return Err(format!("GET /users/me was answered {}", answer.status).into());
    }
    let own = ["date", "content-length", "connection", "transfer-encoding"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Ok(CannedAnswer { headers: headers.collect(), body: String::from_utf8_lossy(&answer.body).into_owned() })
}

async fn measure(
    addr: SocketAddr,
    request: &str,
    options: &Options,
    server_cpu: impl Fn() -> Result<f64>,
) -> Result<Run> {
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        connections.push(KeepAlive::connect(addr).await?);
    }
    let (server, client, start) = (server_cpu()?, proc::own_cpu_secs()?, Instant::now());
    let end = start + Duration::from_secs(options.seconds);
    let asking = connections.into_iter().map(|connection| {
        let request = request.as_bytes().to_vec();
        tokio::task::spawn_local(ask_until(connection, request, end))
    });
    let mut latency = Latency::default();
    let patience = Duration::from_secs(options.seconds + 30);
    let answered =
        timeout(patience, try_join_all(asking)).await.map_err(|_| "a request was not answered within 30 s")?;
    for connection in answered? {
        latency.add(&connection?);
    }
    let (secs, millions) = (start.elapsed().as_secs_f64(), latency.count() as f64 / 1e6);
    Ok(Run {
        requests_per_sec: latency.count() as f64 / secs,
        server_cpu: (server_cpu()? - server) / millions,
        client_cpu: (proc::own_cpu_secs()? - client) / millions,
        latency,
    })
}

async fn ask_until(mut connection: KeepAlive, request: Vec<u8>, end: Instant) -> Result<Latency> {
    let mut latency = Latency::default();
    loop {
        let asked = Instant::now();
        if asked >= end {
            return Ok(latency);
        }
        connection.ask(&request).await?;
        latency.record(asked.elapsed());
    }
}

fn plot(natter: &[Run], bare: &[Run]) -> Plot {
    let series = |name: &str, runs: &[Run]| Series {
        name: format!("{name}, median {}", Spread::of(runs.iter().map(|run| run.requests_per_sec))),
        joined: true,
        points: (1..).zip(runs).map(|(at, run)| point(f64::from(at), run.requests_per_sec)).collect(),
    };
    Plot {
        title: "GET /users/me with a JWT".into(),
        x: "round".into(),
        y: "requests per second".into(),
        x_names: (1..).zip(natter).map(|(at, _)| (f64::from(at), at.to_string())).collect(),
        series: vec![series("natter", natter), series("bare hyper", bare)],
    }
}
