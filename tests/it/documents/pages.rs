//! How the documents and the page are served.

use reqwest::{Method, header::HeaderMap};

use super::{REST, SOCKETS};
use crate::harness::{Answer, Server};

const FILES: [&str; 6] = [
    "/openapi.json",
    "/asyncapi.json",
    "/docs",
    "/docs/start.js",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
];

async fn get(server: &Server, path: &str, header: (&str, &str)) -> Answer {
    server.reach.request(Method::GET, path, |request| request.header(header.0, header.1)).await
}

#[tokio::test]
async fn the_documents_are_served_as_they_are() {
    let server = Server::start().await;
    assert_eq!(server.reach.get("/openapi.json").await.ok(), REST.document);
    assert_eq!(server.reach.get("/asyncapi.json").await.ok(), SOCKETS.document);
}

#[tokio::test]
async fn each_file_has_a_tag_and_is_not_sent_again_to_who_has_it() {
    let server = Server::start().await;
    for path in FILES {
        let answer = server.reach.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let tag = answer.header("etag").expect("a tag").to_owned();
        let known = get(&server, path, ("if-none-match", &tag)).await;
        assert_eq!((known.status, known.bytes.len()), (304, 0), "{path}");
        assert_eq!(known.header("etag"), Some(&*tag), "{path}");
        let other = get(&server, path, ("if-none-match", "\"another\"")).await;
        assert_eq!((other.status, other.bytes), (200, answer.bytes), "{path}");
        let head = server.reach.request(Method::HEAD, path, |request| request).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn each_file_is_compressed_for_who_takes_it() {
    let server = Server::start().await;
    let length =
        |headers: &HeaderMap| headers["content-length"].to_str().expect("digits").parse::<usize>().expect("a length");
    for path in FILES {
        let packed = get(&server, path, ("accept-encoding", "gzip")).await;
        let plain = get(&server, path, ("accept-encoding", "identity")).await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        assert!(packed.header("vary").is_some_and(|vary| vary.contains("Accept-Encoding")), "{path}");
        assert!(length(&packed.headers) < length(&plain.headers), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_swagger_ui_under_a_policy_of_its_own_and_names_no_other_host() {
    let server = Server::start().await;
    let page = server.reach.get("/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy");
    for part in ["default-src 'none'", "script-src 'self';", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("http"), "{policy}");
    for path in ["/docs", "/docs/start.js"] {
        let text = server.reach.get(path).await.text().to_owned();
        assert!(!text.contains("http:") && !text.contains("https:"), "{text}");
    }
    let linked =
        page.text().split(['"', '\'']).filter(|text| text.starts_with('/')).map(String::from).collect::<Vec<_>>();
    assert!(linked.len() >= 3, "{linked:?}");
    for path in linked {
        assert_eq!(server.reach.get(&path).await.status, 200, "{path}");
    }
    server.reach.get("/docs/index.html").await.refused(404);
    server.reach.get("/docs/..%2Fpage.html").await.refused(404);
}

#[tokio::test]
async fn other_paths_of_the_page_lead_to_it() {
    let server = Server::start().await;
    for path in ["/redoc", "/docs/"] {
        let answer = server.reach.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (307, Some("/docs")), "{path}");
    }
}
