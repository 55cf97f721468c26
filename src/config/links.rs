//! Which variables named like natter's were written by somebody else: what Kubernetes and Docker put into the environment of
//! every container for a service, or a container, that is called `natter` or `natter-…`.
//!
//! A variable is theirs by its name and its value together. `NATTER_PORT=tcp://10.0.0.1:8000` is a link; `NATTER_PORT=8000` is
//! somebody's mistake, who wants to be told.

use std::net::IpAddr;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether `name` is a link's variable. `value_of` asks the same environment.
pub fn is_link<'a>(name: &str, value: &str, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
    is_service(name, value) || is_container(name, value) || is_of_container(name, value_of)
}

/// A service of Kubernetes, or a port of a linked container: `_PORT` and `_PORT_8000_TCP`, with `_PROTO`, `_PORT` and `_ADDR`
/// after it; `_SERVICE_HOST`, `_SERVICE_PORT`, `_SERVICE_PORT_HTTP`.
fn is_service(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") {
        return is_address(value);
    }
    if name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return is_port(value);
    }
    if name.ends_with("_PORT") && is_link_url(value) {
        return true;
    }
    name.match_indices("_PORT_").any(|(at, before)| {
        let mut parts = name[at + before.len()..].split('_');
        let (Some(port), Some(protocol)) = (parts.next(), parts.next()) else { return false };
        let known = is_port(port) && PROTOCOLS.contains(&protocol.to_lowercase().as_str());
        let fits = match (parts.next(), parts.next()) {
            (None, _) => is_link_url(value),
            (Some("PROTO"), None) => PROTOCOLS.contains(&value),
            (Some("PORT"), None) => is_port(value),
            (Some("ADDR"), None) => is_address(value),
            _ => false,
        };
        known && fits
    })
}

/// `NATTER_NAME=/web/natter`: the container's own name, and that by which it was linked.
fn is_container(name: &str, value: &str) -> bool {
    let Some(alias) = name.strip_suffix("_NAME") else { return false };
    let linked = value.strip_prefix('/').and_then(|path| path.split_once('/'));
    linked.is_some_and(|(_, linked)| linked.to_uppercase().replace(['-', '.'], "_") == alias)
}

/// `NATTER_ENV_…`: a variable of the linked container itself.
fn is_of_container<'a>(name: &str, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
    name.match_indices("_ENV_").any(|(at, _)| {
        let of = format!("{}_NAME", &name[..at]);
        value_of(&of).is_some_and(|value| is_container(&of, value))
    })
}

fn is_link_url(value: &str) -> bool {
    value.split_once("://").is_some_and(|(protocol, place)| {
        PROTOCOLS.contains(&protocol) && place.rsplit_once(':').is_some_and(|(_, port)| is_port(port))
    })
}

fn is_address(value: &str) -> bool {
    value.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

fn is_port(value: &str) -> bool {
    value.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_writes_is_known_by_name_and_value() {
        for (name, value) in [
            ("NATTER_PORT", "tcp://10.0.0.1:8000"),
            ("NATTER_PORT", "udp://[fd00::1]:53"),
            ("NATTER_MONGO_PORT", "sctp://10.0.0.1:27017"),
            ("NATTER_SERVICE_HOST", "10.0.0.1"),
            ("NATTER_SERVICE_HOST", "fd00::1"),
            ("NATTER_SERVICE_PORT", "80"),
            ("NATTER_METRICS_SERVICE_PORT_HTTP_METRICS", "9100"),
            ("NATTER_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
            ("NATTER_PORT_8000_TCP_PROTO", "tcp"),
            ("NATTER_PORT_8000_TCP_PORT", "8000"),
            ("NATTER_PORT_8000_TCP_ADDR", "fd00::1"),
            ("NATTER_PORT_53_UDP", "udp://10.0.0.1:53"),
            ("NATTER_STORE__URL_PORT_1_TCP_ADDR", "10.0.0.1"),
            ("NATTER_NAME", "/web/natter"),
            ("NATTER_MY_DB_NAME", "/web/natter-my.db"),
            ("DB_NAME", "/web/db"),
        ] {
            assert!(is_link(name, value, |_| None), "{name}={value}");
        }
        let linked = |name: &str| (name == "NATTER_NAME").then_some("/web/natter");
        assert!(is_link("NATTER_ENV_LIMITS__PAGE_MAX", "7", linked));
    }

    #[test]
    fn a_mistake_is_no_link() {
        for (name, value) in [
            ("NATTER_PORT", "8000"),
            ("NATTER_PORT", "http://10.0.0.1:8000"),
            ("NATTER_SERVER_PORT", "8000"),
            ("NATTER_SERVER__PORT", "8000"),
            ("NATTER_SERVICE_HOST", "chat.example.org"),
            ("NATTER_SERVER_BIND", "10.0.0.1:80"),
            ("NATTER_PORT_8000_TCP_ADDRESS", "10.0.0.1"),
            ("NATTER_PORT_HTTP", "80"),
            ("NATTER_DB_NAME", "natter"),
            ("NATTER_NAME", "/natter"),
            ("DB_NAME", "chat"),
            ("NATTER_ENV_X", "7"),
        ] {
            assert!(!is_link(name, value, |_| None), "{name}={value}");
        }
    }
}
