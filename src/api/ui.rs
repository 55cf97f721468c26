//! The web client: the files of `src/ui`, served from the binary. The page has its style and the script that runs before the first
//! paint in it, and loads one script made of all modules (`bundle.rs`).
//!
//! | path | what | kept by browsers |
//! |---|---|---|
//! | `/` | `index.html` | asked for each time |
//! | `/natter.js` | the protocol module, under a name that stays; pages of any origin may import it | asked for each time |
//! | `/assets/{hash}/{file}` | the script and the icons | for good |
//! | `/favicon.ico` | the icon, for who doesn't read the page | asked for each time |
//!
//! The hash is over all files, so a page and what it loads are of one version, and modules may import each other by `./name`.
//! An asset of another version is a 404 that nobody keeps, never the file of this one: while two versions serve behind one
//! balancer, a page would else be made of both. The balancer takes such a 404 to the other server (`deploy/` says how);
//! where it doesn't, the page is loaded again, and what it has loaded already is kept.
//!
//! Comments are for who reads the source or `/natter.js`; the assets go without.

mod bundle;

use std::sync::{Arc, LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY},
};

use sha2::{Digest, Sha256};

use self::bundle::bundle;
use crate::{
    app::App,
    http::{
        embedded::{Embedded, Keep, digest},
        request::Request,
        respond::{Rejection, Response},
    },
};

type File = (&'static str, &'static str);

const PAGE: File = ("index.html", include_str!("../ui/index.html"));
const MODULE: File = ("natter.js", include_str!("../ui/natter.js"));
const ICON: File = ("icon.svg", include_str!("../ui/icon.svg"));

/// Served as they are.
const ICONS: &[File] = &[ICON, ("icon-new.svg", include_str!("../ui/icon-new.svg"))];

/// Parts of the page.
const STYLE: File = ("style.css", include_str!("../ui/style.css"));
const THEME: File = ("theme.js", include_str!("../ui/theme.js"));

/// The script that all modules become.
const START: &str = "app.js";

const MODULES: &[File] = &[
    MODULE,
    ("account.js", include_str!("../ui/account.js")),
    ("actions.js", include_str!("../ui/actions.js")),
    ("admin.js", include_str!("../ui/admin.js")),
    ("app.js", include_str!("../ui/app.js")),
    ("composer.js", include_str!("../ui/composer.js")),
    ("conversation.js", include_str!("../ui/conversation.js")),
    ("dialogs.js", include_str!("../ui/dialogs.js")),
    ("dom.js", include_str!("../ui/dom.js")),
    ("finding.js", include_str!("../ui/finding.js")),
    ("keys.js", include_str!("../ui/keys.js")),
    ("members.js", include_str!("../ui/members.js")),
    ("model.js", include_str!("../ui/model.js")),
    ("names.js", include_str!("../ui/names.js")),
    ("notify.js", include_str!("../ui/notify.js")),
    ("prefs.js", include_str!("../ui/prefs.js")),
    ("room.js", include_str!("../ui/room.js")),
    ("rows.js", include_str!("../ui/rows.js")),
    ("sidebar.js", include_str!("../ui/sidebar.js")),
    ("text.js", include_str!("../ui/text.js")),
    ("timeline.js", include_str!("../ui/timeline.js")),
];

/// Everything that the page needs comes from this origin or is in it; no script, style or markup is made of text.
fn policy(theme: &str, style: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; script-src 'self' {}; style-src {}; connect-src 'self'; img-src 'self'; \
         font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(theme),
        hash(style)
    )
}

/// Devices and powers that a chat never asks for, so that nothing that got into the page could.
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), \
    microphone=(), midi=(), payment=(), usb=()";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

