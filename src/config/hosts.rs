//! Names of hosts, as requests and `server.hosts` write them.

/// A host and its port, without the brackets of an IPv6 address and the dot at the end of a whole name.
pub struct Name<'a> {
    pub host: &'a str,
    port: Option<&'a str>,
}

impl<'a> Name<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(v6) => v6.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port).filter(|port| !port.is_empty()),
            Some(_) => return None,
            None if rest.is_empty() => None,
            None => return None,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        (!host.is_empty() && host.bytes().all(host_byte)).then_some(Self { host, port })
    }

    /// `*`, `chat.example.org`, `chat.example.org:8443` for that port alone, `*.example.org` for all names below it.
    pub fn is_listed_as(&self, listed: &str) -> bool {
        if listed == "*" {
            return true;
        }
        let (any_below, listed) = match listed.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, listed),
        };
        let Some(listed) = Name::parse(listed) else { return false };
        if listed.port.is_some() && listed.port != self.port {
            return false;
        }
        if !any_below {
            return self.host.eq_ignore_ascii_case(listed.host);
        }
        let at = self.host.len().checked_sub(listed.host.len() + 1);
        at.and_then(|at| self.host.split_at_checked(at)).is_some_and(|(below, rest)| {
            !below.is_empty() && rest[..1] == *"." && rest[1..].eq_ignore_ascii_case(listed.host)
        })
    }
}

/// Whether an entry of `server.hosts` is one that a name can be held against.
pub(super) fn is_well_formed(listed: &str) -> bool {
    listed == "*" || Name::parse(listed.strip_prefix("*.").unwrap_or(listed)).is_some()
}
