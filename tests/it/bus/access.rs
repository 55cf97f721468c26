//! Who a node is to a NATS server, whom it believes, and the sentences for what is wrong with either.

use std::sync::Arc;

use natter::{
    bus::{Bus, nats::NatsBus},
    config::Config,
    metrics::Metrics,
};

use super::node::{Node, config, typing};
use crate::harness::{Authority, Identity, Nats};

/// A server with TLS, whose certificate for 127.0.0.1 is vouched for by `ca.pem` beside it.
async fn nats_with_tls() -> Nats {
    let authority = Authority::new();
    let Identity { certificate, key } = authority.identity();
    let files = [("ca.pem", authority.pem()), ("server.pem", certificate), ("server.key", key)];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Nats::with_files(r#"tls { cert_file: "{dir}/server.pem", key_file: "{dir}/server.key" }"#, &files).await
}

/// Why the bus does not even begin.
async fn refused(config: &Config) -> String {
    let bus = NatsBus::connect(config, "chat", Arc::new(Metrics::default())).await;
    bus.err().expect("it must be refused")
}

async fn hear_each_other(config: &Config) {
    let [ann, mut bob] = Node::several(config).await;
    let hint = typing();
    ann.bus.publish(hint.clone());
    assert_eq!(bob.hint().await, hint);
}

#[tokio::test]
async fn a_token_lets_in_and_a_wrong_one_is_told() {
    let nats = Nats::with("authorization { token: \"open/sesame\" }").await;
    hear_each_other(&config(&nats.url_as("open%2Fsesame@"))).await;
    for who in ["close-sesame@", ""] {
        let node = Node::start(&nats.url_as(who)).await;
        let why = node.cut_saying("refuses this natter: check the user and password or the token in `bus.url`").await;
        assert!(why.contains(&nats.url()) && !why.contains("sesame"), "{why}");
    }
}

#[tokio::test]
async fn a_user_and_password_let_in_and_wrong_ones_are_told() {
    let nats = Nats::with("authorization { user: natter, password: \"p@ss:word\" }").await;
    hear_each_other(&config(&nats.url_as("natter:p%40ss%3Aword@"))).await;
    let node = Node::start(&nats.url_as("natter:passw0rd@")).await;
    let why = node.cut_saying("refuses this natter").await;
    assert!(!why.contains("passw0rd"), "{why}");
}

#[tokio::test]
async fn a_user_who_may_not_speak_on_the_subject_is_told() {
    let permissions = r#"{ publish: "other.>", subscribe: "natter.v2.>" }"#;
    let nats =
        Nats::with(&format!("authorization {{ users: [{{ user: u, password: p, permissions: {permissions} }}] }}"))
            .await;
    let node = Node::start(&nats.url_as("u:p@")).await;
    node.cut_saying("`Permissions Violation for Publish to").await;
}

#[tokio::test]
async fn tls_is_spoken_with_servers_that_somebody_vouches_for() {
    let nats = nats_with_tls().await;
    for url in [nats.url(), nats.url().replace("nats://", "tls://")] {
        let mut trusting = config(&url);
        trusting.bus.tls_ca = nats.file("ca.pem");
        hear_each_other(&trusting).await;
        let stranger = Node::start(&url).await;
        stranger.cut_saying("has a certificate that nobody vouches for").await;
    }
}

#[tokio::test]
async fn tls_that_is_asked_for_is_not_gone_without() {
    let nats = Nats::start().await;
    let node = Node::start(&nats.url().replace("nats://", "tls://")).await;
    node.cut_saying("cannot be reached").await;
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start() {
    let nats = Nats::with_files("", &[("empty", ""), ("bad.pem", "-----BEGIN CERTIFICATE-----\n!\n")]).await;
    let with = |credentials: &str, tls_ca: &str| {
        let mut config = config(&nats.url());
        (config.bus.credentials, config.bus.tls_ca) = (credentials.into(), tls_ca.into());
        config
    };
    let (missing, empty) = (nats.file("missing"), nats.file("empty"));
    assert!(refused(&with(&missing, "")).await.contains("`bus.credentials`: "));
    assert!(refused(&with(&missing, "")).await.contains("missing cannot be read (No such file"));
    assert!(refused(&with(&empty, "")).await.contains("empty is not a NATS credentials file"));
    assert!(refused(&with("", &missing)).await.contains("missing cannot be read (No such file"));
    assert!(refused(&with("", &empty)).await.contains("empty has no certificate in it"));
    assert!(refused(&with("", &nats.file("bad.pem"))).await.contains("bad.pem is not a PEM file"));
}

#[tokio::test]
async fn a_url_that_cannot_be_one_stops_the_start() {
    let why = refused(&config("nats://hunter2@localhost:port")).await;
    assert_eq!(why, "`bus.url`: server 1 is not a URL; write it as nats://host:4222");
}
