//! Shows a URL to people without what in it may be secret: whatever is not known to be harmless.

pub const MASK: &str = "********";

/// Options of a MongoDB URL whose values are no secret, in lower case. Every other value is masked.
const PLAIN: [&str; 42] = [
    "appname",
    "authmechanism",
    "authsource",
    "compressors",
    "connecttimeoutms",
    "directconnection",
    "heartbeatfrequencyms",
    "journal",
    "loadbalanced",
    "localthresholdms",
    "maxconnecting",
    "maxidletimems",
    "maxpoolsize",
    "maxstalenessseconds",
    "minpoolsize",
    "proxyhost",
    "proxyport",
    "readconcernlevel",
    "readpreference",
    "readpreferencetags",
    "replicaset",
    "retryreads",
    "retrywrites",
    "servermonitoringmode",
    "serverselectiontimeoutms",
    "serverselectiontryonce",
    "sockettimeoutms",
    "srvmaxhosts",
    "srvservicename",
    "ssl",
    "timeoutms",
    "tls",
    "tlsallowinvalidcertificates",
    "tlsallowinvalidhostnames",
    "tlscafile",
    "tlscertificatekeyfile",
    "tlsinsecure",
    "uuidrepresentation",
    "w",
    "waitqueuetimeoutms",
    "wtimeoutms",
    "zlibcompressionlevel",
];

/// Any URL in `text`, and lists of them, masked; the rest as it is.
pub fn text(text: &str) -> String {
    let apart = |c: char| c.is_whitespace() || "'\"`<>".contains(c);
    text.split_inclusive(apart).map(|word| if word.contains("://") { urls(word) } else { word.to_owned() }).collect()
}

/// One URL, or several with commas between them.
pub fn urls(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    // A comma may also stand in a password: the next URL begins where a scheme does.
    while let Some(at) = next_url(rest) {
        shown += &one(&rest[..at]);
        rest = &rest[at..];
    }
    shown + &one(rest)
}

/// Where in a list the second URL begins.
fn next_url(text: &str) -> Option<usize> {
    text.match_indices(',').map(|(at, _)| at + 1).find(|at| {
        let scheme = text[*at..].trim_start().split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+'))
    })
}

fn one(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A password may hold an unescaped `@`, `/`, `?` or `#`: the last `@` of all ends it, whatever stands before.
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (login_shown(scheme, login), place),
        None => (String::new(), rest),
    };
    let (place, fragment) = match place.split_once('#') {
        Some((place, _)) => (place, format!("#{MASK}")),
        None => (place, String::new()),
    };
    let place = match place.split_once('?') {
        Some((place, options)) => format!("{place}?{}", options_shown(options)),
        None => place.to_owned(),
    };
    format!("{scheme}://{login}{place}{fragment}")
}

fn login_shown(scheme: &str, login: &str) -> String {
    match login.split_once(':') {
        Some((user, _)) => format!("{user}:{MASK}@"),
        // MongoDB knows users without a password; elsewhere what stands alone is a token.
        None if scheme.trim_start().starts_with("mongodb") => format!("{login}@"),
        None => format!("{MASK}@"),
    }
}

fn options_shown(options: &str) -> String {
    let one = |option: &str| {
        let (option, end) = option.split_at(option.trim_end_matches(['&', ';']).len());
        let name = option.split('=').next().unwrap_or_default();
        let known = option.is_empty() || option.contains('=') && PLAIN.contains(&name.to_lowercase().as_str());
        match (known, option.contains('=')) {
            (true, _) => format!("{option}{end}"),
            (false, true) => format!("{name}={MASK}{end}"),
            (false, false) => format!("{MASK}{end}"),
        }
    };
    options.split_inclusive(['&', ';']).map(one).collect()
}

/// What in a URL may be secret: as it is written, as it is meant, and all of its parts, whatever a reader takes them for.
pub fn secrets(url: &str) -> Vec<String> {
    let Some((_, rest)) = url.split_once("://") else { return Vec::new() };
    let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let password = login.split_once(':').map_or(login, |(_, password)| password);
    let options = place.split_once('?').map_or("", |(_, options)| options);
    let hidden = options.split(['&', ';']).filter_map(|option| {
        let (name, value) = option.split_once('=').unwrap_or(("", option));
        (!PLAIN.contains(&name.to_lowercase().as_str())).then_some(value)
    });
    let mut secrets = Vec::new();
    for secret in std::iter::once(password).chain(hidden).filter(|secret| !secret.is_empty()) {
        let meant = percent_encoding::percent_decode_str(secret).decode_utf8_lossy().into_owned();
        for whole in [secret, &meant] {
            secrets.extend(whole.split(|c: char| !c.is_alphanumeric()).filter(|part| part.len() > 1).map(String::from));
            secrets.push(whole.to_owned());
        }
    }
    // The longest first, so that what is left of one is not taken for another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_in_a_url_is_masked_and_the_rest_is_shown() {
        for (url, shown) in [
            ("sqlite:data/natter.db", "sqlite:data/natter.db"),
            ("mongodb://a,b:1/?replicaSet=rs0", "mongodb://a,b:1/?replicaSet=rs0"),
            ("mongodb://ann@a/", "mongodb://ann@a/"),
            ("mongodb://ann:Zq@a,b/db?w=majority", "mongodb://ann:********@a,b/db?w=majority"),
            ("mongodb+srv://ann:Zq%40Zq@a/", "mongodb+srv://ann:********@a/"),
            ("mongodb://ann:Z/q?Z#q@Zq:@a/", "mongodb://ann:********@a/"),
            ("mongodb://ann:Zq,Zq@a", "mongodb://ann:********@a"),
            (
                "mongodb://a/?tls=true&tlsCertificateKeyFilePassword=Zq",
                "mongodb://a/?tls=true&tlsCertificateKeyFilePassword=********",
            ),
            (
                "mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:Zq&authSource=x",
                "mongodb://a/?authMechanismProperties=********&authSource=x",
            ),
            ("mongodb://a/?proxyPassword=Zq;TLS=true", "mongodb://a/?proxyPassword=********;TLS=true"),
            (
                "mongodb://a/?%74lsCertificateKeyFilePassword=Zq",
                "mongodb://a/?%74lsCertificateKeyFilePassword=********",
            ),
            ("mongodb://a/?Zq", "mongodb://a/?********"),
            ("mongodb://a/#Zq", "mongodb://a/#********"),
            ("nats://Zq@a:4222", "nats://********@a:4222"),
            ("nats://ann:Zq@a, tls://ann:Zq@b", "nats://ann:********@a, tls://ann:********@b"),
            ("nats://a,Zq@b", "nats://********@b"),
            ("nats://ann:Z,q@b", "nats://ann:********@b"),
        ] {
            assert_eq!(urls(url), shown, "{url}");
            assert!(!shown.contains("Zq"));
        }
        assert_eq!(text("unexpected 'nats://Zq@a' found"), "unexpected 'nats://********@a' found");
    }

    #[test]
    fn the_parts_of_a_secret_are_secret_too() {
        let secrets = secrets("mongodb://ann:hun%2Fter@a/?tls=true&proxyPassword=zwei;x=drei");
        for secret in ["hun%2Fter", "hun/ter", "hun", "ter", "zwei", "drei"] {
            assert!(secrets.iter().any(|known| known == secret), "{secret}");
        }
        assert!(!secrets.iter().any(|secret| ["ann", "true", "a"].contains(&secret.as_str())));
    }
}
