//! Which pages of other origins may use the API: the listed ones, and never all.

use reqwest::Method;

use crate::harness::{Answer, PASSWORD, Server};

const PAGE: &str = "https://chat.example.org";
const OTHER: &str = "https://evil.example.org";

async fn server() -> Server {
    Server::with(&[("server.allowed_origins", r#"["https://chat.example.org","http://localhost:3000"]"#)]).await
}

async fn preflight(server: &Server, origin: &str, path: &str) -> Answer {
    let build = |request: reqwest::RequestBuilder| {
        request
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization, content-type")
    };
    server.reach.request(Method::OPTIONS, path, build).await
}

fn cors_headers(answer: &Answer) -> Vec<&str> {
    answer.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("access-control")).collect()
}

#[tokio::test]
async fn a_preflight_of_a_listed_origin_is_told_what_it_may() {
    let server = server().await;
    for origin in [PAGE, "http://localhost:3000"] {
        let answer = preflight(&server, origin, "/chat/new").await;
        assert!([200, 204].contains(&answer.status), "{}", answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
        let headers = answer.header("access-control-allow-headers").expect("allowed headers").to_ascii_lowercase();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
        assert!(answer.header("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("origin")));
    }
}

#[tokio::test]
async fn an_origin_that_is_not_listed_is_told_nothing() {
    let server = server().await;
    let near =
        [OTHER, "null", "https://chat.example.org.evil.org", "http://chat.example.org", "https://chat.example.org:444"];
    for origin in near {
        assert_eq!(cors_headers(&preflight(&server, origin, "/chat/new").await), [] as [&str; 0], "{origin}");
        let answer = server.reach.request(Method::GET, "/healthz", |request| request.header("origin", origin)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(cors_headers(&answer), [] as [&str; 0], "{origin}");
    }
}

#[tokio::test]
async fn answers_and_errors_can_be_read_by_a_listed_origin() {
    let server = server().await;
    server.person("ann").await;
    let form = [("username", "ann"), ("password", PASSWORD)];
    let token =
        server.reach.request(Method::POST, "/token", |request| request.header("origin", PAGE).form(&form)).await;
    assert_eq!(token.header("access-control-allow-origin"), Some(PAGE));
    token.ok();
    for path in ["/users/me", "/nowhere", "/token"] {
        let answer = server.reach.request(Method::GET, path, |request| request.header("origin", PAGE)).await;
        assert!(answer.status >= 400);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{path}");
    }
}

#[tokio::test]
async fn without_a_list_no_origin_is_allowed() {
    let server = Server::start().await;
    assert_eq!(cors_headers(&preflight(&server, PAGE, "/chat/new").await), [] as [&str; 0]);
}

#[tokio::test]
async fn a_star_is_no_origin() {
    let setup = crate::harness::Setup::new().set("server.allowed_origins", r#"["*"]"#);
    let refused = setup.args(&["check-config"]).run().await.failed();
    assert!(refused.contains("allowed_origins"), "{refused}");
}
