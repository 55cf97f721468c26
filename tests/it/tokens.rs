//! Every way to forge or bend an access token, on REST and on sockets.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use crate::harness::{Person, Server, until};

const KEY: &str = "a key of this test, long enough to be taken as a good one";

async fn server() -> Server {
    Server::with(&[("SECRET_KEY", KEY)]).await
}

/// The claims of a token of the server's own.
fn claims(token: &str) -> Value {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    let key = DecodingKey::from_secret(KEY.as_bytes());
    natter::auth::hmac::use_for_tokens();
    jsonwebtoken::decode::<Value>(token, &key, &validation).expect("a token signed with the configured key").claims
}

fn signed(algorithm: Algorithm, key: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(key.as_bytes());
    natter::auth::hmac::use_for_tokens();
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("claims that can be signed")
}

fn resigned(claims: &Value) -> String {
    signed(Algorithm::HS256, KEY, claims)
}

fn part(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

/// The token is refused by REST and by both sockets, with these words.
async fn assert_refused(ann: &Person, room: &str, what: &str, token: &str, detail: &str) {
    let forged = ann.holding(token);
    for path in ["/users/me", "/chat/my-chats"] {
        let answer = forged.get(path).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        answer.refused_saying(401, detail);
    }
    for path in ["/ws".to_owned(), format!("/ws/chat/{room}")] {
        assert_eq!(ann.reach.handshake(&path).bearer(token).refused(401).await["detail"], detail, "{what}");
        assert_eq!(ann.reach.handshake(&path).bearer_protocol(token).refused(401).await["detail"], detail, "{what}");
    }
}

#[tokio::test]
async fn a_token_names_its_user_its_login_and_its_time() {
    let server = server().await;
    let ann = server.person("ann").await;
    let claims = claims(&ann.token);
    assert_eq!(claims["sub"], "ann");
    assert_eq!(claims["uid"], ann.me().await["user_id"]);
    assert!(claims["sid"].is_string() && claims["ver"].is_u64(), "{claims}");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 30 * 60);
    let again = server.sign_in("ann").await;
    assert_ne!(claims["sid"], self::claims(&again.token)["sid"], "every login is one of its own");
}

#[tokio::test]
async fn a_token_signed_again_with_the_servers_key_is_as_good() {
    let server = server().await;
    let ann = server.person("ann").await;
    ann.holding(&resigned(&claims(&ann.token))).me().await;
}

#[tokio::test]
async fn unsigned_and_wrongly_signed_tokens_are_invalid() {
    let server = server().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let good = claims(&ann.token);
    let parts: Vec<&str> = ann.token.split('.').collect();
    let [head, body, signature] = parts[..] else { panic!("not a JWT: {}", ann.token) };
    let mut as_admin = good.clone();
    as_admin["sub"] = json!("root");
    let header = |alg: &str| part(&json!({"typ": "JWT", "alg": alg}));
    let other_key = signed(Algorithm::HS256, "another key, also long enough to be a good one", &good);
    let forgeries = [
        ("none, no signature", format!("{}.{body}.", header("none"))),
        ("None, old signature", format!("{}.{body}.{signature}", header("None"))),
        ("NONE, two parts", format!("{}.{body}", header("NONE"))),
        ("no signature", format!("{head}.{body}.")),
        ("another key", other_key),
        ("an empty key", signed(Algorithm::HS256, "", &good)),
        ("HS384 with the right key", signed(Algorithm::HS384, KEY, &good)),
        ("HS512 with the right key", signed(Algorithm::HS512, KEY, &good)),
        ("says RS256, old signature", format!("{}.{body}.{signature}", header("RS256"))),
        ("no algorithm", format!("{}.{body}.{signature}", part(&json!({"typ": "JWT"})))),
        ("another payload", format!("{head}.{}.{signature}", part(&as_admin))),
        ("another's signature", format!("{head}.{body}.{}", bob.token.rsplit('.').next().unwrap())),
        ("a signature cut short", ann.token[..ann.token.len() - 4].to_owned()),
        ("a fourth part", format!("{}.x", ann.token)),
        ("no token", "x.y.z".to_owned()),
        ("nothing but dots", "..".to_owned()),
    ];
    for (what, token) in forgeries {
        assert_refused(&ann, &room, what, &token, "Invalid token").await;
    }
    ann.me().await;
}

#[tokio::test]
async fn every_claim_must_be_there_and_have_its_type() {
    let server = server().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let good = claims(&ann.token);
    for claim in ["sub", "uid", "sid", "ver", "iat", "exp"] {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(claim);
        assert_refused(&ann, &room, &format!("no {claim}"), &resigned(&without), "Invalid token").await;
        let mut odd = good.clone();
        odd[claim] = json!([{"odd": true}]);
        assert_refused(&ann, &room, &format!("odd {claim}"), &resigned(&odd), "Invalid token").await;
    }
    assert_refused(&ann, &room, "claims that are a list", &resigned(&json!([1, 2])), "Invalid token").await;
}

