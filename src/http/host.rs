//! Which names this server answers to: the Host of a request.
//!
//! A page of a stranger can have its own name lead to this machine once it is open (DNS rebinding); its requests and WebSockets
//! then count as of its own origin, and carry its name as their Host. So a name that is not this server's is refused.
//!
//! - Where `server.hosts` lists names, these are served, and those that can lead nowhere but to the same machine.
//! - Where it is empty and the server listens on a loopback address, only the latter are; but a proxy that
//!   `server.trusted_proxies` lists has chosen the names that it serves itself.
//! - Otherwise every name is served: a public server's address is no secret, and nothing is gained by its name.
//!
//! A name without a dot cannot be had from a public registry, and an address as such leads nowhere else: on a loopback address the
//! first counts as a name of this machine.

use std::net::IpAddr;

use hyper::{HeaderMap, StatusCode, Uri, header::HOST};

use super::respond::Rejection;
use crate::config::{Server, hosts::Name};

/// Refuses a request to a name that is not this server's. `peer` is the other end of the connection.
pub fn check(config: &Server, uri: &Uri, headers: &HeaderMap, peer: IpAddr) -> Result<(), Rejection> {
    // The target's own, where it has one, is what counts.
    let asked = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => match headers.get(HOST).map(|host| host.to_str()) {
            Some(Ok(host)) => Some(host),
            Some(Err(_)) => return Err(unknown()),
            // HTTP/1.0, which no browser speaks.
            None => None,
        },
    };
    if asked.is_none_or(|host| is_served(config, host, peer)) {
        return Ok(());
    }
    Err(unknown())
}

fn unknown() -> Rejection {
    let detail = "This server does not answer to the name in this request's Host header. If it should, the operator lists the \
                  name in server.hosts.";
    Rejection::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail)
}

fn is_served(config: &Server, asked: &str, peer: IpAddr) -> bool {
    let Some(asked) = Name::parse(asked) else { return false };
    if is_of_this_machine(asked.host) {
        return true;
    }
    if !config.hosts.is_empty() {
        return config.hosts.iter().any(|listed| asked.is_listed_as(listed));
    }
    !config.bind.ip().to_canonical().is_loopback()
        || !asked.host.contains(['.', ':'])
        || config.trusted_proxies.iter().any(|network| network.contains(&peer))
}

/// `localhost`, `….localhost`, and addresses of the loopback.
fn is_of_this_machine(host: &str) -> bool {
    let is = |name: &str| host.eq_ignore_ascii_case(name);
    let below = host.rsplit_once('.').is_some_and(|(_, top)| top.eq_ignore_ascii_case("localhost"));
    is("localhost") || below || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(config: &Server, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        check(config, &"/".parse().unwrap(), &headers, "127.0.0.1".parse().unwrap()).is_ok()
    }

    fn config(bind: &str, hosts: &[&str]) -> Server {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Server { bind: bind.parse().unwrap(), hosts, ..Server::default() }
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_served() {
        for bind in ["127.0.0.1:8000", "[::1]:8000", "127.0.0.5:1"] {
            let config = config(bind, &[]);
            for host in [
                "localhost",
                "localhost:8000",
                "LocalHost.",
                "a.localhost:1",
                "127.0.0.1",
                "127.9.9.9:8000",
                "[::1]",
                "natter",
            ] {
                assert!(served(&config, host), "{bind} {host}");
            }
            for host in [
                "evil.example",
                "evil.example:8000",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "10.0.0.1",
                "[::2]",
                "",
                "a b",
            ] {
                assert!(!served(&config, host), "{bind} {host}");
            }
        }
    }

    #[test]
    fn listed_names_are_served_and_no_others() {
        let config =
            config("0.0.0.0:8000", &["chat.example.org", "*.wide.example", "ported.example:8443", "192.0.2.1"]);
        for host in [
            "chat.example.org",
            "Chat.Example.org.:443",
            "a.wide.example",
            "a.b.wide.example:1",
            "ported.example:8443",
            "192.0.2.1",
            "localhost:1",
        ] {
            assert!(served(&config, host), "{host}");
        }
        for host in [
            "example.org",
            "xchat.example.org",
            "wide.example",
            "xwide.example",
            ".wide.example",
            "ported.example",
            "natter",
            "192.0.2.2",
        ] {
            assert!(!served(&config, host), "{host}");
        }
    }

    #[test]
    fn elsewhere_every_name_is_served_where_none_is_listed() {
        assert!(served(&config("0.0.0.0:8000", &[]), "anything.example"));
        assert!(served(&config("127.0.0.1:1", &["*"]), "anything.example"));
    }

    #[test]
    fn a_trusted_proxy_has_chosen_its_names_itself() {
        let mut config = config("127.0.0.1:8000", &[]);
        assert!(!served(&config, "chat.example.org"));
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        assert!(served(&config, "chat.example.org"));
    }

    #[test]
    fn the_name_in_the_target_counts_where_there_is_one() {
        let (config, mut headers) = (Server::default(), HeaderMap::new());
        headers.insert(HOST, "localhost".parse().unwrap());
        let checked = |uri: &str| check(&config, &uri.parse().unwrap(), &headers, "127.0.0.1".parse().unwrap());
        assert!(checked("http://localhost/").is_ok());
        let refused = checked("http://evil.example/").unwrap_err();
        assert_eq!(refused.status, StatusCode::MISDIRECTED_REQUEST);
    }
}
