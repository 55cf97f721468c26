//! `/docs`: Swagger UI, from files that are part of the program. It asks no other host for anything.

use std::sync::{Arc, LazyLock};

use hyper::{
    StatusCode,
    header::{CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, REFERRER_POLICY},
};

use crate::{
    app::App,
    config::Switch,
    http::{
        embedded::{Embedded, Keep},
        request::Request,
        respond::{Rejection, Response, empty},
    },
};

/// Swagger UI styles its elements one by one and has its icons in its style sheet; scripts are this server's files alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static PAGE: LazyLock<Embedded> = LazyLock::new(|| {
    Embedded::new("page.html", include_str!("page.html"), Keep::Asking)
        .with(CONTENT_SECURITY_POLICY, POLICY)
        .with(REFERRER_POLICY, "no-referrer")
});
static START: LazyLock<Embedded> = LazyLock::new(|| Embedded::new("start.js", include_str!("start.js"), Keep::Asking));
/// As `build.rs` left them.
static BUNDLE: LazyLock<Embedded> =
    LazyLock::new(|| built("bundle.js", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"))));
static STYLE: LazyLock<Embedded> =
    LazyLock::new(|| built("style.css", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"))));

fn built(name: &str, gzip: &'static [u8]) -> Embedded {
    Embedded::unpacked(name, gzip, Keep::Asking).expect("the build has compressed it")
}

/// Refuses where the operator has switched the documentation off (`server.docs`).
pub fn are_on(app: &App) -> Result<(), Rejection> {
    match app.config.server.docs {
        Switch::On => Ok(()),
        Switch::Off => Err(Rejection::not_found()),
    }
}

/// `GET /docs`
pub async fn page(app: &Arc<App>, request: Request) -> Result<Response, Rejection> {
    are_on(app)?;
    Ok(PAGE.answer(&request))
}

/// `GET /docs/{file}`
pub async fn file(app: &Arc<App>, request: Request) -> Result<Response, Rejection> {
    are_on(app)?;
    let file = match request.param("file") {
        "start.js" => &START,
        "swagger-ui-bundle.js" => &BUNDLE,
        "swagger-ui.css" => &STYLE,
        _ => return Err(Rejection::not_found()),
    };
    Ok(file.answer(&request))
}

/// `GET /redoc`
pub async fn redoc(app: &Arc<App>, _request: Request) -> Result<Response, Rejection> {
    are_on(app)?;
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/docs"));
    Ok(response)
}