#[tokio::test]
async fn every_claim_must_be_that_of_a_login_that_stands() {
    let server = server().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let (good, of_bob) = (claims(&ann.token), claims(&bob.token));
    let nobody = json!("01900000-0000-7000-8000-000000000000");
    let version = good["ver"].as_u64().unwrap();
    let wrong = [
        ("uid", nobody.clone()),
        ("uid", of_bob["uid"].clone()),
        ("uid", json!("not an id")),
        ("sid", nobody),
        ("sid", of_bob["sid"].clone()),
        ("sid", json!("")),
        ("ver", json!(version + 1)),
        ("ver", json!(u64::MAX)),
        ("ver", json!(-1)),
    ];
    for (claim, value) in wrong {
        let mut bent = good.clone();
        bent[claim] = value.clone();
        assert_refused(&ann, &room, &format!("{claim} = {value}"), &resigned(&bent), "Invalid token").await;
    }
}

#[tokio::test]
async fn the_name_in_a_token_must_be_that_of_its_user() {
    let server = server().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for name in ["bob", "nobody", "Ann", "ann ", "", "\u{430}nn"] {
        let mut bent = claims(&ann.token);
        bent["sub"] = json!(name);
        let bent = resigned(&bent);
        assert_refused(&ann, &room, &format!("sub = {name:?}"), &bent, "Invalid token").await;
        // Also where the login was looked at a moment ago, and on a socket that is open.
        ann.me().await;
        ann.holding(&bent).get("/users/me").await.refused_saying(401, "Invalid token");
        let mut socket = ann.socket().await;
        let answer = socket.ask(json!({"type": "auth", "token": bent})).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("invalid_token")), "sub = {name:?}");
    }
}

