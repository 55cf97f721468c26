//! Access tokens: JWTs signed with the server's own key.
//!
//! A token that passes [`Tokens::check`] was signed here and its time is now. Nothing that it says is taken on trust or passed
//! over: a claim or a header that this server never writes makes it invalid. Whether its login still stands, and is that of
//! the user it names, is not told by the token: `chat::accounts` asks the records.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Deserializer, Serialize};

pub use super::verified::Bearer;
use super::{hmac, verified::Verified};
use crate::{
    config::{Algorithm, Auth},
    metrics::Metrics,
    types::{SessionId, Timestamp, UserId},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The username.
    pub sub: String,
    pub uid: UserId,
    /// The login.
    pub sid: SessionId,
    /// The user's token epoch.
    pub ver: u64,
    /// Unix seconds.
    pub iat: i64,
    /// Unix seconds; the token is worth nothing from then on.
    pub exp: i64,
    /// Unix seconds; the token is worth nothing until then. Never written here, and kept where a holder of the key wrote it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
}

impl Claims {
    fn bearer(self) -> Bearer {
        Bearer {
            user_id: self.uid,
            username: self.sub.into(),
            session_id: self.sid,
            token_epoch: self.ver,
            expires_at: self.exp,
        }
    }
}

/// A claim that may be left out, and is no `null` where it is there.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    i64::deserialize(from).map(Some)
}

/// All that a header may say. Others (`crit`, `kid`, `jwk`, `cty`…) ask for something that is not done here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    typ: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Signed here, once good.
    #[error("Token expired")]
    Expired,
    /// Not signed here, not whole, without all claims, with others, or not good yet.
    #[error("Invalid token")]
    Invalid,
}

impl TokenError {
    /// The word for it on the wire.
    pub fn code(self) -> &'static str {
        match self {
            TokenError::Expired => "token_expired",
            TokenError::Invalid => "invalid_token",
        }
    }
}

/// Signs and checks tokens with one algorithm and one key.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    header: Header,
    validation: Validation,
    algorithm: &'static str,
    lifetime_secs: u64,
    clock_skew_secs: i64,
    verified: Verified,
}

