//! What `[bus]` says of the NATS servers: where they are, who this natter is to them, whom to believe. And what is wrong
//! with it, or with a server, as a sentence that never holds a secret.

use std::{error::Error, time::Duration};

use async_nats::{
    ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr,
    rustls::{
        self, RootCertStore,
        pki_types::{CertificateDer, pem::PemObject},
    },
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::wire::SUBJECTS;
use crate::config::Bus;

/// How long a server may take to answer a new connection.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// A connection on which three of these were not answered is dead, if nothing else has shown it before.
const PING_TIME: Duration = Duration::from_secs(2);
/// Messages that may wait between the client and its connection. Few: while they wait they get old.
const CLIENT_MESSAGES: usize = 16;
/// Messages of other nodes that may wait until they are heard.
const HEARD_MESSAGES: usize = 1_024;

pub struct Address {
    /// Never empty; without user, password or token.
    pub servers: Vec<ServerAddr>,
    pub options: ConnectOptions,
}

/// Who a natter is to its servers.
#[derive(Clone, PartialEq, Eq)]
enum Who {
    Token(String),
    User(String, String),
}

/// The subject on which the natters of one database speak. Whatever names the database is one token of it.
pub fn subject(cluster: &str) -> String {
    format!("{SUBJECTS}.{}.hints", utf8_percent_encode(cluster, NON_ALPHANUMERIC))
}

pub async fn read(bus: &Bus, name: String) -> Result<Address, String> {
    let (servers, who) = servers(&bus.url)?;
    // One attempt at a time: when to try again, and where, is this bus's own business. The one it makes for itself after a
    // lost connection finds that nobody needs it any more.
    let mut options = ConnectOptions::new()
        .name(name)
        .max_reconnects(1)
        .ignore_discovered_servers()
        .connection_timeout(CONNECT_TIME)
        .ping_interval(PING_TIME)
        .client_capacity(CLIENT_MESSAGES)
        .subscription_capacity(HEARD_MESSAGES);
    match who {
        Some(Who::Token(token)) => options = options.token(token),
        Some(Who::User(user, password)) => options = options.user_and_password(user, password),
        None => {}
    }
    if !bus.tls_ca.is_empty() {
        vouchers(&bus.tls_ca).await?;
        options = options.add_root_certificates(bus.tls_ca.clone().into());
    }
    if !bus.credentials.is_empty() {
        let file = text(&bus.credentials, "bus.credentials").await?;
        options = options.credentials(&file).map_err(|_| {
            format!(
                "`bus.credentials`: {} is not a NATS credentials file, as `nsc generate creds` writes it",
                bus.credentials
            )
        })?;
    }
    Ok(Address { servers, options })
}

/// The servers of a `bus.url`, and who this natter is to all of them.
fn servers(url: &str) -> Result<(Vec<ServerAddr>, Option<Who>), String> {
    let (mut servers, mut known) = (Vec::new(), None);
    for (number, text) in url.split(',').map(str::trim).enumerate() {
        let wrong = |why: &str| format!("`bus.url`: server {} {why}; write it as nats://host:4222", number + 1);
        let (server, who) = server(text).map_err(wrong)?;
        if who.is_some() && known.is_some() && who != known {
            return Err("`bus.url`: all servers must be given the same user and password, or the same token".into());
        }
        known = known.or(who);
        servers.push(server);
    }
    Ok((servers, known))
}

fn server(text: &str) -> Result<(ServerAddr, Option<Who>), &'static str> {
    let server: ServerAddr = text.parse().map_err(|_| "is not a URL")?;
    let plain = |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| "is not UTF-8 text");
    let who = match (server.username(), server.password()) {
        (None, None) => None,
        (None, Some(_)) => return Err("has a password and no user"),
        (Some(token), None) => Some(Who::Token(plain(token)?)),
        (Some(user), Some(password)) => Some(Who::User(plain(user)?, plain(password)?)),
    };
    let mut url = server.into_inner();
    if url.host_str().is_none_or(str::is_empty) {
        return Err("names no host");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("has something after the port");
    }
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| "takes no user")?;
    let server = ServerAddr::from_url(url).map_err(|_| "is neither nats:// nor tls://")?;
    match server.scheme() {
        "nats" | "tls" => Ok((server, who)),
        _ => Err("is neither nats:// nor tls://"),
    }
}

