//! HS256, HS384 and HS512 for the `jsonwebtoken` crate, which then brings neither RSA nor elliptic curves into the program.

use ::hmac::{Hmac, Mac};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
    signature::{self, Signer, Verifier},
};
use sha2::{Sha256, Sha384, Sha512};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key: &EncodingKey| {
        let key = (key.family() == AlgorithmFamily::Hmac).then(|| key.as_bytes());
        Ok(Box::new(Keyed::new(*algorithm, key)?))
    },
    verifier_factory: |algorithm, key: &DecodingKey| {
        let key = if key.family() == AlgorithmFamily::Hmac { Some(key.try_get_as_bytes()?) } else { None };
        Ok(Box::new(Keyed::new(*algorithm, key)?))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// To be called before the first token is signed or checked; every call but the first does nothing.
pub fn use_for_tokens() {
    // The first one counts, and it was this one.
    PROVIDER.install_default().ok();
}

enum Keyed {
    Hs256(Hmac<Sha256>),
    Hs384(Hmac<Sha384>),
    Hs512(Hmac<Sha512>),
}

impl Keyed {
    /// `key`: `None` for one of another kind.
    fn new(algorithm: Algorithm, key: Option<&[u8]>) -> Result<Self> {
        let key = key.ok_or(ErrorKind::InvalidKeyFormat)?;
        let any_length = "HMAC takes a key of any length";
        Ok(match algorithm {
            Algorithm::HS256 => Self::Hs256(Hmac::new_from_slice(key).expect(any_length)),
            Algorithm::HS384 => Self::Hs384(Hmac::new_from_slice(key).expect(any_length)),
            Algorithm::HS512 => Self::Hs512(Hmac::new_from_slice(key).expect(any_length)),
            _ => return Err(ErrorKind::InvalidAlgorithm.into()),
        })
    }

    fn name(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::HS256,
            Self::Hs384(_) => Algorithm::HS384,
            Self::Hs512(_) => Algorithm::HS512,
        }
    }
}

impl Signer<Vec<u8>> for Keyed {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(match self {
            Self::Hs256(mac) => mac.clone().chain_update(message).finalize().into_bytes().to_vec(),
            Self::Hs384(mac) => mac.clone().chain_update(message).finalize().into_bytes().to_vec(),
            Self::Hs512(mac) => mac.clone().chain_update(message).finalize().into_bytes().to_vec(),
        })
    }
}

impl Verifier<Vec<u8>> for Keyed {
    /// The whole signature, in a time that does not tell how much of it is right.
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let verified = match self {
            Self::Hs256(mac) => mac.clone().chain_update(message).verify_slice(signature),
            Self::Hs384(mac) => mac.clone().chain_update(message).verify_slice(signature),
            Self::Hs512(mac) => mac.clone().chain_update(message).verify_slice(signature),
        };
        verified.map_err(signature::Error::from_source)
    }
}

impl JwtSigner for Keyed {
    fn algorithm(&self) -> Algorithm {
        self.name()
    }
}

impl JwtVerifier for Keyed {
    fn algorithm(&self) -> Algorithm {
        self.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 4231, test cases 1, 2 and 6: key, message, and what HMAC with SHA-256, 384 and 512 makes of them.
    #[test]
    fn signatures_are_those_of_rfc_4231() {
        let cases: [(&[u8], &[u8], [&str; 3]); 3] = [
            (
                &[0x0b; 20],
                b"Hi There",
                [
                    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                    "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
                    "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4\
                     be9d914eeb61f1702e696c203a126854",
                ],
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                [
                    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                    "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
                    "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
                     caeab1a34d4a6b4b636e070a38bce737",
                ],
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                [
                    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
                    "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
                    "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e52\
                     95e64f73f63f0aec8b915a985d786598",
                ],
            ),
        ];
        for (key, message, expected) in cases {
            for (algorithm, expected) in ALGORITHMS.into_iter().zip(expected) {
                let keyed = Keyed::new(algorithm, Some(key)).expect("HMAC");
                let signature = keyed.try_sign(message).expect("HMAC signs anything");
                assert_eq!(hex(&signature), expected, "{algorithm:?}");
                keyed.verify(message, &signature).expect("its own signature");
                for wrong in [&signature[..signature.len() - 1], &[], &[&signature[..], &[0]].concat()] {
                    assert!(keyed.verify(message, &wrong.to_vec()).is_err(), "{algorithm:?}");
                }
                assert!(keyed.verify(&message[1..], &signature).is_err());
            }
        }
    }

    /// The example of RFC 7515, appendix A.1.
    #[test]
    fn the_token_of_rfc_7515_is_verified() {
        use_for_tokens();
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, key).expect("base64");
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                       cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let verify = |signature: &str| {
            let key = DecodingKey::from_secret(&key);
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, Algorithm::HS256).expect("HMAC")
        };
        assert!(verify("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(!verify("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXw"));
    }

    #[test]
    fn nothing_but_hmac_is_done() {
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::PS512] {
            assert!(Keyed::new(algorithm, Some(b"key")).is_err(), "{algorithm:?}");
        }
        let of_another_kind = EncodingKey::from_rsa_der(b"key");
        assert!((PROVIDER.signer_factory)(&Algorithm::HS256, &of_another_kind).is_err());
    }
}