struct Ui {
    hash: String,
    page: Embedded,
    module: Embedded,
    icon: Embedded,
    assets: Vec<(&'static str, Embedded)>,
}

/// Made for the first request.
static UI: LazyLock<Ui> = LazyLock::new(|| {
    let script = bundle(START, MODULES);
    let all = ICONS.iter().copied().chain([(START, script.as_str())]);
    let parts: Vec<&[u8]> = all.clone().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]).collect();
    let hash = digest(parts);
    let asset = |(name, text): (&'static str, &str)| {
        (name, Embedded::new(name, text.to_owned(), Keep::ForEver).with(RESOURCE_POLICY, "same-origin"))
    };
    let (theme, style) = (short(THEME), short(STYLE));
    let page = PAGE.1.replace("{{assets}}", &path(&hash)).replace("{{theme}}", &theme).replace("{{style}}", &style);
    Ui {
        page: Embedded::new(PAGE.0, page, Keep::Asking)
            .with(CONTENT_SECURITY_POLICY, &policy(&theme, &style))
            .with(REFERRER_POLICY, "no-referrer")
            .with(OPENER_POLICY, "same-origin")
            .with(RESOURCE_POLICY, "same-origin")
            .with(PERMISSIONS_POLICY, PERMISSIONS),
        module: Embedded::new(MODULE.0, MODULE.1, Keep::Asking)
            .with(ACCESS_CONTROL_ALLOW_ORIGIN, "*")
            .with(RESOURCE_POLICY, "cross-origin"),
        icon: Embedded::new(ICON.0, ICON.1, Keep::Asking).with(RESOURCE_POLICY, "same-origin"),
        assets: all.map(asset).collect(),
        hash,
    }
});

/// A file as it stands in the page.
fn short((name, text): File) -> String {
    let text = without_comments(name, text);
    text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// A script or style without the lines that are nothing but comment, which are left empty. What begins behind code stays: to tell it from a text with slashes in it would need a parser.
fn without_comments(name: &str, text: &str) -> String {
    if !name.ends_with(".js") && !name.ends_with(".css") {
        return text.to_owned();
    }
    let mut inside = false;
    let kept = text.split('\n').map(|line| {
        let bare = line.trim();
        let begins = !inside && bare.starts_with("/*");
        // One with code behind its end is none of ours.
        let whole = begins && bare.ends_with("*/") && bare.matches("*/").count() == 1;
        let comment =
            inside || whole || begins && !bare.contains("*/") || name.ends_with(".js") && bare.starts_with("//");
        inside = comment && !whole && (inside || begins) && !bare.ends_with("*/");
        if comment { "" } else { line }
    });
    kept.collect::<Vec<_>>().join("\n")
}

fn path(hash: &str) -> String {
    format!("/assets/{hash}")
}

/// Where the assets of this binary are, and their names.
pub fn assets() -> (String, Vec<&'static str>) {
    (path(&UI.hash), UI.assets.iter().map(|(name, _)| *name).collect())
}

/// `GET /`: the web client.
pub async fn page(_app: &Arc<App>, request: Request) -> Result<Response, Rejection> {
    Ok(UI.page.answer(&request))
}

/// `GET /natter.js`: the protocol module.
pub async fn module(_app: &Arc<App>, request: Request) -> Result<Response, Rejection> {
    Ok(UI.module.answer(&request))
}

/// `GET /favicon.ico`: the icon.
pub async fn icon(_app: &Arc<App>, request: Request) -> Result<Response, Rejection> {
    Ok(UI.icon.answer(&request))
}

/// `GET /assets/{hash}/{file}`: what the page loads.
pub async fn asset(_app: &Arc<App>, request: Request) -> Result<Response, Rejection> {
    if request.param("hash") != UI.hash {
        let detail = "This file is of another version of natter; load the page again.";
        return Err(Rejection::new(StatusCode::NOT_FOUND, "other_version", detail));
    }
    let wanted = request.param("file");
    let found = UI.assets.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, file)| file.answer(&request)).ok_or_else(Rejection::not_found)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui");
        let there = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let embedded = [PAGE, STYLE, THEME].iter().chain(ICONS).chain(MODULES).map(|(name, _)| name.to_string());
        assert_eq!(embedded.collect::<BTreeSet<_>>(), there.collect());
    }

    #[test]
    fn lines_that_are_comments_are_left_empty_and_all_others_stay() {
        let js = "// a\nlet a = '//' // b\n/* c */\n  /**\n   * d\n   */\n/* e */ f()\n'/*'\n/* g\nh */\n`*/`\n";
        let left = "\nlet a = '//' // b\n\n\n\n\n/* e */ f()\n'/*'\n\n\n`*/`\n";
        assert_eq!(without_comments("a.js", js), left);
        assert_eq!(without_comments("a.css", "/* a\n b */\n//c\na { b: c } /* d */"), "\n\n//c\na { b: c } /* d */");
        assert_eq!(without_comments("a.svg", "// a"), "// a");
    }
}