impl Tokens {
    pub fn new(key: &[u8], auth: &Auth, metrics: Arc<Metrics>) -> Self {
        hmac::use_for_tokens();
        let (algorithm, name) = match auth.algorithm {
            Algorithm::HS256 => (jsonwebtoken::Algorithm::HS256, "HS256"),
            Algorithm::HS384 => (jsonwebtoken::Algorithm::HS384, "HS384"),
            Algorithm::HS512 => (jsonwebtoken::Algorithm::HS512, "HS512"),
        };
        let mut validation = Validation::new(algorithm);
        // Times are compared here, where they are exact: no leeway, and the second `exp` names is too late already.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            header: Header::new(algorithm),
            validation,
            algorithm: name,
            lifetime_secs: auth.access_token_minutes.saturating_mul(60),
            clock_skew_secs: i64::try_from(auth.clock_skew_secs).unwrap_or(i64::MAX),
            verified: Verified::new(auth, metrics),
        }
    }

    /// When a token issued `now` ends: after its lifetime, and never later than its login.
    pub fn expiry(&self, now: Timestamp, login_ends: Timestamp) -> i64 {
        now.plus_secs(self.lifetime_secs).unix_secs().min(login_ends.unix_secs())
    }

    pub fn issue(&self, claims: &Claims) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.encoding)
            .expect("claims are plain JSON and the key is one of this algorithm's family")
    }

    /// Only the configured algorithm, all claims and no others, the right key, and `exp` still ahead.
    pub fn check(&self, token: &str) -> Result<Bearer, TokenError> {
        self.check_at(token, Timestamp::now().unix_secs())
    }

    /// The same, of a token that will hardly be asked about again: it is not remembered.
    pub fn check_once(&self, token: &str) -> Result<Bearer, TokenError> {
        let now_secs = Timestamp::now().unix_secs();
        match self.verified.get(self.verified.print(token)) {
            Some(bearer) => in_time(bearer, now_secs),
            None => self.verify(token, now_secs),
        }
    }

    /// Whom a token was given to, expired or not: it opens nothing, but tells the device that it is on.
    pub fn bearer_once(&self, token: &str) -> Option<Bearer> {
        self.claims(token).ok().map(Claims::bearer)
    }

    /// Lets go of what is remembered of tokens that are not used; to be called from time to time.
    pub async fn forget_unused(&self) {
        self.verified.forget_unused().await;
    }

    fn check_at(&self, token: &str, now_secs: i64) -> Result<Bearer, TokenError> {
        let print = self.verified.print(token);
        if let Some(bearer) = self.verified.get(print) {
            return in_time(bearer, now_secs);
        }
        let bearer = self.verify(token, now_secs)?;
        self.verified.remember(print, bearer.clone());
        Ok(bearer)
    }

    fn claims(&self, token: &str) -> Result<Claims, TokenError> {
        if !self.is_own_head(token) {
            return Err(TokenError::Invalid);
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        Ok(decoded.map_err(|_| TokenError::Invalid)?.claims)
    }

    fn verify(&self, token: &str, now_secs: i64) -> Result<Bearer, TokenError> {
        let claims = self.claims(token)?;
        let issued = claims.iat <= now_secs.saturating_add(self.clock_skew_secs);
        let begun = claims.nbf.is_none_or(|from| from <= now_secs);
        let bearer = in_time(claims.bearer(), now_secs)?;
        (issued && begun).then_some(bearer).ok_or(TokenError::Invalid)
    }

    /// Whether a token's header says what this server writes, and nothing else.
    fn is_own_head(&self, token: &str) -> bool {
        let Some((head, _)) = token.split_once('.') else { return false };
        let Ok(json) = BASE64.decode(head) else { return false };
        serde_json::from_slice::<Head>(&json).is_ok_and(|head| {
            head.alg == self.algorithm && head.typ.is_none_or(|kind| kind.eq_ignore_ascii_case("JWT"))
        })
    }
}

fn in_time(bearer: Bearer, now_secs: i64) -> Result<Bearer, TokenError> {
    if now_secs < bearer.expires_at { Ok(bearer) } else { Err(TokenError::Expired) }
}

/// Keys that are printed in tutorials, READMEs and this server's predecessor. Lower case.
const KNOWN_KEYS: &[&str] = &[
    "your_secret_key",
    "your-secret-key",
    "your_super_secret_key",
    "your-256-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    "secret",
    "secret_key",
    "secretkey",
    "supersecret",
    "super_secret",
    "super-secret",
    "mysecret",
    "my_secret_key",
    "changeme",
    "change_me",
    "change-me",
    "change_this",
    "password",
    "natter",
    "test",
    "dev",
];

/// HMAC-SHA-256 is as strong as its key up to this length.
const MIN_KEY_BYTES: usize = 32;