#[tokio::test]
async fn what_a_token_says_beyond_what_the_server_writes_is_refused_or_kept() {
    let server = server().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let good = claims(&ann.token);
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    for (claim, value) in [
        ("nbf", json!(now + 600)),
        ("nbf", json!(now + 1_000_000)),
        ("nbf", json!("now")),
        ("nbf", json!(null)),
        ("iat", json!(now + 600)),
        ("iat", json!(now + 1_000_000)),
        ("aud", json!("another service")),
        ("iss", json!("another service")),
        ("jti", json!("1")),
        ("roles", json!(["admin"])),
    ] {
        let mut bent = good.clone();
        bent[claim] = value.clone();
        assert_refused(&ann, &room, &format!("{claim} = {value}"), &resigned(&bent), "Invalid token").await;
    }
    let mut begun = good.clone();
    begun["nbf"] = json!(now - 1);
    ann.holding(&resigned(&begun)).me().await;

    for (what, header) in [
        ("crit", json!({"typ": "JWT", "alg": "HS256", "crit": ["exp"]})),
        ("crit and b64", json!({"alg": "HS256", "crit": ["b64"], "b64": false})),
        ("an empty crit", json!({"alg": "HS256", "crit": []})),
        ("kid", json!({"typ": "JWT", "alg": "HS256", "kid": "../../dev/null"})),
        ("jwk", json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "aw"}})),
        ("another type", json!({"typ": "at+jwt", "alg": "HS256"})),
        ("an algorithm in other letters", json!({"typ": "JWT", "alg": "hs256"})),
        ("an unknown algorithm", json!({"typ": "JWT", "alg": "HS9000"})),
    ] {
        let message = format!("{}.{}", part(&header), part(&good));
        let key = EncodingKey::from_secret(KEY.as_bytes());
        natter::auth::hmac::use_for_tokens();
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature");
        assert_refused(&ann, &room, what, &format!("{message}.{signature}"), "Invalid token").await;
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_as_expired() {
    let server = server().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut old = claims(&ann.token);
    old["exp"] = json!(old["iat"].as_i64().unwrap() - 1);
    assert_refused(&ann, &room, "expired", &resigned(&old), "Token expired").await;
    old["exp"] = json!(0);
    assert_refused(&ann, &room, "expired in 1970", &resigned(&old), "Token expired").await;
}

#[tokio::test]
async fn a_token_that_was_good_a_moment_ago_is_refused_as_expired_when_its_time_is_over() {
    let server = server().await;
    let ann = server.person("ann").await;
    let mut short = claims(&ann.token);
    short["exp"] = json!(time::OffsetDateTime::now_utc().unix_timestamp() + 3);
    let brief = ann.holding(&resigned(&short));
    brief.me().await;
    brief.me().await;
    until("the token's end", async || brief.get("/users/me").await.status != 200).await;
    brief.get("/users/me").await.refused_saying(401, "Token expired");
    ann.me().await;
}

#[tokio::test]
async fn a_token_that_was_good_a_moment_ago_is_invalid_once_its_login_has_ended() {
    let server = server().await;
    let (ann, bob) = server.two_people().await;
    let (root, room) = (server.admin().await, ann.private(&bob).await);
    let by_root = async |way: &str| drop(root.post_empty(&format!("/users/ann/{way}")).await.ok());
    for way in ["revoke", "logout", "disable"] {
        let person = server.sign_in("ann").await;
        person.me().await;
        person.me().await;
        match way {
            "revoke" => drop(person.revoke().await.ok()),
            _ => by_root(way).await,
        }
        assert_refused(&person, &room, way, &person.token, "Invalid token").await;
    }
    by_root("enable").await;
    server.sign_in("ann").await.me().await;
}

#[tokio::test]
async fn a_byte_changed_in_a_token_that_was_good_a_moment_ago_makes_it_invalid() {
    let server = server().await;
    let ann = server.person("ann").await;
    for at in (0..ann.token.len()).step_by(7) {
        ann.me().await;
        let other = if ann.token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut changed = ann.token.clone();
        changed.replace_range(at..=at, other);
        ann.holding(&changed).get("/users/me").await.refused_saying(401, "Invalid token");
    }
    ann.me().await;
}

#[tokio::test]
async fn more_tokens_than_are_remembered_are_all_good_and_the_bound_is_counted() {
    let server = Server::with(&[("SECRET_KEY", KEY), ("auth.cached_tokens", "2")]).await;
    let ann = server.person("ann").await;
    let mut other = claims(&ann.token);
    let tokens: Vec<String> = (1..=6)
        .map(|n| {
            other["iat"] = json!(n);
            resigned(&other)
        })
        .collect();
    for token in tokens.iter().chain(&tokens) {
        ann.holding(token).me().await;
    }
    let hits = server.metrics().await.get("natter_bound_hits_total{setting=\"auth.cached_tokens\"}").copied();
    assert!(hits.is_some_and(|hits| hits >= 1.0), "{hits:?}");
}

#[tokio::test]
async fn the_token_of_an_ended_login_is_invalid_while_the_users_others_stand() {
    let server = server().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let elsewhere = server.sign_in("ann").await;
    elsewhere.revoke().await.ok();
    assert_refused(&ann, &room, "revoked", &elsewhere.token, "Invalid token").await;
    ann.me().await;
}

#[tokio::test]
async fn the_oldest_login_ends_when_there_would_be_too_many() {
    let server = Server::with(&[("auth.sessions_per_user", "2")]).await;
    let first = server.person("ann").await;
    let second = server.sign_in("ann").await;
    let third = server.sign_in("ann").await;
    first.get("/users/me").await.refused(401);
    second.me().await;
    third.me().await;
}

#[tokio::test]
async fn the_configured_algorithm_is_the_only_one() {
    let server = Server::with(&[("SECRET_KEY", KEY), ("ALGORITHM", "HS512")]).await;
    let ann = server.person("ann").await;
    let header = jsonwebtoken::decode_header(&ann.token).expect("a JWT");
    assert_eq!(header.alg, Algorithm::HS512);
    let mut validation = Validation::new(Algorithm::HS512);
    validation.validate_exp = false;
    let key = DecodingKey::from_secret(KEY.as_bytes());
    natter::auth::hmac::use_for_tokens();
    let claims = jsonwebtoken::decode::<Value>(&ann.token, &key, &validation).expect("signed with the key").claims;
    ann.holding(&signed(Algorithm::HS256, KEY, &claims)).get("/users/me").await.refused_saying(401, "Invalid token");
    ann.me().await;
}

#[tokio::test]
async fn a_token_in_the_wrong_place_or_scheme_is_no_token() {
    let server = server().await;
    let ann = server.person("ann").await;
    for value in [format!("Basic {}", ann.token), ann.token.clone(), "Bearer".to_owned(), "Bearer ".to_owned()] {
        let answer = server
            .reach
            .request(reqwest::Method::GET, "/users/me", |request| request.header("authorization", &value))
            .await;
        answer.refused(401);
    }
    server.reach.get(&format!("/users/me?token={}", ann.token)).await.refused_saying(401, "Not authenticated");
    let lower = format!("bearer {}", ann.token);
    let answer = server
        .reach
        .request(reqwest::Method::GET, "/users/me", |request| request.header("authorization", &lower))
        .await;
    assert_eq!(answer.ok()["username"], "ann");
}

#[tokio::test]
async fn another_key_after_a_restart_ends_the_tokens_of_the_first() {
    let mut server = server().await;
    let ann = server.person("ann").await;
    server.restart_with("SECRET_KEY", "quite another key that is also long enough to be good").await;
    ann.get("/users/me").await.refused_saying(401, "Invalid token");
    server.sign_in("ann").await.me().await;
}