async fn text(path: &str, setting: &str) -> Result<String, String> {
    tokio::fs::read_to_string(path).await.map_err(|error| format!("`{setting}`: {path} cannot be read ({error})"))
}

/// Looks whether the file can vouch for anybody; it is read again for each connection, so that it may be renewed.
async fn vouchers(path: &str) -> Result<(), String> {
    let file = text(path, "bus.tls_ca").await?;
    let wrong = |why: String| format!("`bus.tls_ca`: {path} {why}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(file.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(format!("is not a PEM file ({error})")))?;
        roots.add(certificate).map_err(|error| wrong(format!("has a certificate that cannot be used ({error})")))?;
    }
    if roots.is_empty() { Err(wrong("has no certificate in it; it must be a PEM file".into())) } else { Ok(()) }
}

/// Why there is no connection to `server`.
pub fn why(server: &ServerAddr, error: &ConnectError) -> String {
    let server = server.as_url_str();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => format!(
            "NATS at {server} refuses this natter: check the user and password or the token in `bus.url`, and `bus.credentials`"
        ),
        ConnectErrorKind::TimedOut => format!("NATS at {server} does not answer"),
        ConnectErrorKind::Dns => format!("NATS at {server} has no address ({error}): check `bus.url`"),
        _ => match mistrust(error) {
            Some(why) => {
                format!("NATS at {server} has a certificate that nobody vouches for ({why}): check `bus.tls_ca`")
            }
            None => format!("NATS at {server} cannot be reached ({error})"),
        },
    }
}

/// The TLS error that an error comes from.
fn mistrust(error: &ConnectError) -> Option<&rustls::Error> {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = source {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(error @ rustls::Error::InvalidCertificate(_)) = inner.or_else(|| error.downcast_ref()) {
            return Some(error);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_token_for_any_name() {
        assert_eq!(subject("chat"), "natter.v2.chat.hints");
        assert_eq!(subject("a.b c/*>"), "natter.v2.a%2Eb%20c%2F%2A%3E.hints");
    }

    #[test]
    fn servers_are_named_with_who_this_natter_is_to_them() {
        let (list, who) = servers("nats://a, tls://b:5222 ,nats://[::1]:4223/").unwrap();
        let shown: Vec<(&str, u16)> = list.iter().map(|server| (server.host(), server.port())).collect();
        assert_eq!(shown, [("a", 4222), ("b", 5222), ("::1", 4223)]);
        assert!(who.is_none() && list[1].tls_required());

        let (list, who) = servers("nats://secret%40%2C@a,nats://b").unwrap();
        assert!(who == Some(Who::Token("secret@,".into())));
        assert!(list.iter().all(|server| !server.as_url_str().contains("secret")));
        let (_, who) = servers("nats://ann:p%3Aw@a,nats://ann:p%3Aw@b").unwrap();
        assert!(who == Some(Who::User("ann".into(), "p:w".into())));
    }

    #[test]
    fn a_server_that_cannot_be_one_is_told_by_its_number_and_without_secrets() {
        for (url, told) in [
            ("nats://a,nats://hunter2:x@b:port", "server 2 is not a URL"),
            ("nats://a,,nats://b", "server 2 names no host"),
            ("http://hunter2@a", "server 1 is not a URL"),
            ("ws://hunter2@a", "server 1 is neither"),
            ("nats://:hunter2@a", "server 1 has a password and no user"),
            ("nats://hunter2@a/chat", "server 1 has something after the port"),
            ("nats://hunter2@a,nats://hunter3@b", "all servers must be given the same"),
            ("nats://%ff@a", "server 1 is not UTF-8 text"),
        ] {
            let sentence = servers(url).map(|_| ()).unwrap_err();
            assert!(sentence.contains(told) && !sentence.contains("hunter"), "{url}: {sentence}");
        }
    }
}