/// Why a signing key must not be used, as a sentence that says how to make a good one.
pub fn weakness(key: &str) -> Option<String> {
    let what = if KNOWN_KEYS.contains(&key.trim().to_lowercase().as_str()) {
        "is a well-known default, so that anybody could sign in as anybody".to_owned()
    } else if key.len() < MIN_KEY_BYTES {
        format!("has {} bytes, and fewer than {MIN_KEY_BYTES} can be guessed", key.len())
    } else {
        return None;
    };
    Some(format!(
        "The secret key {what}. Make a good one with `openssl rand -hex 32` and set it as SECRET_KEY \
         (auth.secret_key), or leave it unset: natter then makes its own and keeps it in the data folder."
    ))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
    use serde_json::{Value, json};

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: i64 = 1_800_000_000;

    fn tokens() -> Tokens {
        Tokens::new(KEY, &Auth::default(), Arc::default())
    }

    fn claims() -> Claims {
        Claims {
            sub: "ann".into(),
            uid: UserId::fresh(),
            sid: SessionId::fresh(),
            ver: 3,
            iat: NOW - 10,
            exp: NOW + 1,
            nbf: None,
        }
    }

    fn signed(algorithm: jsonwebtoken::Algorithm, key: &[u8], claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key)).unwrap()
    }

    /// Signed with the right key, whatever the two parts say.
    fn with_head(head: &str, body: &str) -> String {
        let message = format!("{}.{}", B64.encode(head), B64.encode(body));
        let key = EncodingKey::from_secret(KEY);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    #[test]
    fn a_token_comes_back_as_it_was_issued() {
        let (claims, tokens) = (claims(), tokens());
        let token = tokens.issue(&claims);
        assert_eq!(tokens.check_at(&token, NOW), Ok(claims.clone().bearer()));
        assert_eq!(tokens.check_at(&token, NOW), Ok(claims.bearer()), "and again, from memory");
    }

    #[test]
    fn expiry_has_no_leeway() {
        let tokens = tokens();
        let token = tokens.issue(&claims());
        assert_eq!(tokens.check_at(&token, NOW + 1), Err(TokenError::Expired));
        assert!(tokens.check_at(&token, NOW).is_ok());
        assert_eq!(tokens.check_at(&token, NOW + 1), Err(TokenError::Expired), "though it is remembered");
    }

    #[test]
    fn a_byte_changed_in_a_remembered_token_makes_it_invalid() {
        let tokens = tokens();
        let token = tokens.issue(&claims());
        assert!(tokens.check_at(&token, NOW).is_ok());
        for at in 0..token.len() {
            // The last character of the signature holds two bits that mean nothing; a strict decoder wants them zero.
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            let mut changed = token.clone();
            changed.replace_range(at..=at, other);
            assert_eq!(tokens.check_at(&changed, NOW), Err(TokenError::Invalid), "byte {at} of {token}");
        }
        assert!(tokens.check_at(&token, NOW).is_ok());
    }

    #[test]
    fn another_key_algorithm_or_none_is_refused() {
        use jsonwebtoken::Algorithm::*;
        let claims = serde_json::to_value(claims()).unwrap();
        let unsigned = format!("{}.{}.", B64.encode(r#"{"alg":"none","typ":"JWT"}"#), B64.encode(claims.to_string()));
        let good = signed(HS256, KEY, &claims);
        let (head, signature) = good.rsplit_once('.').unwrap();
        let mut other = claims.clone();
        other["sub"] = json!("bob");
        let payload_swapped =
            format!("{}.{}.{signature}", head.split('.').next().unwrap(), B64.encode(other.to_string()));
        for attack in [
            signed(HS384, KEY, &claims),
            signed(HS512, KEY, &claims),
            signed(HS256, b"another key of thirty-two bytes!", &claims),
            signed(HS256, b"", &claims),
            unsigned,
            format!("{head}."),
            head.to_owned(),
            payload_swapped,
            format!("{good}x"),
            String::new(),
            "a.b.c".into(),
        ] {
            assert_eq!(tokens().check_at(&attack, NOW), Err(TokenError::Invalid), "{attack}");
        }
    }

    #[test]
    fn an_expired_token_of_another_key_is_invalid_and_not_expired() {
        let token = signed(jsonwebtoken::Algorithm::HS256, b"another", &serde_json::to_value(claims()).unwrap());
        assert_eq!(tokens().check_at(&token, NOW + 99), Err(TokenError::Invalid));
    }

    #[test]
    fn every_claim_is_needed_and_has_its_type() {
        let whole = serde_json::to_value(claims()).unwrap();
        let token = |claims: &Value| signed(jsonwebtoken::Algorithm::HS256, KEY, claims);
        assert!(tokens().check_at(&token(&whole), NOW).is_ok());
        for claim in ["sub", "uid", "sid", "ver", "iat", "exp"] {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(claim);
            assert_eq!(tokens().check_at(&token(&without), NOW), Err(TokenError::Invalid), "without {claim}");
            for odd in [json!(null), json!("x"), json!(-1.5), json!([]), json!(true)] {
                if claim == "sub" && odd.is_string() {
                    continue;
                }
                let mut wrong = whole.clone();
                wrong[claim] = odd;
                assert_eq!(tokens().check_at(&token(&wrong), NOW), Err(TokenError::Invalid), "{wrong}");
            }
        }
    }

    #[test]
    fn what_this_server_never_writes_makes_a_token_invalid() {
        let whole = serde_json::to_value(claims()).unwrap();
        for claim in ["aud", "iss", "jti", "roles", "scope", "SUB", "nbf"] {
            for value in [json!("natter"), json!(["natter"]), json!(null), json!(1.5)] {
                let mut more = whole.clone();
                more[claim] = value;
                let token = signed(jsonwebtoken::Algorithm::HS256, KEY, &more);
                assert_eq!(tokens().check_at(&token, NOW), Err(TokenError::Invalid), "{more}");
            }
        }
        let twice = whole.to_string().replacen('{', "{\"sub\":\"bob\",", 1);
        assert_eq!(tokens().check_at(&with_head(r#"{"alg":"HS256"}"#, &twice), NOW), Err(TokenError::Invalid));
    }

    #[test]
    fn a_header_says_what_this_server_writes_and_nothing_else() {
        let body = serde_json::to_value(claims()).unwrap().to_string();
        let check = |head: &str| tokens().check_at(&with_head(head, &body), NOW);
        for good in [r#"{"typ":"JWT","alg":"HS256"}"#, r#"{"alg":"HS256","typ":"jwt"}"#, r#"{ "alg": "HS256" }"#] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"HS256","b64":true}"#,
            r#"{"alg":"HS256","kid":"../../dev/null"}"#,
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"aw"}}"#,
            r#"{"alg":"HS256","jku":"https://keys.example"}"#,
            r#"{"alg":"HS256","cty":"JWT"}"#,
            r#"{"alg":"HS256","typ":"at+jwt"}"#,
            r#"{"alg":"HS256","typ":"JWE"}"#,
            r#"{"alg":"HS256","typ":7}"#,
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"HS256","zip":"DEF"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS1"}"#,
            r#"{"alg":"none"}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"typ":"JWT"}"#,
            r#"["HS256"]"#,
            "",
        ] {
            assert_eq!(check(bad), Err(TokenError::Invalid), "{bad}");
        }
    }

    #[test]
    fn a_token_is_worth_nothing_before_its_time() {
        let skew = i64::try_from(Auth::default().clock_skew_secs).unwrap();
        let check = |claims: Claims| tokens().check_at(&tokens().issue(&claims), NOW).map(drop);
        assert_eq!(check(Claims { nbf: Some(NOW), ..claims() }), Ok(()));
        assert_eq!(check(Claims { nbf: Some(NOW + 1), ..claims() }), Err(TokenError::Invalid));
        assert_eq!(check(Claims { nbf: Some(i64::MAX), ..claims() }), Err(TokenError::Invalid));
        assert_eq!(check(Claims { iat: NOW + skew, ..claims() }), Ok(()), "clocks of nodes differ a little");
        assert_eq!(check(Claims { iat: NOW + skew + 1, ..claims() }), Err(TokenError::Invalid));
        assert_eq!(check(Claims { iat: i64::MAX, exp: i64::MAX, ..claims() }), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_never_outlives_its_login() {
        let now = Timestamp(NOW * 1000);
        assert_eq!(tokens().expiry(now, now.plus_secs(86_400)), NOW + 1_800);
        assert_eq!(tokens().expiry(now, now.plus_secs(60)), NOW + 60);
    }

    #[test]
    fn weak_keys_are_told_from_good_ones() {
        for weak in ["", "your_secret_key", "Secret", " changeme ", "0123456789abcdef0123456789abcde"] {
            assert!(weakness(weak).unwrap().contains("openssl rand"), "{weak:?}");
        }
        assert!(weakness(KNOWN_KEYS[5]).is_some(), "long, and in every FastAPI tutorial");
        assert_eq!(weakness("c2c9d5b5e5a14f7b9b1f7c6f1c2d3e4f"), None);
    }
}
